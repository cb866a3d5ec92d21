"""The laboratory's questions: pools that repeat as a final run does, and verdicts that follow the rules fixed beforehand."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mixfast
from benchmarks.lab import epoch_rows, judge, questions, stages, swarm
from benchmarks.lab.corpora import DOMAINS
from benchmarks.lab.evidence import OBJECTIVES, Evidence
from benchmarks.lab.judge import Verdict
from benchmarks.lab.laboratory import METRICS, VALIDATION, Laboratory
from benchmarks.lab.methods import Choice
from benchmarks.lab.scales import SCALES
from benchmarks.lab.store import Job, Store

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks/lab/results/cpu"
FACTS = {"windows": 1, "operations": 1, "seconds": 1}


def test_a_matched_proxy_reads_a_share_as_often_as_a_final_run(tmp_path: Path) -> None:
    scale = SCALES["cpu"]
    lab = Laboratory(scale, tmp_path, tmp_path / "results", tmp_path / "cache")
    small, large = lab.pools("matched"), lab.pools("final")
    for name in DOMAINS:
        epochs, wanted = scale.proxy.windows / small[name], scale.final.windows / large[name]
        # Pools are whole windows.
        assert epochs == pytest.approx(wanted, rel=0.5 / small[name] + 1e-9), name
    region = lab.timed(lab.region(capped=False))
    budget = scale.final.windows * scale.final.shape.window
    assert [int(count) for count in region.available] == [large[name] * scale.final.shape.window for name in DOMAINS]
    assert (region.target_tokens, region.cap.max()) == (budget, 1.0)
    assert lab.timed(lab.region(capped=True)).cap == pytest.approx(lab.region(capped=True).cap)


def test_matched_proxies_have_the_mixtures_of_the_swarm(tmp_path: Path) -> None:
    store = Store(tmp_path, DOMAINS, METRICS)
    rng = np.random.default_rng(0)
    natural = mixfast.Mixture(DOMAINS, np.full(14, 1 / 14))
    jobs = [Job("natural-0", "replicate", "proxy", natural, 0)]
    for kind in ("dense", "sparse"):
        mixtures = [mixfast.Mixture(DOMAINS, rng.dirichlet(np.ones(14))) for _ in range(2)]
        jobs += [Job(f"{kind}-{i:03d}", kind, "proxy", mixture, 0) for i, mixture in enumerate(mixtures)]
    for job in jobs:
        store.add(job, dict.fromkeys(METRICS, 2.0), **FACTS)
    found = swarm.matched(store)
    assert [job.run for job in found[swarm.REPLICATES :]] == [
        "matched-dense-000",
        "matched-sparse-000",
        "matched-dense-001",
        "matched-sparse-001",
    ]
    assert {job.recipe for job in found} == {"matched"}
    assert [job.mixture for job in found[swarm.REPLICATES :]] == [jobs[i].mixture for i in (1, 3, 2, 4)]
    assert [job.seed for job in found[: swarm.REPLICATES]] == list(range(swarm.REPLICATES))


def test_the_spread_of_differences_leaves_out_what_all_rows_share() -> None:
    # A seed moves both rows alike; the rest is +-0.1 around the difference of 1.
    rows = _rows({"a": (1.0, 2.0, 3.0), "b": (2.1, 2.9, 4.0), "far": (30.0, 50.0, 40.0), "one seed": (0.0,)})
    sd, freedom = questions.spread(rows)["target_foldoc"]
    assert (sd, freedom) == (pytest.approx(np.std([1.1, 0.9, 1.0], ddof=1)), 2)
    value, half, seeds = questions.difference(rows, ("b", True), ("a", True), "all")
    assert (value, seeds) == (pytest.approx(1.0), 3)
    assert half == pytest.approx(4.3027 * sd / math.sqrt(3), rel=1e-4)
    # A row with one seed has an interval too, from the pooled spread.
    value, half, seeds = questions.difference(rows, ("one seed", True), ("a", True), "all")
    assert (value, seeds) == (pytest.approx(-1.0), 1)
    assert half == pytest.approx(4.3027 * sd, rel=1e-4)
    assert questions.difference(rows, ("a", True), ("nothing", True), "all") is None


def test_the_target_is_met_only_by_the_best_row_or_within_its_noise() -> None:
    ours = (0.0, 0.1, -0.1)
    rows = _rows({questions.EPOCHS: ours, "better": (-0.1, 0.15, -0.2), "far": (2.0, 2.1, 1.8)})
    rows = [replace(row, capped=row.method != questions.EPOCHS) for row in rows]
    assert {one.verdict for one in questions.target(rows)} == {"within noise"}
    much = [replace(row, changes=(-4.0, -4.1, -3.9)) if row.method == "better" else row for row in rows]
    assert {one.verdict for one in questions.target(much)} == {"worse"}
    # Nothing is said before the row exists.
    assert questions.target([row for row in rows if row.method != questions.EPOCHS]) == []


def test_a_guard_is_broken_by_one_domain(tmp_path: Path) -> None:
    store = Store(tmp_path, DOMAINS, METRICS)
    natural = mixfast.Mixture(DOMAINS, np.full(14, 1 / 14))
    other = mixfast.Mixture(DOMAINS, [0.35, *[0.05] * 13])
    objective = next(iter(OBJECTIVES))
    chosen = [
        Choice(objective, "natural", False, natural, 0),
        Choice(objective, f"{questions.EPOCHS}, guard", False, other, 64),
    ]
    for mixture, last in ((natural, 2.0), (other, 2.1)):
        metrics = dict.fromkeys(METRICS, 2.0) | {VALIDATION[-1]: last}
        store.add(Job(stages.final_run(mixture, 0), "final", "final", mixture, 0), metrics, **FACTS)
    (answer,) = questions.guards(chosen, store)
    assert (answer.value, answer.verdict) == (1, "broken")
    assert "+5.0 %" in answer.case


def test_a_law_in_epochs_limits_repetition_without_caps(tmp_path: Path) -> None:
    """On the recorded matched proxies; the log-linear law on unmatched ones read a domain 38.8 times."""
    for name in ("runs", "ratios", "metrics"):
        (tmp_path / f"{name}.csv").write_bytes((RESULTS / f"{name}.csv").read_bytes())
    lab = Laboratory(SCALES["cpu"], tmp_path, tmp_path, tmp_path / "cache")
    region, budget = lab.region(capped=False), sum(lab.supply[name] for name in DOMAINS)
    mixture, proxies = epoch_rows.epochs(True)(Evidence(lab), "target_foldoc", region)
    assert proxies == 64
    assert 1.5 < max(mixture[name] * budget / lab.supply[name] for name in mixture) < 6
    guarded, _ = epoch_rows.epochs(True, guard=True)(Evidence(lab), "target_foldoc", region)
    # Guards on every domain keep the mixture near natural.
    natural = mixfast.Mixture(DOMAINS, region.prior)
    assert guarded.total_variation(natural) < 0.8 * mixture.total_variation(natural)


def test_matched_proxies_are_searched_round_by_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("runs", "ratios", "metrics"):
        (tmp_path / f"{name}.csv").write_bytes((RESULTS / f"{name}.csv").read_bytes())
    evidence = Evidence(Laboratory(SCALES["cpu"], tmp_path, tmp_path, tmp_path / "cache"))
    monkeypatch.setattr(stages, "OBJECTIVES", {"target_foldoc": OBJECTIVES["target_foldoc"]})
    first = evidence.followed_matched("target_foldoc", 0)
    assert (len(first), int(first.chosen.sum()), first.epochs is None) == (32, 0, False)
    jobs = stages.next_round(evidence, 0, matched=True)
    assert {(job.kind, job.recipe) for job in jobs} == {("matched-next-target_foldoc", "matched")}
    assert [job.run for job in jobs] == [f"matched-next-target_foldoc-{i:02d}" for i in range(16)]
    # None was trained before, and nothing limits their shares.
    known = {tuple(row.round(9)) for row in first.ratios}
    assert not known & {tuple(job.mixture.align(DOMAINS).weights.round(9)) for job in jobs}


# Labels in laboratory.md, with the rows that they stand for.
LABELS = {
    '`fit(swarm, "epochs")` on 64 matched proxies': questions.EPOCHS,
    "the same, the law as it is now": f"{questions.EPOCHS}, present law",
    "the same on 32 of them": "mixfast, epochs, 32 matched",
    "the same on 32 of them and 32 that `next_runs` chose": f"{questions.EPOCHS}, next runs",
    "the same on 64, `propose(kl=0.05)`": f"{questions.EPOCHS}, KL",
    "the same on 64, `guard` of 2 % on each domain": f"{questions.EPOCHS}, guard",
    "the same on 64 proxies that repeat nothing": "mixfast, epochs, unmatched",
    "`solve` on token tables, `wear` fitted for each domain": "mixfast, tokens, fitted wear",
}


def test_quoted_tables_are_those_of_the_recorded_models(tmp_path: Path) -> None:
    for name in ("runs", "ratios", "metrics"):
        (tmp_path / f"{name}.csv").write_bytes((RESULTS / f"{name}.csv").read_bytes())
    lab = Laboratory(SCALES["cpu"], tmp_path, tmp_path, tmp_path / "cache")
    supply = lab.supply
    rows = judge.verdicts(
        stages.load(RESULTS / "choices.csv"), lab.store, supply, sum(supply[name] for name in DOMAINS)
    )
    text = (ROOT / "benchmarks/lab/README.md").read_text(encoding="utf-8")
    page = (ROOT / "docs/explanation/laboratory.md").read_text(encoding="utf-8")
    whole = questions.table(rows)
    for table in (whole, questions.differences(questions.compared(rows))):
        assert table in text, f"put the printed table of `--stage questions` into the README:\n{table}"
    for label, method in LABELS.items():
        quoted = next(line for line in page.splitlines() if line.startswith(f"| {label} |")).strip("| ").split(" | ")
        printed = (
            next(line for line in whole.splitlines() if line.startswith(f"| {method} | no |")).strip("| ").split(" | ")
        )
        assert (quoted[2], quoted[3]) == (printed[3], printed[-1]), label


def test_quoted_rank_correlations_are_the_recorded_ones() -> None:
    with (RESULTS / "questions.csv").open() as file:
        found = [row for row in csv.DictReader(file) if row["question"] == "matching raises the rank correlation"]
    text = (ROOT / "benchmarks/lab/README.md").read_text(encoding="utf-8")
    cases = {"proxies that repeat nothing": "unmatched", "repetition-matched proxies": "matched"}
    for law in ("epochs", "log-linear"):
        cases |= {f"{law}, {proxies}": f"{law}, other 32 {proxies}" for proxies in ("matched", "unmatched")}
    page = (ROOT / "docs/explanation/laboratory.md").read_text(encoding="utf-8")
    for label, case in cases.items():
        line = next(line for line in text.splitlines() if line.startswith(f"| {label} |"))
        quoted = [float(cell) for cell in re.findall(r"\.\d\d", line)]
        recorded = [float(row["value"]) for row in found if row["case"] == case]
        assert quoted == pytest.approx(recorded, abs=0.0051), label
        for line in page.splitlines():
            if line.startswith(f"| {label} |"):
                assert [float(cell) for cell in re.findall(r"0\.\d\d", line)] == quoted
    assert {row["verdict"] for row in found if row["case"] == "matched minus unmatched"} == {"yes"}


def _rows(changes: dict[str, tuple[float, ...]]) -> list[Verdict]:
    return [
        Verdict(objective, method, True, 64, 2.0, own, 1.0)
        for objective in OBJECTIVES
        for method, own in changes.items()
    ]
