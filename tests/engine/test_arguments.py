"""Private calls of the compiled core check their arguments: a bad call raises, and never reads outside them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

from mixfast._engine.backend import laws, rows, simplex, stream
from mixfast._engine.backend.rows import Rows
from mixfast._engine.optimise.in_cache import RULES

# Cython raises a BufferError for a number in place of an array, and an OverflowError for an integer beyond 64 bits.
REFUSED = (ValueError, TypeError, OverflowError, BufferError)


class Call(NamedTuple):
    """A correct call, and which of its integer arguments may have any value."""

    function: Callable[..., Any]
    arguments: dict[str, Any]


def simple_table(dtype: str = "f4") -> np.ndarray:
    return np.random.default_rng(0).normal(size=(70, 5)).astype(dtype) - 3


def made(**options: Any) -> Rows:
    return Rows(simple_table(), None, 1 / 70, False, False, **options)


def stage(ramp: bool = False) -> stream.Stage:
    share = np.array([5, 3, 2], dtype=np.int64) << 58
    slope = np.array([-3, 1, 2], dtype=np.int64) << 40 if ramp else None
    return stream.Stage(0, 0, np.array([2, 0, 1], dtype=np.int32), share, slope, None, *((7, 100) if ramp else (0, 0)))


def eventful() -> stream.Stage:
    made = stage()
    made.set_events(**events())
    return made


def events() -> dict[str, Any]:
    integers = {"at": [3, 9], "lag": [1, 0], "first": [0, 1, 2, 2], "gain_at": [3, 8], "gain_by": [1, -1]}
    found: dict[str, Any] = {name: np.array(value, dtype=np.int64) for name, value in integers.items()}
    return found | {"leaf": np.array([0, -1], dtype=np.int32)}


# Fields of `mf_rules`.
RULE_NAMES = (
    "rough keep overshot far soon near rounded many level rounding rise coarse_rise trials accepted shorter stalled rescues idle early falls advances "
    "steps least held quick most_steps"
)
TABLE = stream.domain_table(np.array([10, 20, 0], dtype=np.int64), 1)
K, M, R = 4, 3, 6
_rng = np.random.default_rng(1)
_square = np.eye(K) + 0.1
_gram = np.eye(R) + 0.5


def box(shape: tuple[int, ...]) -> dict[str, Any]:
    w = np.full(shape, 1 / K)
    return {"gradient": _rng.random(shape), "w": w, "lo": np.zeros(shape), "hi": np.ones(shape)}


def calls() -> dict[str, Call]:
    """Return every function and method of the core, with arguments as its callers pass them."""
    integers = np.arange(1, 4, dtype=np.int64)
    state = {"state": np.zeros(K, dtype=np.int8)}
    states = {"state": np.zeros((M, K), dtype=np.int8)}
    which = {"which": np.zeros(M, dtype=np.int64)}
    out = {name: np.zeros(20, dtype=np.int64) for name in ("domain", "index", "epoch")}
    square = {name: np.zeros((R, R)) for name in ("k", "h")}
    norms, alpha = np.ones(R), np.ones(R)
    mixtures = np.full((2, 5), 0.2)
    bins, mult = np.arange(70, dtype=np.int32) // 10, np.ones((2, 7), dtype=np.float32)
    of_rows = {"loglik": simple_table(), "weight": np.ones(70), "scale": 1.0, "shift": True, "wide": False}
    descent = {"z": _rng.random((R, K)), "y": _rng.random(R) + 2.0, "delta": 0.1, "quad": _square, "floor": -1.0}
    proposal = {
        "a": _rng.random((M, K)),
        "log_weight": np.zeros(M),
        "linear": np.zeros(K),
        "log_prior": np.zeros(K),
        "low": np.zeros(K),
    }
    proposal |= {
        "high": np.ones(K),
        "kl": 0.1,
        "z": np.zeros(M),
        "level": np.inf,
        "w": np.zeros(K),
        "logs": np.zeros(K),
    }
    rules = {"least": 0, "most": 20, "halvings": 10, "armijo": 1e-4, "rounding": 1e-13, "close": 1e-4}
    share = np.array([5, 3, 2], dtype=np.int64) << 58
    advance = {"a": share, "slope": share >> 20, "step": 3, "steps": 4, "length": 9}
    exact = {"whole": integers.copy(), "frac": integers.copy()}
    ramp = {"slope": np.array([-3, 1, 2], dtype=np.int64) << 40, "exact": integers, "step": 7, "steps": 100}
    made_stage = {"start": 5, "origin": 1, "domain": np.array([2, 0, 1], dtype=np.int32), "share": share}
    places = dict.fromkeys(("skip", "place", "turn", "latest"), integers * 3)
    filling = {"table": TABLE, "shuffle": True, "first": 2, "step": 1, **out}
    packed, exactly = made().pack(None, None, 1.0, False), made().pack(None, None, 1.0, True)
    limits = {"w": np.full(5, 0.2), "low": np.zeros(5), "high": np.ones(5), "rules": RULES}
    return {
        "qp": Call(simplex.qp, {"hessian": _square, **box((K,)), **state}),
        "qp_many": Call(simplex.qp_many, {"hessian": _square[None].copy(), **which, **box((M, K)), **states}),
        "bfgs_many": Call(
            simplex.bfgs_many,
            {"hessian": _square[None].copy(), **which, "moved": np.ones((M, K)), "change": np.ones((M, K))},
        ),
        "project": Call(simplex.project, {"x": _rng.random(K), "lo": np.zeros(K), "hi": np.ones(K)}),
        "kl_project": Call(simplex.kl_project, {"x": _rng.random(K), "lo": np.zeros(K), "hi": np.ones(K)}),
        "linear_min": Call(simplex.linear_min, {"g": _rng.random(K), "lo": np.zeros(K), "hi": np.ones(K)}),
        "descend": Call(laws.descend, {**descent, "c": 0.5, "b": np.zeros(K), "steps": 5, "tol": 1e-9}),
        "ascend": Call(laws.ascend, {**proposal, **rules}),
        "covariance": Call(
            laws.covariance,
            {"gram": _gram, "norms": norms, "linear": _gram, "amplitude": 1.0, "slope": 1.0, "noise": 0.1, **square},
        ),
        "likelihood_memory": Call(laws.likelihood_memory, {"runs": R, "dims": K}),
        "likelihood": Call(
            laws.likelihood,
            {"z": _rng.random((R, K)), "linear": _gram, "target": alpha, "amplitude": 1.0, "slope": 1.0, "noise": 0.1}
            | {"memory": np.zeros(laws.likelihood_memory(R, K)), "alpha": np.zeros(R), "diagonal": np.zeros(R)}
            | {"on_length": np.zeros(K)},
        ),
        "matern": Call(laws.matern, {"gram": _gram, "rows": norms, "columns": norms, "k": square["k"]}),
        "matern_slope": Call(
            laws.matern_slope, {"gram": _gram, "rows": norms, "columns": norms, "alpha": alpha, **square}
        ),
        "Rows": Call(Rows, {**of_rows, "cols": np.array([0, 3], dtype=np.int32)}),
        "with_columns": Call(made().with_columns, {"cols": np.array([0, 3], dtype=np.int32)}),
        "take": Call(packed.take, {"cols": np.array([0, 3], dtype=np.int32)}),
        "pack": Call(
            made().pack,
            {"index": np.array([69, 3, 5]), "weight": np.ones(3), "scale": 1.0, "wide": True, "threads": 2},
        ),
        "sums": Call(made().sums, {"mixture": np.full(5, 0.2), "value": True, "hessian": 2, "threads": 2}),
        "sums with influence": Call(
            made().sums, {"mixture": np.full(5, 0.2), "coarse": True, "influence": np.zeros(70, dtype=np.float32)}
        ),
        "sums over some columns": Call(
            made().sums, {"mixture": np.full(5, 0.2), "hessian": 1, "curved": np.array([0, 3], dtype=np.int32)}
        ),
        "sums of packed rows": Call(packed.sums, {"mixture": np.full(5, 0.2), "hessian": 1}),
        "Rules": Call(rows.Rules, dict.fromkeys(RULE_NAMES.split(), 1.0)),
        "settle": Call(exactly.settle, {**limits, "threads": 2}),
        "newton": Call(
            exactly.newton, {**limits, "total": 70.0, "tol": 1e-9, "most": 50, "threads": 2, "settle": True}
        ),
        "newton_many": Call(exactly.newton_many, {"weight": np.ones((2, 70)), **limits, "tol": 1e-9, "most": 50}),
        "losses": Call(made().losses, {"mixtures": mixtures, "products": 2, "threads": 2}),
        "losses of packed rows": Call(packed.losses, {"mixtures": mixtures}),
        "gradients": Call(made().gradients, {"mixtures": mixtures, "bins": bins, "mult": mult, "threads": 2}),
        "gradients at one mixture": Call(
            packed.gradients, {"mixtures": mixtures[:1].copy(), "bins": bins, "mult": mult}
        ),
        "fingerprint": Call(rows.fingerprint, {"contents": np.ones(300, dtype=np.uint8)}),
        "scan": Call(rows.scan, {"rows": made(), "threads": 2}),
        "resample": Call(
            rows.resample,
            {"bits": np.zeros((2, 5), dtype=np.uint32), "counts": np.zeros((2, 9), dtype=np.float32), "first": 4},
        ),
        "by_influence": Call(rows.by_influence, {"influence": np.ones(70, dtype=np.float32), "count": 9}),
        "domain_table": Call(stream.domain_table, {"sizes": integers, "seed": 3}),
        "blend_shares": Call(stream.blend_shares, {"v": integers}),
        "blend_slopes": Call(stream.blend_slopes, {"a": integers, "b": integers, "step": 2, "length": 9}),
        "blend_advance": Call(stream.blend_advance, {**advance, **exact}),
        "blend_events": Call(stream.blend_events, {"start": 0, "end": 99, **places}),
        "Stage": Call(stream.Stage, made_stage),
        "Stage of a ramp": Call(stream.Stage, {**made_stage, **ramp}),
        "Stage of a known shape": Call(stream.Stage, {**made_stage, "shape": stage()}),
        "counts": Call(stage().counts, {"n": 30}),
        "counts of a ramp": Call(stage(True).counts, {"n": 30}),
        "when": Call(stage().when, {"leaf": np.array([0, 2]), "count": np.array([3, 9])}),
        "when of a ramp": Call(stage(True).when, {"leaf": np.array([0, 2]), "count": np.array([3, 9])}),
        "set_events": Call(lambda **given: stage().set_events(**given), events()),
        "at": Call(eventful().at, {"table": TABLE, "shuffle": True, "i": 7}),
        "fill": Call(eventful().fill, filling),
        "fill apart": Call(eventful().fill, {**filling, "step": 3}),
        "fill of a ramp": Call(stage(True).fill, filling),
    }


def numbers_of(module: Any) -> set[str]:
    return {name for name in dir(module) if callable(getattr(module, name)) and not name.startswith("_")}


def test_every_function_of_the_core_is_called_here():
    """A new function must be added to `calls`."""
    ours = {name.split()[0] for name in calls()} | {"isa", "TableError", "visible"}
    public = {name for module in (laws, rows, simplex, stream) for name in numbers_of(module)}
    assert public <= ours
    methods = {name for kind in (Rows, stream.Stage) for name in vars(kind) if not name.startswith("_")}
    assert methods - ours <= {
        "loglik",
        "weight",
        "cols",
        "panels",
        "offset",
        "n_rows",
        "n_cols",
        "domain",
        "base",
        "events",
        "bound",
    }


@pytest.mark.parametrize("name", calls())
def test_the_calls_are_right(name):
    call = calls()[name]
    call.function(**call.arguments)


HUGE = (-1, 5, 7, 70, 2**31 - 1, 2**40, 2**61, 2**62, 2**63 - 1, -(2**31), -(2**63))


def spoilt(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield other values for an argument; some of them may be valid."""
    yield "None", None
    yield "a text", "text"
    if isinstance(value, np.ndarray):
        for axis in range(value.ndim):
            shorter = np.ascontiguousarray(np.delete(value, -1, axis=axis))
            yield f"shorter along {axis}", shorter
            yield f"longer along {axis}", np.ascontiguousarray(np.concatenate([value, value], axis=axis))
            yield f"empty along {axis}", np.ascontiguousarray(np.take(value, [], axis=axis))
            yield f"reversed along {axis}", np.flip(value, axis)
            yield (
                f"strided along {axis}",
                np.repeat(value, 2, axis=axis)[(slice(None),) * axis + (slice(None, None, 2),)],
            )
        yield "another order", np.asfortranarray(value) if value.ndim > 1 else value[::2]
        yield "one axis more", value[None]
        yield "one axis less", value[0]
        yield "repeated rows", np.broadcast_to(value[:1], value.shape)
        yield "a list", value.tolist()
        for dtype in ("f2", "f4", "f8", "i1", "i4", "i8", "u4", "u8", "c16", "O", ">f8", ">i4", "M8[s]"):
            if np.dtype(dtype) != value.dtype:
                with np.errstate(all="ignore"):
                    yield f"as {dtype}", value.astype(dtype) if dtype != "M8[s]" else np.zeros(value.shape, dtype)
        shifted = np.zeros(value.nbytes + 1, dtype=np.uint8)[1:].view(value.dtype).reshape(value.shape)
        shifted[...] = value
        if value.itemsize > 1:
            yield "not aligned", shifted
        fixed = value.copy()
        fixed.setflags(write=False)
        yield "read-only", fixed
        for number in HUGE if value.dtype.kind in "iu" else (np.nan, np.inf, -np.inf, 1e300, -1e300):
            changed = value.copy()
            try:
                with np.errstate(over="ignore"):
                    changed.flat[-1] = number
            except (OverflowError, ValueError):
                continue
            yield f"with {number}", changed
            with np.errstate(over="ignore"):
                yield f"all {number}", np.full_like(value, number)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        for number in (*HUGE, 2**70, -(2**70), 0):
            yield str(number), number


