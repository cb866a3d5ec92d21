"""Fit configurations of Olmix give the results of Olmix's own code; see data/README.md."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from mixfast.laws import Fit

KNOWN = json.loads((Path(__file__).parent / "data" / "olmix_answers.json").read_text())
CASES = KNOWN["cases"]
SUBJECTS = [name for name in KNOWN["laws"] if name.startswith("mmlu_")]

# In total variation. Olmix fits in single precision, so its exact proposals are up to 2e-4 from ours. Its simulation averages mixtures
# within 1e-3 of the best.
CLOSE, CLOSE_SIMULATED = 3e-4, 0.01

# Cases that Olmix refuses or ends with an error, and our messages.
REFUSED = {
    "absent task": "eval.tasks lists metrics that metrics.csv does not have: aime",
    "absent task of a family": "eval.tasks lists metrics that metrics.csv does not have: aime",
    "no kl": "proposer.kl_reg is not given, which the exact proposer of Olmix requires",
    "simulation with kl": "proposer.kl_reg = 0.05 needs proposer.type 'exact'",
    "families without tasks": "regression.aggregate_task_families needs the families of eval.tasks",
    "limits without tokens": "constraints are enabled, but constraints.target_tokens is missing",
    "search without search": "the search for the best run requires both to be 'search'",
    "search without its proposer": "the search for the best run requires both to be 'search'",
    "mmlu alone in a family": "has only subjects of MMLU",
    "mmlu incomplete": "have 56 of the 57 columns of MMLU",
    "exact of trees": "exact needs convex laws",
}
# Cases for which Olmix proposes nothing.
NOTHING = {"fit only": "proposer.fit_only is true", "test runs": "regression.n_test is 4"}
# Cases that Olmix silently misreads.
MISTAKEN = {
    "weights of families without families": "so Olmix ignores these weights",
    "mmlu categories listed": "so that it would count twice",
    "exact worst mix": "proposer.make_worst_mix = true is not supported",
    "worst mix": "proposer.make_worst_mix = true is not supported",
}
# Cases that stop Olmix but are answered here.
ANSWERED = {"dropped tasks and weights"}


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Write the runs and the configuration of a case, and change into that folder."""

    def write(name):
        case = CASES[name]
        ratios = np.array(KNOWN["ratios"])
        columns = case["columns"] + (SUBJECTS[: case["mmlu"]] if "mmlu" in case else [])
        values = {}
        for column in columns:
            constant, factor, slopes = KNOWN["laws"][column]
            values[column] = (constant + factor * np.exp(ratios @ np.array(slopes))).round(9).tolist()
        with (tmp_path / "ratios.csv").open("w", newline="") as file:
            csv.writer(file).writerows(
                [["run", *KNOWN["domains"]], *([f"r{i}", *row] for i, row in enumerate(KNOWN["ratios"]))]
            )
        with (tmp_path / "metrics.csv").open("w", newline="") as file:
            rows = zip(*values.values(), strict=True)
            csv.writer(file).writerows([["run", *columns], *([f"r{i}", *row] for i, row in enumerate(rows))])
        config = {"swarm": {"ratios": "ratios.csv", "metrics": "metrics.csv"}, **case["config"]}
        tasks = config.get("eval", {}).get("tasks", {})
        for family, members in tasks.items():
            if "mmlu" in members:
                tasks[family] = [name for name in members if name != "mmlu"] + SUBJECTS[: case["mmlu"]]
        (tmp_path / "fit.yaml").write_text(json.dumps(config))
        return case

    monkeypatch.chdir(tmp_path)
    return write


def searched(name):
    return CASES[name]["config"].get("regression", {}).get("type") == "search"


PROPOSED = [name for name, case in CASES.items() if "mixture" in case and name not in MISTAKEN and not searched(name)]


@pytest.mark.parametrize("name", PROPOSED)
def test_proposals_are_those_of_olmix(files, good, name):
    case = files(name)
    good("fit", "--olmix-config", "fit.yaml", "--out", "law.json", "--folds", "0")
    law = Fit.load("law.json")
    assert set(law.metrics) == set(case["counts"])
    found = json.loads(good("propose", "law.json", "--olmix-config", "fit.yaml", "--json"))["mixture"]
    apart = sum(abs(found.get(domain, 0.0) - share) for domain, share in case["mixture"].items()) / 2
    assert apart < (CLOSE_SIMULATED if case["config"]["proposer"].get("type") == "simulation" else CLOSE)


@pytest.mark.parametrize("name", [name for name in CASES if "mixture" in CASES[name] and searched(name)])
def test_the_best_run_is_that_of_olmix(files, good, name):
    case = files(name)
    out = good("fit", "--olmix-config", "fit.yaml")
    for domain, share in case["mixture"].items():
        assert [f"{domain} {share:.6g}"] == [
            " ".join(line.split()) for line in out.splitlines() if line.startswith(domain)
        ]


@pytest.mark.parametrize("name", sorted(CASES.keys() & {**REFUSED, **NOTHING, **MISTAKEN}.keys()))
def test_what_olmix_refuses_or_mistakes_is_refused(files, run, name):
    case = files(name)
    assert ("mixture" in case) == (name in MISTAKEN)
    assert ("error" in case) == (name in REFUSED)
    status, _, err = run("fit", "--olmix-config", "fit.yaml", "--out", "law.json", "--folds", "0")
    if status == 0:
        status, _, err = run("propose", "law.json", "--olmix-config", "fit.yaml")
    assert status == 2
    assert {**REFUSED, **NOTHING, **MISTAKEN}[name] in err


def test_every_case_is_held():
    refused = {**REFUSED, **NOTHING, **MISTAKEN}.keys()
    assert {name for name, case in CASES.items() if "mixture" not in case} <= refused | ANSWERED


def test_weights_stay_with_the_metrics_that_are_left(files, good):
    case = files("dropped tasks and weights")
    good("fit", "--olmix-config", "fit.yaml", "--out", "law.json", "--folds", "0")
    weights = json.loads(good("propose", "law.json", "--olmix-config", "fit.yaml", "--json"))
    assert weights["kl"] == pytest.approx(0.05 / 8)
    assert set(Fit.load("law.json").metrics) == set(case["counts"])
