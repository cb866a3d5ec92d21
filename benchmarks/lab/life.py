"""Follow five updates of the set of domains with real proxies: by recomputation, by frozen ratios, and as mixfast does it."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import mixfast
from benchmarks.lab.corpora import NATURAL, TARGETS
from benchmarks.lab.judge import half_interval
from benchmarks.lab.laboratory import MAX_EPOCHS, Laboratory
from benchmarks.lab.store import Job, Store
from mixfast import designs, reuse
from mixfast.laws.log_linear import LogLinear

MADE_OF = {"code": ("code_c", "code_rust"), "lit": ("lit_austen", "lit_bible")}
"""Domains that are several texts in their natural proportion; one of them is split later."""
START = ("code", "lit", "dict_gcide", "doc_kernel", "essay_anarchism", "help_de", "law_licences", "proof_metamath")
UPDATES: tuple[tuple[str, reuse.Change], ...] = (
    ("add code_python, doc_sql", reuse.Add(["code_python", "doc_sql"])),
    ("add doc_perl, man_en, dna", reuse.Add(["doc_perl", "man_en", "dna_ecoli"])),
    ("revise help_de to help_en", reuse.Revise({"help_de": "help_en"})),
    ("remove proof_metamath", reuse.Remove(["proof_metamath"])),
    ("split code in two", reuse.Partition("code", ["code_c", "code_rust"])),
)
KL, FAINT, SEEDS = 0.01, 2e-7, 3
"""Of all ways: weight of the KL term, penalty of the log-linear law as in `benchmarks.studies.lifecycle`, and number of seeds of the models that evaluate."""


class Life:
    """One way through the updates: the proxies it trains and its mixture after each update."""

    def __init__(self, lab: Laboratory, name: str, workers: int) -> None:
        self.lab, self.name, self.workers = lab, name, workers

    def region(self, domains: Iterable[str]) -> mixfast.Region:
        """Return the limits of a final run over these domains."""
        names = tuple(domains)
        supply = {name: sum(self.lab.supply[part] for part in MADE_OF.get(name, (name,))) for name in names}
        budget = self.lab.scale.final.windows * self.lab.scale.final.shape.window
        return mixfast.Region.from_tokens(supply, budget, max_epochs=MAX_EPOCHS)

    def measured(self, rows: NDArray[np.float64], domains: Iterable[str], prefix: str) -> mixfast.Swarm:
        """Train a proxy on each mixture and return them as a swarm of the targets' losses."""
        names, kind = tuple(domains), f"life-{self.name}"
        jobs = [
            Job(f"{kind}-{prefix}{i:02d}", kind, "proxy", texts(dict(zip(names, row, strict=True))), 0)
            for i, row in enumerate(rows.tolist())
        ]
        self.lab.train(jobs, self.workers)
        values = np.array([[self.lab.store.metric(job.run, name) for name in TARGETS] for job in jobs])
        return mixfast.Swarm(rows, values, domains=names, metric_names=TARGETS, runs=[job.run for job in jobs])


def after(number: int) -> tuple[str, ...]:
    """Return the domains after this number of updates."""
    names = START
    for _, change in UPDATES[:number]:
        names = reuse.Update.of(change, names).domains
    return names


def trained(store: Store, way: str, number: int) -> mixfast.Swarm | None:
    """Return the proxies that a method has trained at an update, as a swarm of the targets' losses; None if there are none."""
    runs = [
        run for run in store.runs(lambda row: row["kind"] == f"life-{way}") if run.startswith(f"life-{way}-{number}-")
    ]
    if not runs:
        return None
    names = after(number)
    rows = np.array(
        [[sum(store.mixture(run)[part] for part in MADE_OF.get(name, (name,))) for name in names] for run in runs]
    )
    values = store.swarm(runs, store.domains).select(TARGETS).values
    return mixfast.Swarm(rows, values, domains=names, metric_names=TARGETS, runs=runs)


def texts(shares: Mapping[str, float]) -> mixfast.Mixture:
    """Return the mixture of texts for a mixture of domains."""
    found = dict.fromkeys(NATURAL, 0.0)
    for name, share in shares.items():
        parts = MADE_OF.get(name, (name,))
        for part in parts:
            found[part] += share * NATURAL[part] / sum(NATURAL[each] for each in parts)
    values = np.array(list(found.values()))
    return mixfast.Mixture(found, values / values.sum())


def recomputation(life: Life) -> list[mixfast.Mixture]:
    """Train a new swarm of 3 (m + 1) runs at every update; the law is the same in all ways."""
    found = []
    for number in range(len(UPDATES) + 1):
        region = life.region(after(number))
        swarm = mixfast.design(region, seed=number)
        runs = _first(life) if number == 0 else life.measured(swarm.ratios, swarm.domains, f"{number}-")
        found.append(_propose(runs, region))
    return found