def sure(why: str, value: Any, other: Any) -> bool:
    """Whether this value must be refused in place of an array."""
    if any(word in why for word in ("reversed", "strided", "order")):
        return not other.flags.c_contiguous
    certain = ("text", "list", "as ", "axis", "shorter", "aligned")
    return isinstance(value, np.ndarray) and any(word in why for word in certain)


def taken(name: str) -> Iterator[tuple[str, str]]:
    """Pass each argument of a call in each wrong way; yield the wrong values that were accepted."""
    for argument, value in calls()[name].arguments.items():
        for why, other in spoilt(value):
            call = calls()[name]
            try:
                with np.errstate(all="ignore"):
                    call.function(**{**call.arguments, argument: other})
            except (*REFUSED, MemoryError):
                continue
            if sure(why, value, other):
                yield argument, why


# Arguments whose length, position or precision of rows is independent of other arguments.
SIZES = ("shorter", "strided along 0", "as f2", "as f8")
FREE = {
    ("Rows", "cols"),
    ("Rows", "loglik"),
    ("with_columns", "cols"),
    ("take", "cols"),
    ("newton_many", "weight"),
    ("losses", "mixtures"),
    ("losses of packed rows", "mixtures"),
    ("gradients at one mixture", "mult"),
    ("resample", "counts"),
    ("resample", "bits"),
    ("sums over some columns", "curved"),
    ("by_influence", "influence"),
    ("fingerprint", "contents"),
    ("domain_table", "sizes"),
    ("blend_shares", "v"),
    ("gradients", "mult"),
    ("gradients", "mixtures"),
    ("gradients at one mixture", "mixtures"),
}


