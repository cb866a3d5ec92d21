"""Compare ways to follow changes of the domains on simulated worlds: python -m benchmarks.studies lifecycle.

Replays the updates of Olmix's case study (24 -> 39 -> 45 -> 45 -> 44 -> 64 domains) on worlds whose true losses are known, and compares
ways to follow them with a full recomputation at every update: the fraction of its gain over the natural mixture that they keep, and their number
of proxy runs. All ways fit log-linear laws and propose with the same pull to the natural mixture (KL .05, at most 4 repetitions in a
run of a trillion tokens), as Olmix does. Our way fits with a weak penalty; without it, coefficients become extreme if the true losses are not
log-linear. "penalised" is a full recomputation with the penalised law, which separates the two effects.
"""

from __future__ import annotations

import csv
import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mixfast
from benchmarks.facts import RESULTS, commit
from benchmarks.studies.lifecycle_world import CODE, FAMILIES, MORE, PDFS, WEB, World
from mixfast import Mixture, Region, Swarm, designs, reuse
from mixfast.laws.log_linear import LogLinear

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]

KL, BUDGET, REPEATS = 0.05, 10**12, 4
# Candidate mixtures from which the most informative runs are chosen.
CANDIDATES = 300
# The weak penalty: 1e-5 of Huber's delta.
FAINT = 2e-7

_WEB, _CODE = [f"web:{name}" for name in WEB], [f"code:{name}" for name in CODE]
# The updates, in the case study's order: what changes, and the domains after it.
UPDATES: tuple[tuple[str, reuse.Change | None], ...] = (
    ("start", None),
    ("add code", reuse.Add(_CODE)),
    ("add sources", reuse.Add([*MORE, "pdf_draft"])),
    ("revise PDFs", reuse.Revise({"pdf_draft": "pdf"})),
    ("remove", reuse.Remove(["algebraicstack"])),
    ("partition PDFs", reuse.Partition("pdf", [f"pdf:{name}" for name in PDFS])),
)
# Proxy runs at each update: 832 in total for full recomputation as in the paper, 216 for full reuse as in its configurations, 272 for partial
# reuse as in the paper, which does not say how they are divided among the updates.
RUNS = {
    "recomputation": (64, 128, 128, 128, 128, 256),
    "penalised": (64, 128, 128, 128, 128, 256),
    "full reuse": (64, 64, 16, 8, 0, 64),
    "partial reuse": (64, 80, 32, 16, 0, 80),
    "partial by law": (64, 80, 32, 16, 0, 80),
    "mixfast": (64, 36, 16, 6, 0, 44),
}
# Old domains that partial reuse unfreezes, chosen by hand as in the paper: those that serve the same tasks as the new ones.
BY_HAND = {
    "add code": ("web:software_development", "web:software"),
    "add sources": ("web:science", "web:health", "web:education"),
    "revise PDFs": ("web:science", "pes2o", "arxiv"),
    "partition PDFs": ("web:science", "web:health", "web:education", "pes2o"),
}


@dataclass
class Step:
    """One update: what each way gets to know of it."""

    name: str
    change: reuse.Change | None
    region: Region
    runs: int
    seed: int


def propose(law: Any, region: Region) -> Mixture:
    return mixfast.propose(law, region, kl=KL).mixture


def fit(swarm: Swarm, penalty: float | str = 0.0) -> Any:
    return mixfast.fit(swarm, LogLinear(penalty=penalty), folds=0)


def measured(world: World, rows: Matrix, domains: Iterable[str], prefix: str = "") -> Swarm:
    """Proxy runs of these mixtures."""
    names = tuple(domains)
    values = world.measure(rows, names)
    ids = [f"{prefix}{row}" for row in range(len(values))]
    return Swarm(rows, values, domains=names, metric_names=[f"task_{j}" for j in range(values.shape[1])], runs=ids)


def recomputation(world: World, steps: list[Step], penalty: float = 0.0) -> list[Mixture]:
    """A new swarm over all domains at every update."""
    out = []
    for step in steps:
        swarm = designs.design(step.region, step.runs, seed=step.seed)
        out.append(propose(fit(measured(world, swarm.ratios, swarm.domains), penalty), step.region))
    return out


