"""Olmix's case study of mixture reuse, replayed: python -m benchmarks.studies case_study.

`case` holds the numbers of the published configurations: the mixtures each update froze, token counts, swarms. The five updates
24 -> 39 -> 45 -> 45 -> 44 -> 64 domains go through the public functions; nothing is simulated. What was not published is derived: the share of the
PDFs after they were added follows from finemath being at its cap, and is also used for the revision. `case` does not contain the last mixture.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.facts import DATA
from mixfast import Mixture, Region, reuse

BUDGET, EPOCHS = 10**12, 4.0
# Dates were not published.
WHEN = "2026-01-01"


@dataclass(frozen=True)
class Step:
    """One update.

    Attributes
    ----------
    before, after : Mixture
        After: None if it was not published.
    constant : float or None
        Factor between the shares of the frozen block in the previous update and in this one; None if that block was not published,
        or is the first. Sums of published blocks differ from 1 by some 1e-12; those of a Mixture do not.
    trained : int
        Published number of runs.
    notes : tuple of str
        What mixfast warns of.
    """

    name: str
    plan: reuse.Reuse
    before: Mixture
    after: Mixture | None
    tokens: dict[str, int]
    constant: float | None
    trained: int
    notes: tuple[str, ...]

    @property
    def repeats(self) -> dict[str, float]:
        """How often the new mixture reads each domain; empty if there is none."""
        return {} if self.after is None else self.after.epochs(self.tokens, BUDGET)

    @property
    def binding(self) -> list[str]:
        """Domains at their cap of four repeats."""
        return [name for name, times in self.repeats.items() if abs(times - EPOCHS) < 5e-4]


def steps(case: Mapping[str, Any]) -> tuple[list[Step], reuse.Reuse, reuse.Ledger]:
    """Replay the five updates; return them, the plan of the partial reuse of the first, and the ledger."""
    frozen, fits = case["stages"], case["fits"]
    first = {f"dclm:{name}": share for name, share in frozen["1_add_stackedu"]["frozen_weights"]["dclm"].items()}
    second = frozen["2_add_more_sources"]["frozen_weights"]["existing"]
    third = frozen["3_revise_pdfs"]["frozen_weights"]["existing"]  # without the PDFs
    tokens = counts(fits)

    def region(domains: Mapping[str, float] | list[str], without: str | None = None) -> Region:
        limits = {name: math.inf if name == without else EPOCHS for name in domains}
        return Region.from_tokens({name: tokens[name] for name in domains}, BUDGET, max_epochs=limits)

    start = Mixture.from_dict(first)
    ledger = reuse.Ledger.start(
        start, why="24 topics of DCLM", when=WHEN, tokens={name: tokens[name] for name in first}
    )
    done: list[Step] = []
    block: Mapping[str, float] | None = None

    def step(
        name: str, plan: reuse.Reuse, after: Mapping[str, float] | None, trained: int, notes: tuple[str, ...] = ()
    ) -> None:
        nonlocal ledger, block
        before = ledger.mixture
        constant = None if block is None or trained == 0 else ratio(plan.frozen, block)
        block = block if trained == 0 else plan.frozen
        if after is None:
            ledger = ledger.begin(plan, why=name, when=WHEN)
            done.append(Step(name, plan, before, None, tokens, constant, trained, plan.warnings))
            return
        ledger = ledger.record(plan, plan.expand(after), why=name, when=WHEN)
        done.append(Step(name, plan, before, ledger.mixture, tokens, constant, trained, notes))

    code = [name for name in second if name not in first]
    plan = reuse.full(start, reuse.Add(code), region([*first, *code]), virtual="dclm")
    step("add the languages of Stack-Edu", plan, seen(plan, second), runs(case, "1_add_stackedu"))
    half = reuse.partial(
        start, reuse.Add(code), region([*first, *code]), reopen=["dclm:software_development"], virtual="dclm"
    )

    new = [name for name in third if name not in second] + ["s2pdfv2"]
    # finemath was at its cap, and its share without the PDFs was published: the rest is theirs.
    pdfs = 1.0 - EPOCHS * tokens["finemath-3plus"] / BUDGET / third["finemath-3plus"]
    whole = {name: share * (1.0 - pdfs) for name, share in third.items()} | {"s2pdfv2": pdfs}
    plan = reuse.full(ledger.mixture, reuse.Add(new), region([*second, *new]))
    step("add six sources", plan, seen(plan, whole), runs(case, "2_add_more_sources"))

    plan = reuse.full(ledger.mixture, reuse.Revise({"s2pdfv2": "s2pdfv1"}), region([*third, "s2pdfv1"]))
    step("revise the PDFs", plan, {plan.virtual: 1.0 - pdfs, "s2pdfv1": pdfs}, runs(case, "3_revise_pdfs"))

    left = [name for name in ledger.mixture if name != "algebraicstack"]
    # Renormalising lifts finemath, which was at its cap, above it. The published mixture is above the cap too; to keep within the caps,
    # finemath would have to be unfrozen.
    strict = reuse.full(ledger.mixture, reuse.Remove(["algebraicstack"]), region(left))
    (above,) = strict.reopened
    plan = reuse.full(ledger.mixture, reuse.Remove(["algebraicstack"]), region(left, without=above))
    step("remove algebraicstack", plan, {plan.virtual: 1.0}, 0, strict.notes)

    parts = [name for name in fits["5_partition_pdfs"]["token_counts"] if name != "existing"]
    kept = [name for name in left if name != "s2pdfv1"]
    plan = reuse.full(ledger.mixture, reuse.Partition("s2pdfv1", parts), region([*kept, *parts]))
    step("split the PDFs into 21 topics", plan, None, runs(case, "5_partition_pdfs"))
    return done, half, ledger


def ratio(block: Mapping[str, float], before: Mapping[str, float]) -> float:
    """Return the factor between the shares of both blocks; raise if it is not the same for all."""
    found = [share / before[name] for name, share in block.items() if name in before]
    if max(found) - min(found) > 1e-10 * max(found):
        raise ValueError(f"the ratios were not kept: between {min(found)} and {max(found)}")
    return math.fsum(found) / len(found)


def counts(fits: Mapping[str, Any]) -> dict[str, int]:
    """Tokens of every domain; those of DCLM's topics were counted on a sample, and are scaled to its 5T."""
    tokens: dict[str, int] = {}
    for fit in fits.values():
        tokens |= {name: n for name, n in fit["token_counts"].items() if name not in ("dclm", "existing")}
    sample, total = fits["0_dclm"]["token_counts"], fits["1_add_stackedu"]["token_counts"]["dclm"]
    return tokens | {f"dclm:{name}": int(n * total / sum(sample.values())) for name, n in sample.items()}