@pytest.mark.parametrize("name", calls())
def test_a_bad_argument_raises(name):
    """Every value is refused or handled; every value that can only be wrong is refused."""
    found = [
        (argument, why) for argument, why in taken(name) if (name, argument) not in FREE or not why.startswith(SIZES)
    ]
    assert found == []


def test_objects_that_were_not_made_have_no_rows_and_no_samples():
    empty, none = Rows.__new__(Rows), stream.Stage.__new__(stream.Stage)
    w = np.ones(1)
    for call in (
        lambda: empty.sums(w),
        lambda: empty.sums(w[:0], True, 1),
        lambda: empty.settle(w, w, w, RULES),
        lambda: empty.newton(w, w, w, RULES, 1.0, 1e-9, 9),
        lambda: empty.newton_many(w[None], w, w, w, RULES, 1e-9, 9),
        lambda: empty.losses(w[None]),
        lambda: empty.gradients(w[None]),
        lambda: empty.pack(None, None, 1.0, False),
        lambda: empty.with_columns(np.zeros(1, dtype=np.int32)),
        lambda: empty.take(np.zeros(1, dtype=np.int32)),
        lambda: rows.scan(empty),
        lambda: none.counts(3),
        lambda: none.when(np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)),
        lambda: none.at(TABLE, True, 0),
        lambda: none.fill(TABLE, True, 0, 1, *np.zeros((3, 4), dtype=np.int64)),
        lambda: none.set_events(**events()),
        lambda: stream.Stage(0, 0, np.zeros(1, dtype=np.int32), np.full(1, 1 << 62), shape=none),
    ):
        with pytest.raises(REFUSED):
            call()


