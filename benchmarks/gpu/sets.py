"""Measure the GPU kernels: each set yields lines as they are measured; nothing is printed or stored here."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks import peers as adapters

# Twice the L2 of the largest current chip, written before each run.
FLUSH_BYTES = 256 << 20
ROWS = 16384
DEPTHS = (512, 1024, 2048, 4096)
VOCABS = (50257, 128256, 262144)
# As the solver finds for tables like `_table`'s: no value is outside the range of exp.
IN_RANGE = {"shift": False, "bounded": True}
# Milliseconds that one case may take in total, and its smallest number of runs.
BUDGET_MS, FEWEST = 600.0, 7


@dataclass(frozen=True)
class Timing:
    """Median, smallest and largest milliseconds of the runs, and the peak of additional memory."""

    ms: float
    least: float
    most: float
    repeats: int
    peak_mb: float


@dataclass(frozen=True)
class Record:
    """One line of a result file; `limit_ms` is the time that the measured limit allows."""

    case: str
    contender: str
    ms: float = math.nan
    least: float = math.nan
    most: float = math.nan
    repeats: int = 0
    rate: float = math.nan
    unit: str = ""
    limit_ms: float = math.nan
    share_of_limit: float = math.nan
    peak_mb: float = math.nan
    error: float = math.nan
    note: str = ""


def measure(run: Callable[[], object], *, budget: float = BUDGET_MS) -> Timing:
    """Time `run` by events, after warming up, each run from a cold L2."""
    import torch

    flush = torch.empty(FLUSH_BYTES, dtype=torch.int8, device="cuda")
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    peak = (torch.cuda.max_memory_allocated() - before) / 1e6
    times: list[float] = []
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    while len(times) < FEWEST + 1 or (sum(times) < budget and len(times) < 100):
        flush.zero_()
        start.record()
        run()
        stop.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(stop))
    times = sorted(times[1:])
    return Timing(times[len(times) // 2], times[0], times[-1], len(times), peak)


def record(case: str, contender: str, timing: Timing, amount: float, unit: str, limit: float, **more: Any) -> Record:
    """Make the line of a timing: `amount` is what was computed or moved, in units of `unit` times seconds."""
    return Record(
        case, contender, timing.ms, timing.least, timing.most, timing.repeats, amount / timing.ms * 1e3, unit,
        limit, limit / timing.ms, timing.peak_mb, **more,
    )  # fmt: skip


def copy_limit() -> tuple[Record, float]:
    """Bytes per millisecond of a device-to-device copy, read and written ones both counted."""
    import torch

    source = torch.randint(255, (2 << 30,), dtype=torch.uint8, device="cuda")
    copy = torch.empty_like(source)
    timing = measure(lambda: copy.copy_(source))
    moved = 2.0 * source.nbytes
    return record("limit", "copy of 2 GB", timing, moved / 1e9, "GB/s", timing.ms), moved / timing.ms


def head_problem(n: int, d: int, v: int) -> tuple[Any, Any, Any]:
    """Random hidden states, a head that gives logits of a few nats, targets; bfloat16."""
    import torch

    generator = torch.Generator("cuda").manual_seed(0)
    hidden = torch.randn(n, d, generator=generator, device="cuda", dtype=torch.bfloat16)
    head = torch.randn(v, d, generator=generator, device="cuda", dtype=torch.bfloat16) * (4 / math.sqrt(d))
    return hidden, head, torch.randint(v, (n,), generator=generator, device="cuda")


def _head_error(got: Any, hidden: Any, head: Any, target: Any) -> float:
    """Largest error in nats over some rows, against float64."""
    import torch

    from mixfast.kernels import reference

    some = slice(0, 64)
    exact = reference.token_logprob(hidden[some], head, target[some], dtype=torch.float64)
    return float((got[some].double() - exact).abs().max())


def _heads(quick: bool) -> Iterator[tuple[str, tuple[Any, Any, Any], float, Record, float]]:
    """Every shape with its bare matrix product, timed: name, inputs, TFLOP, record, milliseconds."""
    import torch

    for d in (1024,) if quick else DEPTHS:
        for v in (128256,) if quick else VOCABS:
            hidden, head, target = head_problem(ROWS, d, v)
            name, work = f"{ROWS} x {d} x {v} bf16", 2e-12 * ROWS * d * v
            logits = torch.empty(ROWS, v, dtype=torch.bfloat16, device="cuda")
            weight = head.T
            bare = measure(lambda out=logits, h=hidden, w=weight: torch.mm(h, w, out=out))
            del logits
            yield name, (hidden, head, target), work, record(name, "torch.mm", bare, work, "TFLOP/s", bare.ms), bare.ms


def head(quick: bool) -> Iterator[Record]:
    """token_logprob compared with the bare matrix product, and from ready logits compared with the copy rate."""
    import torch

    from mixfast.kernels import token_logprob, token_logprob_from_logits

    limit, rate = copy_limit()
    yield limit
    for name, (hidden, weight, target), work, bare, ms in _heads(quick):
        yield bare
        timing = measure(lambda h=hidden, w=weight, t=target: token_logprob(h, w, t))
        worst = _head_error(token_logprob(hidden, weight, target), hidden, weight, target)
        share = timing.peak_mb / (ROWS * weight.shape[0] * 2e-6)
        note = f"peak is {100 * share:.2g} % of the logits"
        yield record(name, "mixfast", timing, work, "TFLOP/s", ms, error=worst, note=note)
    for v in (128256,) if quick else VOCABS:
        logits = torch.randn(ROWS, v, device="cuda", dtype=torch.bfloat16)
        target = torch.randint(v, (ROWS,), device="cuda")
        timing = measure(lambda x=logits, t=target: token_logprob_from_logits(x, t))
        yield record(f"{ROWS} x {v} logits bf16", "mixfast", timing, logits.nbytes / 1e9, "GB/s", logits.nbytes / rate)


def peers(quick: bool) -> Iterator[Record]:
    """The peers on the shapes of `head`; one that cannot run says why."""
    for name, inputs, work, bare, ms in _heads(quick):
        yield bare
        for peer in adapters.of("head"):
            if reason := peer.reason():
                yield Record(name, peer.name, note=reason)
                continue
            try:
                ready = peer.prepare(inputs)
                timing = measure(lambda peer=peer, ready=ready: peer.run(ready))
                worst = _head_error(-peer.run(ready), *inputs)
            except Exception as problem:  # a peer may raise any error: that is its result
                yield Record(name, peer.name, note=f"{type(problem).__name__}: {str(problem).splitlines()[0][:160]}")
                continue
            yield record(name, peer.name, timing, work, "TFLOP/s", ms, error=worst)


def tune(quick: bool) -> Iterator[Record]:
    """token_logprob with other tiles and splits than those of its table."""
    from mixfast.kernels import token_logprob

    plan = importlib.import_module("mixfast.kernels._head_plan")
    tiles = [
        plan.Tile(128, 256, 64, 8, stages, group) for stages in (3, 4) for group in (8, 16, 32)
    ] + [plan.Tile(256, 128, 64, 8, 4), plan.Tile(128, 128, 64, 4, 3), plan.Tile(128, 128, 64, 8, 4),
         plan.Tile(128, 256, 128, 8, 2), plan.Tile(64, 256, 64, 4, 2)]  # fmt: skip
    for name, (hidden, weight, target), work, bare, ms in _heads(quick):
        yield bare
        for tile in tiles:
            for splits in (None, 33) if tile.group == 16 else (None,):
                label = f"{tile.rows}x{tile.columns}x{tile.depth} w{tile.warps} s{tile.stages} g{tile.group} splits {splits}"
                try:
                    timing = measure(
                        lambda h=hidden, w=weight, t=target, tile=tile, s=splits: token_logprob(
                            h, w, t, tile=tile, splits=s
                        ),
                        budget=150.0,
                    )
                except Exception as problem:  # a tile may need more than the device has
                    yield Record(name, label, note=f"{type(problem).__name__}: {str(problem).splitlines()[0][:160]}")
                    continue
                yield record(name, label, timing, work, "TFLOP/s", ms)


def _table(n: int, k: int) -> Any:
    """Return log-likelihoods of tokens, float32."""
    import torch

    generator = torch.Generator("cuda").manual_seed(0)
    return torch.empty(n, k, device="cuda").exponential_(0.5, generator=generator).neg_()


def rows(quick: bool) -> Iterator[Record]:
    """row_pass over a table of 4 GB, compared with one read of it at the rate of a copy."""
    import torch

    from mixfast.kernels import row_pass

    limit, rate = copy_limit()
    yield limit
    for k in (16, 64) if quick else (8, 16, 32, 64, 128, 256):
        loglik = _table((1 << 30) // k, k)
        mixture = torch.full((k,), 1.0 / k, dtype=torch.float64, device="cuda")
        for label, options in (
            ("value and gradient", {"hessian": 0, **IN_RANGE}),
            ("with Hessian", {"hessian": 1, **IN_RANGE}),
            ("any values, gradient", {"hessian": 0}),
        ):
            timing = measure(lambda x=loglik, w=mixture, o=options: row_pass(x, 1.0 / len(x), w, **o))
            case = f"{len(loglik)} x {k} fp32"
            yield record(case, f"mixfast, {label}", timing, loglik.nbytes / 1e9, "GB/s", loglik.nbytes / rate)


def nll(quick: bool) -> Iterator[Record]:
    """mixture_nll of M mixtures, compared with one read of the table and with torch's float32 product of that shape."""
    import torch

    from mixfast.kernels import mixture_nll

    limit, rate = copy_limit()
    yield limit
    for k in (16,) if quick else (16, 64):
        loglik = _table(10_000_000, k)
        block = loglik[:1_000_000].exp()
        for m in (1, 8, 1000):
            mixtures = torch.distributions.Dirichlet(torch.ones(k, dtype=torch.float64, device="cuda")).sample((m,))
            shares = mixtures.float().T.contiguous()
            product = measure(lambda p=block, s=shares: torch.mm(p, s))
            timing = measure(lambda x=loglik, w=mixtures: mixture_nll(x, 1.0 / len(x), [0, len(x)], w, **IN_RANGE))
            case, blocks = f"{len(loglik)} x {k} x {m} mixtures fp32", len(loglik) / len(block)
            read, gemm = loglik.nbytes / rate, product.ms * blocks
            work = 1e-9 * len(loglik) * m
            yield record(case, "torch.mm fp32 in blocks", product, work / blocks, "1e9 logs/s", product.ms)
            yield record(
                case,
                "mixfast",
                timing,
                work,
                "1e9 logs/s",
                max(read, gemm),
                note=f"read {read:.3g} ms, product {gemm:.3g} ms",
            )