def frozen(life: Life) -> list[mixfast.Mixture]:
    """Keep the ratios of domains that a change does not touch: Olmix's full reuse."""
    found = [_propose(_first(life), life.region(START))]
    for number, (_, change) in enumerate(UPDATES, 1):
        plan = reuse.full(found[-1], [change], life.region(after(number)))
        if len(plan.region.domains) == 1:
            found.append(plan.mixture)
            continue
        drawn = mixfast.design(plan.sampling, plan.runs, seed=number)
        new = life.measured(plan.expand_rows(drawn.ratios, drawn.domains), plan.part.full.domains, f"{number}-")
        found.append(plan.expand(_propose(plan.collapse_swarm(new), plan.region)))
    return found


def kept(life: Life) -> list[mixfast.Mixture]:
    """Keep all runs, freeze only domains for which that costs little, and use two thirds as many new runs, half of them the most informative."""
    runs = _first(life)
    law = mixfast.fit(runs, LogLinear(penalty=FAINT), folds=0)
    found = [mixfast.propose(law, life.region(START), kl=KL).mixture]
    for number, (_, change) in enumerate(UPDATES, 1):
        region = life.region(after(number))
        plan = reuse.full(found[-1], [change], region)
        carried = reuse.swarm(runs, change, region, keep_gone=True)
        runs = carried.swarm
        if len(plan.region.domains) > 1:
            half = plan.runs // 3
            spread = _over(plan, mixfast.design(plan.sampling, half, seed=number), runs)
            runs = reuse.together(runs, life.measured(spread.ratios, spread.domains, f"{number}-spread-"))
            pool = _over(plan, mixfast.design(plan.sampling, 200, seed=number + 10), runs)
            law = mixfast.fit(runs, LogLinear(penalty=FAINT), folds=0)
            chosen = designs.next_runs(runs, law, carried.region, half, way="information", among=pool).design
            runs = reuse.together(runs, life.measured(chosen.ratios, chosen.domains, f"{number}-chosen-"))
        law = mixfast.fit(runs, LogLinear(penalty=FAINT), folds=0)
        whole = mixfast.propose(law, carried.region, kl=KL).mixture
        found.append(mixfast.Mixture(region.domains, [whole[name] for name in region.domains]))
    return found


def natural(life: Life) -> list[mixfast.Mixture]:
    """Use the natural mixture."""
    every = [after(number) for number in range(len(UPDATES) + 1)]
    return [mixfast.Mixture(names, life.region(names).prior) for names in every]


WAYS: dict[str, Callable[[Life], list[mixfast.Mixture]]] = {
    "natural": natural,
    "recomputation": recomputation,
    "frozen": frozen,
    "mixfast": kept,
}


def live(lab: Laboratory, workers: int, path: Path) -> str:
    """Follow every way, evaluate each mixture by new proxies of several seeds, write life.csv and return a Markdown table."""
    lines = ["| way | runs | " + " | ".join(name for name, _ in UPDATES) + " |", "|---|---:|" + "---:|" * len(UPDATES)]
    rows, base = [], np.array([])
    for way, follow in WAYS.items():
        life = Life(lab, way, workers)
        found = follow(life)[1:]
        jobs = [
            Job(f"life-{way}-judged-{number}-s{seed}", "judge", "judge", texts(dict(mixture.as_dict())), seed)
            for number, mixture in enumerate(found, 1)
            for seed in range(1, SEEDS + 1)
        ]
        lab.train(jobs, workers)
        losses = np.array([np.mean([lab.store.metric(job.run, name) for name in TARGETS]) for job in jobs]).reshape(
            -1, SEEDS
        )
        base = losses if way == "natural" else base
        change = 100 * (losses / base - 1)
        runs = len(lab.store.runs(lambda row, kind=f"life-{way}": row["kind"] == kind))
        shown = [f"{each.mean():+.2f} ± {half_interval(each):.2f}" for each in change]
        lines.append(f"| {way} | {runs} | " + " | ".join(shown) + " |")
        rows += [
            [way, runs, update, seed, f"{loss:.5f}", f"{part:.3f}"]
            for (update, _), several, parts in zip(UPDATES, losses, change, strict=True)
            for seed, (loss, part) in enumerate(zip(several, parts, strict=True), 1)
        ]
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["way", "runs", "update", "seed", "nats_per_byte", "change_percent"])
        writer.writerows(rows)
    return "\n".join(lines)


def _first(life: Life) -> mixfast.Swarm:
    """Return the swarm that every way begins with; it is trained once."""
    drawn = mixfast.design(life.region(START), seed=0)
    return Life(life.lab, "start", life.workers).measured(drawn.ratios, drawn.domains, "0-")


def _propose(runs: mixfast.Swarm, region: mixfast.Region) -> mixfast.Mixture:
    return mixfast.propose(mixfast.fit(runs, LogLinear(penalty=FAINT), folds=0), region, kl=KL).mixture


def _over(plan: reuse.Reuse, collapsed: designs.Design, runs: mixfast.Swarm) -> designs.Design:
    """Return a plan's design over the domains of all runs; removed domains have share 0."""
    rows = np.zeros((len(collapsed), len(runs.domains)))
    columns = [runs.domains.index(name) for name in plan.part.full.domains]
    rows[:, columns] = plan.expand_rows(collapsed.ratios, collapsed.domains)
    return designs.Design(rows, runs.domains, collapsed.runs, collapsed.method, collapsed.advised)