def test_objects_are_made_once():
    """The memory that they point to is in use while another thread is in a call."""
    table, tree = made(), eventful()
    with pytest.raises(TypeError, match="once"):
        table.__init__(simple_table(), None, 1.0, False, False)
    with pytest.raises(TypeError, match="once"):
        tree.__init__(0, 0, np.zeros(1, dtype=np.int32), np.full(1, 1 << 62))
    with pytest.raises(TypeError, match="once"):
        tree.set_events(**events())


def test_an_estimate_of_the_hessian_may_use_a_single_row():
    for hessian in (1 << 27, 1 << 28, 1 << 30):
        assert made().sums(np.full(5, 0.2), True, hessian)[2].shape == (5, 5)


def test_packed_rows_are_not_packed_again():
    packed = made().pack(None, None, 1.0, False)
    for call in (
        lambda: packed.pack(None, None, 1.0, False),
        lambda: packed.with_columns(np.zeros(1, dtype=np.int32)),
        lambda: rows.scan(packed),
    ):
        with pytest.raises(ValueError, match="packed"):
            call()


def test_the_loops_in_c_take_rows_packed_in_float64_only():
    w = np.full(5, 0.2)
    for table in (made(), made().pack(None, None, 1.0, False)):
        with pytest.raises(ValueError, match="not packed in float64"):
            table.newton(w, np.zeros(5), np.ones(5), RULES, 1.0, 1e-9, 9)