def solve(quick: bool) -> Iterator[Record]:
    """The whole solve of 1e8 x 16 (quick: 1e7), the table on the device, compared with one read of it."""
    import mixfast

    limit, rate = copy_limit()
    yield limit
    loglik = _table(10_000_000 if quick else 100_000_000, 16)
    table = mixfast.ExpertTable.from_loglik(loglik)
    found = mixfast.solve(table, backend="cuda")
    timing = measure(lambda: mixfast.solve(table, backend="cuda"), budget=5000.0)
    read = loglik.nbytes / rate
    note = f"{found.status}, gap {found.gap:.1e}, {timing.ms / read:.1f} reads of the table"
    yield record(f"{len(loglik)} x 16 fp32", "mixfast", timing, loglik.nbytes / 1e9, "GB/s", read, note=note)


def stream(quick: bool) -> Iterator[Record]:
    """A sweep over a table in host memory, compared with copies of it from pinned and from pageable memory."""
    import numpy as np
    import torch

    import mixfast
    from mixfast._engine.objectives.base import Sum
    from mixfast._engine.objectives.rows_cuda import DeviceCrossEntropy

    rows, k = 10_000_000 if quick else 100_000_000, 16
    pinned = torch.empty(1 << 28, dtype=torch.float32, pin_memory=True)
    near = torch.empty_like(pinned, device="cuda")
    bus = measure(lambda to=near, source=pinned: to.copy_(source, non_blocking=True))
    yield record("limit", "copy of 1 GB, pinned to device", bus, pinned.nbytes / 1e9, "GB/s", bus.ms)
    rate = pinned.nbytes / bus.ms
    del near, pinned
    table = mixfast.ExpertTable.from_loglik(_table(rows, k).cpu())
    far = torch.from_numpy(table.loglik)
    near = torch.empty_like(far, device="cuda")
    plain = measure(lambda to=near: to.copy_(far), budget=3000.0)
    del near
    case, moved = f"{rows} x {k} fp32, streamed", table.loglik.nbytes
    yield record(case, "copy, pageable", plain, moved / 1e9, "GB/s", moved / rate)
    objective = DeviceCrossEntropy(table, Sum(None, table.uniform_weight), device=torch.device("cuda", 0))
    mixture = np.full(k, 1.0 / k)
    for label, hessian in (("value and gradient", 0), ("with Hessian", 1)):
        timing = measure(lambda h=hessian: objective.sums(mixture, hessian=h), budget=3000.0)
        yield record(case, f"mixfast, {label}", timing, moved / 1e9, "GB/s", moved / rate)


SETS: dict[str, Callable[[bool], Iterator[Record]]] = {
    "head": head, "rows": rows, "nll": nll, "solve": solve, "stream": stream, "peers": peers, "tune": tune,
}  # fmt: skip