def penalised(world: World, steps: list[Step]) -> list[Mixture]:
    """Recompute with our law."""
    return recomputation(world, steps, FAINT)


def full_reuse(world: World, steps: list[Step]) -> list[Mixture]:
    """Olmix's full mixture reuse: domains that a change does not touch keep their ratios."""
    return _frozen(world, steps, {})


def partial_reuse(world: World, steps: list[Step]) -> list[Mixture]:
    """Olmix's partial mixture reuse: the same, but some untouched domains are unfrozen by hand."""
    return _frozen(world, steps, BY_HAND)


def partial_by_law(world: World, steps: list[Step]) -> list[Mixture]:
    """Partial reuse with our law; a law of all runs so far chooses what to unfreeze. Each run is used for one update only."""
    return _frozen(world, steps, None)


def _frozen(world: World, steps: list[Step], opened: dict[str, tuple[str, ...]] | None) -> list[Mixture]:
    first = designs.design(steps[0].region, steps[0].runs, seed=steps[0].seed)
    runs = measured(world, first.ratios, first.domains, "0-")
    out = [propose(fit(runs), steps[0].region)]
    for number, step in enumerate(steps[1:], start=1):
        if not step.runs:
            # Renormalised; if that lifts a domain above its cap, the nearest mixture that the caps allow.
            kept = np.array([out[-1][name] for name in step.region.domains])
            out.append(Mixture(step.region.domains, step.region.project(kept / kept.sum())))
            runs = reuse.swarm(runs, step.change, step.region, keep_gone=True).swarm
            continue
        if opened is None:
            plan = reuse.partial(out[-1], step.change, step.region, law=fit(runs, FAINT), kl=KL)
        else:
            plan = reuse.partial(out[-1], step.change, step.region, reopen=opened.get(step.name, ()))
        swarm = designs.design(plan.sampling, step.runs, seed=step.seed)
        new = measured(world, plan.expand_rows(swarm.ratios, swarm.domains), step.region.domains, f"{number}-")
        out.append(plan.expand(propose(fit(plan.collapse_swarm(new), FAINT if opened is None else 0.0), plan.region)))
        carried = reuse.swarm(runs, step.change, step.region, keep_gone=True).swarm
        rows = np.zeros((len(new), len(carried.domains)))
        rows[:, [carried.domains.index(name) for name in new.domains]] = new.ratios
        runs = reuse.together(
            carried, Swarm(rows, new.values, domains=carried.domains, metric_names=new.metrics, runs=new.runs)
        )
    return out


def mixfast_reuse(world: World, steps: list[Step]) -> list[Mixture]:
    """Our way: the law chooses what to unfreeze, half of the runs are the most informative ones, and old runs stay in the fit.

    New runs keep the frozen ratios, so they are near the mixtures that matter. The law is fitted over all domains, including removed ones and
    frozen ones, so the proposal need not freeze anything.
    """
    first = designs.design(steps[0].region, steps[0].runs, seed=steps[0].seed)
    runs = measured(world, first.ratios, first.domains, "0-")
    law = fit(runs, FAINT)
    out = [propose(law, steps[0].region)]
    for number, step in enumerate(steps[1:], start=1):
        plan = reuse.partial(out[-1], step.change, step.region, law=law, kl=KL)
        carried = reuse.swarm(runs, step.change, step.region, keep_gone=True)
        runs = carried.swarm
        if step.runs:
            half = step.runs // 2
            spread = _over(plan, designs.design(plan.sampling, step.runs - half, seed=step.seed), runs)
            runs = reuse.together(runs, measured(world, spread.ratios, spread.domains, f"{number}-spread-"))
            pool = _over(plan, designs.design(plan.sampling, CANDIDATES, seed=step.seed + 1), runs)
            chosen = designs.next_runs(
                runs, fit(runs, FAINT), carried.region, half, way="information", among=pool
            ).design
            runs = reuse.together(runs, measured(world, chosen.ratios, chosen.domains, f"{number}-chosen-"))
        law = fit(runs, FAINT)
        whole = propose(law, carried.region)
        out.append(Mixture(step.region.domains, [whole[name] for name in step.region.domains]))
    return out