def test_columns_are_taken_from_packed_rows_only():
    with pytest.raises(ValueError, match="not packed"):
        made().take(np.zeros(1, dtype=np.int32))


def test_numbers_that_are_no_samples_are_refused():
    tree, out = stage(), np.zeros((3, 8), dtype=np.int64)
    tree.base[:] = -(2**63)
    for fill in (lambda: tree.fill(TABLE, True, 0, 1, *out), lambda: tree.fill(TABLE, True, 0, 3, *out)):
        with pytest.raises(ValueError, match="domain"):
            fill()
    wrong = TABLE.copy()
    wrong[:, 0] = 2**63
    with pytest.raises(ValueError, match="domain"):
        stage().at(wrong, True, 0)
    with pytest.raises(ValueError, match="table of domains"):
        stage().at(TABLE[:2].copy(), True, 0)


def test_two_turns_at_one_sample_are_refused():
    given = events() | {"at": np.array([3, 3]), "leaf": np.array([0, 1], dtype=np.int32)}
    with pytest.raises(ValueError, match="sample of an event"):
        stage().set_events(**given)


@pytest.mark.process
def test_no_domains_are_no_division_by_zero():
    code = (
        "import numpy as np; from mixfast._engine.backend import simplex; z = np.zeros\n"
        "try: simplex.qp_many(z((1, 0, 0)), np.array([0]), *[z((1, 0))] * 4, z((1, 0), np.int8))\n"
        "except ValueError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "at least one domain" in done.stdout
