"""Region: accepted and refused limits, and the geometry: projections, vertices, reachable domains."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
import warnings

import numpy as np
import pytest

from mixfast.errors import AlignmentError, InfeasibleError, MixfastWarning, RegionError
from mixfast.mixture import Mixture
from mixfast.region import Bound, Region

hypothesis = pytest.importorskip("hypothesis")
given, st = hypothesis.given, pytest.importorskip("hypothesis.strategies")
linprog = pytest.importorskip("scipy.optimize").linprog

NAMES = ("web", "code", "books", "wiki")


def names(count):
    return [f"d{index}" for index in range(count)]


# --- slow and simple reference implementations ---


def project_by_bisection(x, floor, cap):
    low, high = (x - cap).min() - 1.0, (x - floor).max() + 1.0
    for _ in range(200):
        shift = 0.5 * (low + high)
        if np.clip(x - shift, floor, cap).sum() > 1.0:
            low = shift
        else:
            high = shift
    return np.clip(x - shift, floor, cap)


def minimum_by_scipy(region, g):
    matrix = np.concatenate([region.bound_rows, -region.bound_rows])
    right = np.concatenate([region.bound_upper, -region.bound_lower])
    finite = np.isfinite(right)
    result = None
    # On thin regions scipy's presolve may call a feasible problem infeasible; then solve without presolve.
    for presolve in (True, False):
        result = linprog(
            g,
            A_ub=matrix[finite] if finite.any() else None,
            b_ub=right[finite] if finite.any() else None,
            A_eq=np.ones((1, region.n_domains)),
            b_eq=[1.0],
            bounds=np.column_stack([region.floor, region.cap]),
            method="highs",
            options={
                "primal_feasibility_tolerance": 1e-10,
                "dual_feasibility_tolerance": 1e-10,
                "presolve": presolve,
            },
        )
        if result.status == 0:
            break
    assert result.status == 0, result.message
    return result.fun


def random_box(rng):
    """Return a region of floors and caps, a point to project, and a mixture inside; includes tight limits and ties."""
    count = int(rng.integers(1, 13))
    inside = rng.dirichlet(np.full(count, rng.choice([0.1, 1.0])))
    floor, cap = np.zeros(count), np.ones(count)
    kind = rng.choice(["simplex", "caps", "both", "tight caps", "tight floors"])
    if kind in ("caps", "both"):
        cap = np.minimum(1.0, inside * rng.uniform(1.0, 3.0, count) + 1e-9)
    if kind in ("both", "tight floors"):
        floor = inside * rng.choice([0.0, 0.5, 1.0], count)
    if kind == "tight caps":
        cap = inside.copy()
    if kind == "tight floors":
        floor = inside * (1.0 - 1e-15)
    point = rng.normal(size=count)
    point = (np.round(point) if rng.random() < 0.5 else point) * 10.0 ** rng.integers(-3, 5)
    return Region(names(count), cap=cap, floor=floor), point, inside


def random_bounded(rng):
    """The same with group bounds that the mixture inside satisfies; some are equations, redundant or repeated."""
    region, point, inside = random_box(rng)
    if rng.random() < 0.5:
        inside = region.project(rng.normal(size=region.n_domains))  # on the border, where problems are degenerate
    bounds = []
    for index in range(rng.integers(1, 7)):
        members = np.flatnonzero(rng.random(region.n_domains) < 0.5)
        if not members.size:
            members = np.array([0])
        coefficients = np.ones(members.size)
        if rng.random() < 0.3:
            coefficients = rng.choice([-1.0, 1.0], members.size) * rng.uniform(0.3, 3.0, members.size)
            coefficients *= 10.0 ** rng.integers(-2, 3)
        activity = coefficients @ inside[members]
        width = rng.choice([0.0, 0.02, 0.3]) * np.abs(coefficients).max()
        sides = [(activity - width, activity + width), (activity - width, None), (None, activity + width)]
        lower, upper = sides[rng.integers(3)]
        group = tuple(region.domains[index] for index in members)
        bounds.append(Bound(f"b{index}", group, lower, upper, tuple(coefficients)))
    return region.replace(bounds=bounds), point, inside


boxes = st.integers(0, 2**32 - 1).map(lambda seed: random_box(np.random.default_rng(seed)))
bounded = st.integers(0, 2**32 - 1).map(lambda seed: random_bounded(np.random.default_rng(seed)))


# --- geometry ---


@given(boxes)
def test_projection_equals_bisection(case):
    region, point, _ = case
    found = region.project(point)
    assert (found >= region.floor).all()
    assert (found <= region.cap).all()
    assert math.fsum(found) == pytest.approx(1.0, abs=2e-15)
    assert (
        np.abs(found - project_by_bisection(point, region.floor, region.cap)).max()
        <= 1e-15 * max(1.0, np.abs(point).max()) + 2e-15
    )


@given(boxes)
def test_projection_keeps_what_is_inside(case):
    region, _, inside = case
    assert np.abs(region.project(inside) - inside).max() <= 1e-14
    once = region.project(inside + 0.3)
    assert np.abs(once - inside).max() <= 1e-14  # adding a constant changes nothing


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 1000, 20_000])
def test_projection_of_many_domains(count):
    rng = np.random.default_rng(count)
    for cap in (1.0, min(1.0, 4.0 / count)):
        region = Region(names(count), cap=cap)
        point = rng.normal(size=count)
        found = region.project(point)
        assert np.abs(found - project_by_bisection(point, region.floor, region.cap)).max() <= 1e-13
        assert math.fsum(found) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("point", [[1e17, 0.0], [1e300, -1e300], [-1e17, -1e17], [5e-324, 0.0]])
def test_projection_of_extreme_points(point):
    region = Region(["a", "b"], floor={"b": 0.25})
    found = region.project(point)
    assert region.contains(found, atol=1e-15)
    nearest = [0.5, 0.5] if point[0] - point[1] < 1.0 else [0.75, 0.25]
    assert found.tolist() == pytest.approx(nearest, abs=1e-15)


def check_projection(region, point, inside):
    """w is the projection iff <x - w, s - w> <= 0 for every s in the region: one linear program of scipy checks all s."""
    found = region.project(point)
    scale = 1.0 + np.abs(point).max()
    assert (found >= region.floor).all()
    assert (found <= region.cap).all()
    # The error of the bounds' sums in their own units: a distant point costs digits.
    activity, unit = region.bound_rows @ found, 1e-13 * scale * np.abs(region.bound_rows).max(initial=1.0)
    assert abs(found.sum() - 1.0) <= unit
    assert ((activity >= region.bound_lower - unit) & (activity <= region.bound_upper + unit)).all()
    gradient = found - point
    # scipy's tolerance is 1e-10 in shares.
    assert gradient @ found - minimum_by_scipy(region, gradient) <= 1e-7 * scale
    assert gradient @ (found - region.linear_min(gradient)) <= 1e-11 * scale
    assert np.abs(region.project(inside) - inside).max() <= 1e-12


@given(bounded)
def test_projection_with_bounds_is_optimal(case):
    check_projection(*case)


# Without limits on steps, or without correcting rounding before looking for violations, these do not finish or are wrong.
@pytest.mark.parametrize("seed", [12, 93, 156, 282, 464, 1011, 1162, 2162, 5636])
def test_projection_of_hard_cases(seed):
    check_projection(*random_bounded(np.random.default_rng(seed)))


def test_projection_with_bounds_ignores_a_constant():
    rng = np.random.default_rng(0)
    region = Region(names(6), cap=0.6, bounds=[(names(2), 0.3, 0.4), (["d1", "d4"], None, 0.35)])
    for _ in range(50):
        point = np.round(rng.normal(size=6), 1) * 2.0**-4
        point = np.round(point * 2**10) / 2**10
        assert np.abs(region.project(point + 2.0**40) - region.project(point)).max() <= 1e-14


@pytest.mark.parametrize("seed", range(150))
def test_projection_with_bounds_equals_enumeration(seed):
    """Each share and each bound is free or fixed at one side: the best feasible solution of all such systems of equations."""
    rng = np.random.default_rng(seed)
    inside = rng.dirichlet(np.ones(3))
    members = ["d0", "d1"] if seed % 2 else ["d2"]
    share = sum(inside[int(name[1])] for name in members)
    region = Region(names(3), cap=np.minimum(1.0, inside + 0.2), bounds=[(members, share - 0.05, share + 0.02)])
    point = rng.normal(size=3) * rng.choice([0.3, 3.0])
    rows = np.vstack([np.eye(3), region.bound_rows])
    limits = np.column_stack([np.append(region.floor, region.bound_lower), np.append(region.cap, region.bound_upper)])
    best = None
    for state in itertools.product((None, 0, 1), repeat=4):
        held = [index for index, side in enumerate(state) if side is not None]
        matrix = np.vstack([np.ones(3), rows[held]])
        right = np.append(1.0, [limits[index, state[index]] for index in held])
        candidate = point + np.linalg.pinv(matrix) @ (right - matrix @ point)
        if region.violation(candidate) <= 1e-12 and (
            best is None or np.sum((candidate - point) ** 2) < np.sum((best - point) ** 2)
        ):
            best = candidate
    assert np.abs(region.project(point) - best).max() <= 1e-12


@given(st.one_of(boxes, bounded))
def test_linear_min_equals_scipy(case):
    region, g, _ = case
    vertex = region.linear_min(g)
    scale = 1.0 + np.abs(g).max()
    assert (vertex >= region.floor).all()
    assert (vertex <= region.cap).all()
    assert region.violation(vertex) <= 1e-12
    assert g @ vertex == pytest.approx(minimum_by_scipy(region, g), abs=1e-9 * scale)
    assert region.lower_bound(g) == pytest.approx(g @ vertex, abs=1e-14 * scale)


@pytest.mark.parametrize("count", [3, 64, 65, 500])
def test_linear_min_breaks_ties_by_the_lowest_index(count):
    region = Region(names(count), cap=0.4)
    assert region.linear_min(np.zeros(count))[:3].tolist() == pytest.approx([0.4, 0.4, 0.2], abs=1e-15)
    g = np.zeros(count)
    g[0] = 1.0
    assert region.linear_min(g)[0] == pytest.approx(0.2 if count == 3 else 0.0, abs=1e-15)
    assert Region.simplex(names(count)).linear_min(-g).tolist() == np.eye(count)[0].tolist()


@given(st.one_of(boxes, bounded))
def test_reachable_equals_one_linear_program_each(case):
    region, _, _ = case
    most = np.array([-minimum_by_scipy(region, -unit) for unit in np.eye(region.n_domains)])
    # scipy's own tolerance hides very small shares; exact zeros are tested below.
    assert region.reachable[most > 1e-7].all()
    assert not region.reachable[region.cap == 0.0].any()


@given(st.integers(0, 2**32 - 1))
def test_reachable_excludes_exactly_the_forbidden_groups(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 15))
    forbidden = rng.permutation(count)[: rng.integers(1, count)]
    groups = np.array_split(forbidden, min(2, forbidden.size))
    bounds = [([f"d{index}" for index in group], None, 0.0) for group in groups]
    # Equivalent to forbidding them, but only together: half of the rest must hold everything.
    rest = np.setdiff1d(np.arange(count), forbidden)
    needed = rest[: (rest.size + 1) // 2]
    bounds.append(([f"d{index}" for index in needed], 1.0, None))
    expected = np.isin(np.arange(count), needed)
    assert (Region(names(count), bounds=bounds).reachable == expected).all()


def test_reachable_through_a_bound():
    region = Region(NAMES, bounds={("code", "wiki"): (None, 0.0)}, cap={"web": 0.9})
    assert region.reachable.tolist() == [True, False, True, False]
    assert Region(NAMES, cap={"code": 0.0}).reachable.tolist() == [True, False, True, True]
    assert Region(["a", "b"], floor={"a": 1.0}).reachable.tolist() == [True, False]


def test_violation_names_every_kind():
    region = Region(NAMES, cap={"web": 0.5}, floor={"wiki": 0.1}, bounds={"c": (["code"], 0.2, 0.3)})
    assert region.contains([0.5, 0.25, 0.15, 0.1])
    assert region.violation([0.6, 0.2, 0.1, 0.1]) == pytest.approx(0.1)
    assert region.violation([0.5, 0.25, 0.25, 0.0]) == pytest.approx(0.1)
    assert region.violation([0.5, 0.35, 0.05, 0.1]) == pytest.approx(0.05)
    assert region.violation([0.5, 0.1, 0.3, 0.1]) == pytest.approx(0.1)
    assert region.violation([0.5, 0.25, 0.14, 0.1]) == pytest.approx(0.01)
    assert region.contains(Mixture(["wiki", "code", "books", "web"], [0.1, 0.25, 0.15, 0.5]))
    with pytest.raises(AlignmentError):
        region.violation({"web": 1.0})


@pytest.mark.parametrize("method", ["project", "linear_min", "lower_bound", "violation"])
def test_vectors_are_checked(method):
    region = Region(NAMES)
    with pytest.raises(RegionError, match=r"shape \(4,\).*got \(3,\)"):
        getattr(region, method)([0.0, 1.0, 2.0])
    with pytest.raises(RegionError, match=r"finite.*code=nan"):
        getattr(region, method)([0.0, np.nan, 2.0, 0.0])


# --- accepted limits ---


def test_limits_as_number_array_and_mapping():
    for cap in (0.4, [0.4] * 4, np.full(4, 0.4), dict.fromkeys(NAMES, 0.4)):
        assert Region(NAMES, cap=cap).cap.tolist() == [0.4] * 4
    region = Region(NAMES, cap={"code": 0.2, "web": math.inf}, floor={"wiki": 0.1}, prior=[2, 1, 1, 0])
    assert region.cap.tolist() == [1.0, 0.2, 1.0, 1.0]
    assert region.floor.tolist() == [0.0, 0.0, 0.0, 0.1]
    assert region.prior.tolist() == [0.5, 0.25, 0.25, 0.0]
    assert region.has_prior
    assert not Region(NAMES).has_prior
    assert Region(NAMES).prior.tolist() == [0.25] * 4
    assert Region(NAMES, prior=Mixture(NAMES, [0.1, 0.2, 0.3, 0.4])).prior.tolist() == pytest.approx(
        [0.1, 0.2, 0.3, 0.4]
    )


@pytest.mark.parametrize(
    "bounds",
    [
        {"all code": (["code", "wiki"], 0.1, 0.3)},
        {"all code": {"domains": ["code", "wiki"], "lower": 0.1, "upper": 0.3}},
        {"all code": {"domains": ["code", "wiki"], "min": 0.1, "max": 0.3}},
        [Bound("all code", ("code", "wiki"), 0.1, 0.3)],
        [{"name": "all code", "domains": ["code", "wiki"], "lower": 0.1, "upper": 0.3}],
        {"all code": ({"code": 1.0, "wiki": 1.0}, 0.1, 0.3)},
    ],
)
def test_forms_of_bounds(bounds):
    region = Region(NAMES, bounds=bounds)
    assert region.bounds == (Bound("all code", ("code", "wiki"), 0.1, 0.3),)
    assert region.bound_names == ("all code",)
    assert region.bound_rows.tolist() == [[0.0, 1.0, 0.0, 1.0]]
    assert (region.bound_lower.tolist(), region.bound_upper.tolist()) == ([0.1], [0.3])


def test_bounds_named_by_their_domains():
    region = Region(
        NAMES, bounds={("code", "wiki"): (0.1, None), frozenset(["web", "books"]): (None, 0.8), "web": (0.2, 0.5)}
    )
    assert region.bound_names == ("code + wiki", "books + web", "web")
    assert region.bound_lower.tolist() == [0.1, -math.inf, 0.2]
    assert region.bound_upper.tolist() == [math.inf, 0.8, 0.5]
    assert Region(NAMES, bounds=[(["code"], None, 0.1)]).bound_names == ("code",)
    assert Region(NAMES, bounds={"mix": ({"web": 1.0, "code": -2.0}, 0.0, None)}).bound_rows.tolist() == [[1, -2, 0, 0]]
    assert Region(NAMES).bounds == ()
    assert Region(NAMES).bound_rows.shape == (0, 4)


def test_from_tokens():
    region = Region.from_tokens({"web": 900, "books": 100}, 1000, max_epochs={"books": 2}, cap={"web": 0.95})
    assert region.domains == ("web", "books")
    assert region.cap.tolist() == [0.95, 0.2]
    assert region.prior.tolist() == [0.9, 0.1]
    assert region.has_prior
    assert (region.available.tolist(), region.target_tokens, region.max_epochs.tolist()) == (
        [900, 100],
        1000,
        [4.0, 2.0],
    )
    assert Region.from_tokens({"a": 10**12, "b": 0}, 1e12).cap.tolist() == [1.0, 0.0]
    assert Region.from_tokens({"a": 1, "b": 5}, 100, max_epochs={"b": math.inf}).cap.tolist() == [0.04, 1.0]
    assert Region(["a"]).available is None


def test_align_and_replace():
    region = Region(
        NAMES, prior=[1, 2, 3, 4], cap={"web": 0.5}, floor=[0, 0.1, 0, 0], bounds={("code", "wiki"): (0.2, None)}
    )
    turned = region.align(["wiki", "web", "books", "code"])
    assert turned.prior.tolist() == [0.4, 0.1, 0.3, 0.2]
    assert turned.cap.tolist() == [1.0, 0.5, 1.0, 1.0]
    assert turned.floor.tolist() == [0.0, 0.0, 0.0, 0.1]
    assert turned.bound_rows.tolist() == [[1.0, 0.0, 0.0, 1.0]]
    assert turned.align(NAMES).cap.tolist() == region.cap.tolist()
    assert region.align(NAMES) is region
    with pytest.raises(AlignmentError, match=r"Only in the region: web\..*Only in the domains asked for: math"):
        region.align(["math", "code", "books", "wiki"])
    assert region.replace(cap=None).cap.tolist() == [1.0] * 4
    assert region.replace(bounds=None).floor.tolist() == region.floor.tolist()
    with pytest.raises(RegionError, match="caps"):
        region.replace(caps=0.3)


def test_align_and_replace_keep_token_counts():
    region = Region.from_tokens({"web": 900, "books": 100}, 1000, cap={"web": 0.9})
    turned = region.align(["books", "web"])
    assert (turned.available.tolist(), turned.cap.tolist(), turned.prior.tolist()) == (
        [100, 900],
        [0.4, 0.9],
        [0.1, 0.9],
    )
    wider = region.replace(cap=None)
    assert (wider.cap.tolist(), wider.target_tokens) == ([1.0, 0.4], 1000)


def test_is_immutable_and_copies():
    region = Region(NAMES, bounds={("code", "wiki"): (0.2, None)})
    with pytest.raises(AttributeError):
        region.cap = np.ones(4)
    for array in (region.prior, region.cap, region.floor, region.bound_rows, region.bound_lower, region.reachable):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    given_cap = np.full(4, 0.5)
    kept = Region(NAMES, cap=given_cap)
    given_cap[:] = 0.1
    assert kept.cap.tolist() == [0.5] * 4
    for other in (copy.deepcopy(region), pickle.loads(pickle.dumps(region))):
        assert other.domains == region.domains
        assert other.bounds == region.bounds
        assert other.project([1, 0, 0, 0]).tolist() == region.project([1, 0, 0, 0]).tolist()
    assert "code + wiki" in repr(region)


# --- refused limits ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"domains": []}, "empty"),
        ({"domains": "web"}, "single string 'web'"),
        ({"domains": ["web", ""]}, "non-empty strings"),
        ({"domains": ["web", 3]}, "got 3"),
        ({"domains": ["web", "code", "web"]}, r"'web' \(2 times\)"),
        ({"cap": {"webb": 0.1}}, r"unknown domains: webb \(did you mean web\?\); the domains are: web, code"),
        ({"cap": [0.5, 0.5]}, r"shape \(4,\).*got \(2,\)"),
        ({"cap": {"web": math.nan}}, "web=nan"),
        ({"floor": {"code": -0.1}}, r"code=-0\.1"),
        ({"cap": "half"}, "cap must be"),
        ({"prior": {"web": 1.0}}, "missing: code, books, wiki"),
        ({"prior": 0.0}, "positive, finite sum"),
        ({"prior": [1, 1, 1, math.inf]}, "positive, finite sum"),
        ({"bounds": {("code", "math"): (0.1, 0.2)}}, "unknown domains: math"),
        ({"bounds": {"code": (None, None)}}, "neither"),
        ({"bounds": {"code": (math.nan, 0.1)}}, "numbers or None"),
        ({"bounds": {"c": (["code", "code"], 0.1, None)}}, "unique"),
        ({"bounds": {"c": ([], 0.1, None)}}, "empty"),
        ({"bounds": {"c": ({"code": 0.0}, 0.1, None)}}, "not all 0"),
        ({"bounds": {"c": {"domains": ["code"], "least": 0.1}}}, "expected the keys"),
        ({"bounds": {"c": 0.1}}, r"expected \(domains, lower, upper\)"),
        ({"bounds": {"c": (["code"], "0.1x", None)}}, "must be numbers"),
        ({"bounds": [(0.1, 0.2)]}, "no domains"),
        ({"bounds": [(["code"], 0.1, None), (["code"], None, 0.2)]}, "two bounds are called 'code'"),
        ({"bounds": 0.3}, "mapping or a sequence"),
    ],
)
def test_malformed_input_is_refused(arguments, message):
    with pytest.raises(RegionError, match=message) as caught:
        Region(arguments.pop("domains", NAMES), **arguments)
    assert not isinstance(caught.value, InfeasibleError)


def test_only_floors_that_can_be_lowered_are_listed() -> None:
    with pytest.raises(InfeasibleError, match=r"lower some of them: code=0\.8, web=0\.7$"):
        Region(["web", "code", "books"], floor={"web": 0.7, "code": 0.8})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cap": 0.2}, r"caps sum to 0\.8"),
        ({"floor": 0.3}, r"floors sum to 1\.2"),
        ({"cap": {"code": 0.1}, "floor": {"code": 0.2}}, r"code \(floor 0\.2, cap 0\.1\)"),
        ({"bounds": {"c": (["code"], 0.5, 0.4)}}, "'c' has a lower limit 0.5 above its upper limit 0.4"),
        ({"cap": {"code": 0.1}, "bounds": {"c": (["code"], 0.5, None)}}, r"'c' \(code: at least 0\.5\).*at most 0\.1"),
        ({"floor": {"code": 0.5}, "bounds": {"c": (["code", "web"], None, 0.1)}}, r"'c' .*at most 0\.1.*at least 0\.5"),
        (
            {
                "bounds": {
                    "x": (["web", "code"], 0.6, None),
                    "y": (["books", "wiki"], 0.6, None),
                    "z": (["web"], 0.1, None),
                }
            },
            r"together.*'x' \(web, code: at least 0\.6\), 'y' \(books, wiki: at least 0\.6\)$",
        ),
    ],
)
def test_empty_regions_are_refused_with_the_culprits(arguments, message):
    with pytest.raises(InfeasibleError, match=message):
        Region(NAMES, **arguments)


def test_rounding_is_not_a_contradiction():
    assert Region(names(10), cap=0.1).project(np.arange(10)).tolist() == pytest.approx([0.1] * 10)
    assert Region(names(10), floor=0.1).contains(np.full(10, 0.1))
    thirds = Region(names(3), cap=1 / 3, bounds={("d0", "d1"): (2 / 3, None)})
    assert thirds.linear_min([3, 2, 1]).tolist() == pytest.approx([1 / 3] * 3)
    with pytest.raises(InfeasibleError, match=r"0\.999999"):
        Region(names(3), cap=0.333333)


def test_too_few_tokens_are_counted():
    with pytest.raises(InfeasibleError, match=r"600 tokens short: 100 tokens are available.*into 400.*1,000"):
        Region.from_tokens({"web": 60, "books": 40}, 1000)
    with pytest.raises(InfeasibleError, match=r"caps sum to 0\.5"):
        Region.from_tokens({"web": 1000, "books": 1000}, 1000, cap=0.25)


@pytest.mark.parametrize(
    ("available", "target", "message"),
    [
        ({"web": -1}, 10, r"available\['web'\] must be at least 0"),
        ({"web": 1.5}, 10, "whole number"),
        ({"web": "many"}, 10, "whole number"),
        ({"web": 10}, 0, "target_tokens must be at least 1"),
        ({"web": 10}, math.inf, "whole number"),
        ([10], 10, "mapping"),
        ({}, 10, "empty"),
    ],
)
def test_malformed_token_counts_are_refused(available, target, message):
    with pytest.raises(RegionError, match=message):
        Region.from_tokens(available, target)


def test_max_epochs_are_checked():
    with pytest.raises(RegionError, match="max_epochs names unknown domains: wbe"):
        Region.from_tokens({"web": 100}, 100, max_epochs={"wbe": 2})
    with pytest.raises(RegionError, match="max_epochs must be non-negative"):
        Region.from_tokens({"web": 100}, 100, max_epochs=-1)


def test_a_finite_cap_above_one_is_told():
    with pytest.warns(MixfastWarning, match=r"cap: code=20 is not a limit"):
        Region(["web", "code"], cap={"code": 20})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Region(["web", "code"], cap={"code": np.inf, "web": 1.0})
        assert Region.from_tokens({"web": 900, "code": 900}, 1000).cap.tolist() == [1.0, 1.0]


def test_thousands_of_epochs_are_taken_for_a_mistake():
    with pytest.raises(RegionError, match="max_epochs is at most 1000, got web=4000"):
        Region.from_tokens({"web": 10, "code": 10}, 10, max_epochs={"web": 4000})
    assert Region.from_tokens({"web": 10, "code": 10}, 10, max_epochs={"web": math.inf}).cap.tolist() == [1.0, 1.0]