def _over(plan: reuse.Reuse, collapsed: designs.Design, runs: Swarm) -> designs.Design:
    """Return a design of a plan over the domains of all runs; removed domains have share 0."""
    rows = np.zeros((len(collapsed), len(runs.domains)))
    rows[:, [runs.domains.index(name) for name in plan.part.full.domains]] = plan.expand_rows(
        collapsed.ratios, collapsed.domains
    )
    return designs.Design(rows, runs.domains, collapsed.runs, collapsed.method, collapsed.advised)


WAYS: dict[str, Callable[[World, list[Step]], list[Mixture]]] = {
    "recomputation": recomputation, "penalised": penalised, "full reuse": full_reuse, "partial reuse": partial_reuse, "partial by law": partial_by_law, "mixfast": mixfast_reuse,
}  # fmt: skip


def steps_of(world: World, runs: tuple[int, ...], seed: int) -> list[Step]:
    """Return the updates of a world, with the region after each."""
    out, names = [], tuple(_WEB)
    for number, (name, change) in enumerate(UPDATES):
        if change is not None:
            names = reuse.Update.of(change, names).domains
        tokens = {each: round(world.tokens[each] * 1e9) for each in names}
        region = Region.from_tokens(tokens, BUDGET, max_epochs=REPEATS)
        out.append(Step(name, change, region, runs[number], 100 * seed + 10 * number))
    return out


def gains(world: World, way: str, seed: int) -> Vector:
    """Return the true gain over the natural mixture after each update, nats, mean over the tasks."""
    steps = steps_of(world, RUNS[way], seed)
    found = WAYS[way](world, steps)
    pairs = zip(steps, found, strict=True)
    return np.array(
        [world.loss(world.natural(step.region.domains)) - world.loss(mixture.as_dict()) for step, mixture in pairs]
    )


def run(
    seeds: int = 20,
    family: list[str] = list(FAMILIES),  # noqa: B006  it is only read
    noise: float = 0.1,
    better: float = 1.0,
    ways: list[str] = list(WAYS),  # noqa: B006
    save: bool = False,
) -> None:
    """Print one line for each family of true losses and each way; `save` appends to the results.

    `noise` of a measurement is a fraction of a task's spread; added domains teach `better` times as much as old ones.
    """
    names = [name for name, _ in UPDATES]
    lines: list[list[object]] = []
    for kind in family:
        print(
            f"{kind}, noise {noise:g}, added domains {better:g} times better, {seeds} worlds; gain kept of that of recomputation, in percent"
        )
        print(f"{'':14} runs   last, 95 % interval, worst   mean of updates   " + ", ".join(names[1:]))
        full: Matrix | None = None
        for way in dict.fromkeys(["recomputation", *ways]):
            began = time.perf_counter()
            found = np.array(
                [gains(World(seed, family=kind, noise=noise, better=better), way, seed) for seed in range(seeds)]
            )
            full = found if full is None else full
            kept = 100.0 * found / full
            runs, last, mean = sum(RUNS[way]), kept[:, -1], kept[:, 1:].mean(axis=1)
            half = 1.96 * last.std(ddof=1) / np.sqrt(len(last)) if len(last) > 1 else float("nan")
            each = " ".join(f"{value:6.1f}" for value in kept[:, 1:].mean(axis=0))
            print(
                f"{way:14} {runs:4} {last.mean():6.2f} +- {half:4.2f}, worst {last.min():6.2f}   {mean.mean():6.2f}   {each}   "
                f"({time.perf_counter() - began:.0f} s, gain {found[:, -1].mean():.4f})",
                flush=True,
            )
            lines += [
                [kind, noise, better, way, runs, seed, name, gain, part]
                for seed, (row, parts) in enumerate(zip(found.tolist(), kept.tolist(), strict=True))
                for name, gain, part in zip(names, row, parts, strict=True)
            ]
    if save:
        _save(lines)


_COLUMNS = (
    "commit", "python", "family", "noise", "better", "way", "runs", "seed", "update", "gain_nats", "percent_of_recomputation",
)  # fmt: skip


def _save(lines: list[list[object]]) -> None:
    path, when = RESULTS / "lifecycle.csv", commit()
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(_COLUMNS)
        writer.writerows([when, platform.python_version(), *line] for line in lines)