def runs(case: Mapping[str, Any], stage: str) -> int:
    """Return the number of runs that the published law was fitted to: all sampled runs, or a given number."""
    drawn, split = case["stages"][stage]["swarm"]["variants"], case["fits"][stage]["regression"]["train_split"]
    return int(split) if split > 1 else round(drawn * split)


def seen(plan: reuse.Reuse, mixture: Mapping[str, float]) -> dict[str, float]:
    """Return a published mixture over the collapsed domains (its sum misses 1 by some 1e-12); refuse it if its frozen ratios differ."""
    return plan.collapse(Mixture.from_dict(dict(mixture)))


def report(done: list[Step], half: reuse.Reuse) -> str:
    """The updates as text."""
    lines = []
    for number, step in enumerate(done, start=1):
        plan = step.plan
        cap, narrow = plan.part.cap
        old, new = len(step.before), plan.part.full.n_domains
        lines += [
            f"{number}. {step.name}: {old} -> {new} domains",
            f"   frozen     {len(plan.frozen)} domains as {plan.virtual!r}"
            + ("" if step.constant is None else f", the block before times {step.constant:.10f}"),
            f"   collapsed  {len(plan.part.domains)} domains; runs advised {plan.runs}, recomputed {plan.full_runs}, published "
            f"{step.trained}",
            f"   Lemma 1    {plan.virtual!r} at most {min(cap, 1.0):.4f}"
            + (f" ({narrow} repeats {EPOCHS / cap:.3f} times in it alone)" if cap < 1.0 else ": no cap binds"),
        ]
        if step.after is not None:
            share = plan.collapse(step.after)[plan.virtual]
            lines.append(
                f"   result     {plan.virtual!r} {share:.4f}; at four repeats: {', '.join(step.binding) or 'none'}"
            )
        else:
            lines.append("   result     not published; the plan stays open in the ledger")
        lines += [f"   note       {note}" for note in step.notes if not note.startswith("no law")]
    total, whole = (sum(getattr(step.plan, name) for step in done) for name in ("runs", "full_runs"))
    constant = half.frozen["dclm:health"] / done[0].before["dclm:health"]
    lines += [
        f"runs of the five updates: {total} advised, {sum(step.trained for step in done)} published, {whole} recomputed",
        f"partial reuse of the first: {', '.join(half.reopened)} reopened, {len(half.frozen)} frozen, times {constant:.10f}",
    ]
    return "\n".join(lines)


def run(case: Path = DATA / "olmix" / "case_study.json", ledger: Path | None = None) -> None:
    """Print the replay of the configurations in `case`; write the ledger to `ledger`, .yaml or .json, when it is given."""
    done, half, life = steps(json.loads(case.read_text(encoding="utf-8")))
    print(report(done, half))
    print(
        "ledger:",
        *(f"  {entry.kind:<6} {len(entry.mixture):>3} domains  {entry.why}" for entry in life.entries),
        sep="\n",
    )
    if life.pending is not None:
        print(f"  open                {life.pending.why}")
    if ledger is not None:
        life.save(ledger)
