"""Figures in prose equal the recorded results that they quote, rounded once."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
LABORATORY = (ROOT / "docs/explanation/laboratory.md").read_text(encoding="utf-8")
FRONT = (ROOT / "README.md").read_text(encoding="utf-8")
WAYS = {
    "ratios of untouched domains frozen": "full reuse",
    "some domains unfrozen by hand": "partial reuse",
    "domains unfrozen as the previous law advises; law with a weak penalty": "partial by law",
    "the same, all runs kept (`keep_gone`), half of the new ones chosen by `next_runs`": "mixfast",
}
# The methods of the table in laboratory.md, by the names in verdicts.csv.
METHODS = {
    "`solve` on token tables, `wear=15.4, kl=0.05`": "mixfast, tokens, wear, KL",
    "`fit` on a swarm, `propose(kl=0.05)`": "mixfast, auto, KL",
    "`solve` on token tables": "mixfast, tokens",
    "Olmix (log-linear, KL 0.05 bits)": "Olmix",
    "MDE features, ridge": "MDE, ridge",
    "MixMin's loop on sequences, brought under the caps": "MixMin",
    "RegMix": "RegMix",
}
# The same methods in the table of the README.
IN_FRONT = {
    "`solve`": "`solve` on token tables",
    "`solve`, `wear=15.4, kl=0.05` (added later)": "`solve` on token tables, `wear=15.4, kl=0.05`",
    "`fit` and `propose(kl=0.05)` (added later)": "`fit` on a swarm, `propose(kl=0.05)`",
    "Olmix, log-linear, KL 0.05 bits": "Olmix (log-linear, KL 0.05 bits)",
    "MDE features, ridge": "MDE features, ridge",
    "MixMin's loop, with our caps": "MixMin's loop on sequences, brought under the caps",
    "RegMix": "RegMix",
}


def rows(path):
    with (ROOT / path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def cells(text, first):
    """The cells of the first line of a table that begins with this cell."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {first} |"))
    return [cell.strip().replace("*", "") for cell in line.strip("|").split("|")]


def quoted(cell):
    """Mean and half width of `97.9 ± 1.1 %`."""
    return tuple(float(number) for number in re.fullmatch(r"([+-]?[\d.]+) ± ([\d.]+)(?: %)?", cell).groups())


def test_what_reuse_keeps_is_what_the_newest_worlds_gave():
    newest = {}
    for row in rows("benchmarks/results/lifecycle.csv"):
        if float(row["noise"]) == 0.1 and row["update"] == "partition PDFs":
            newest[row["family"], float(row["better"]), row["way"], int(row["seed"])] = float(
                row["percent_of_recomputation"]
            )
    for label, way in WAYS.items():
        _, _, *columns = cells(LABORATORY, label)
        for cell, (family, better) in zip(
            columns, [("log_linear", 1.0), ("power", 1.0), ("log_linear", 3.0)], strict=True
        ):
            kept = np.array([value for key, value in newest.items() if key[:3] == (family, better, way)])
            assert len(kept) == 20
            half = 1.96 * kept.std(ddof=1) / np.sqrt(len(kept))
            assert quoted(cell) == (round(kept.mean(), 1), round(half, 1)), (label, family, better)


def test_the_table_of_the_laboratory_is_that_of_the_verdicts():
    found = {
        (row["method"], row["objective"]): np.array(row["by_seed"].split(), dtype=float)
        for row in rows("benchmarks/lab/results/cpu/verdicts.csv")
        if row["capped"] == "1" or "wear" in row["method"]
    }
    objectives = ["target_faq_perl", "target_foldoc", "target_fortunes", "doc_python", "mean"]
    for label, method in METHODS.items():
        _, _, *columns = cells(LABORATORY, label)
        changes = [found[method, objective] for objective in objectives]
        for cell, change in zip(columns, [*changes, np.mean(changes, axis=0)], strict=True):
            # Student's t for 3 seeds; the recorded changes have three decimals.
            half = 4.3027 * change.std(ddof=1) / np.sqrt(3)
            assert quoted(cell) == pytest.approx((change.mean(), half), abs=0.053), (label, cell)


def test_the_readme_quotes_the_laboratory():
    """Both tables have the same runs and the same change over all five objectives."""
    line = re.compile(r"\| ([^|]+) \| (\d+) \| ([^|]+ ± [^|]+?) %(?:\*\*)? ")
    seen = {label.strip(): (runs, change.replace("*", "")) for label, runs, change in line.findall(FRONT)}
    for label, other in IN_FRONT.items():
        whole = cells(LABORATORY, other)
        assert seen[label] == (whole[1], whole[-1]), label


def test_the_readme_quotes_the_page_of_benchmarks():
    page = (ROOT / "docs/reference/benchmarks.md").read_text(encoding="utf-8")
    figures = re.findall(r"\d[\d.]* (?:ms|s|ns)\b", FRONT.partition("## Speed")[2].partition("## Doc")[0])
    assert len(figures) >= 15
    numbers = set(re.findall(r"\d[\d.]*", page))
    assert [figure for figure in figures if figure.split()[0] not in numbers and figure.split()[0] != "10"] == []


def regrets(**given):
    """Median and quartiles of the recorded regrets, as the page of laws in epochs writes them."""
    kept = [
        row for row in rows("benchmarks/results/epoch_worlds.csv") if all(row[key] in of for key, of in given.items())
    ]
    low, middle, high = np.quantile([float(row["regret"]) for row in kept], [0.25, 0.5, 0.75])
    return f"{middle:.1f} ({low:.1f} to {high:.1f})"


def test_the_worlds_with_a_known_truth_are_those_of_the_study():
    page = (ROOT / "docs/explanation/epochs.md").read_text(encoding="utf-8")
    worlds = ["epochs", "epochs, late harm", "log-linear", "log-linear, wear", "power"]
    for proxies, cap, words in (
        ("matched", "inf", "matched, no cap"), ("matched", "4.0", "matched, cap of 4"), ("unmatched", "inf", "unmatched, no cap"),
    ):  # fmt: skip
        for law in ("epochs", "epochs, searched", "log_linear", "linear", "gp", "auto"):
            found = [regrets(world=[world], law=[law], cap=[cap], proxies=[proxies]) for world in worlds]
            assert [cell.strip() for cell in cells(page, f"{law}; {words}")[1:]] == found
    repeats = ["epochs", "epochs, late harm", "log-linear, wear"]
    for law in ("epochs", "gp", "log_linear"):
        for domains in ("20", "60"):
            given = {"world": repeats, "law": [law], "cap": ["inf"], "proxies": ["matched"], "domains": [domains]}
            found = [regrets(**given, runs=[runs]) for runs in ("40", "80", "160", "320")]
            assert f"| {law} | {domains} | {' | '.join(found)} |" in page


def test_what_is_recovered_of_planted_laws_is_what_the_study_recorded():
    page = (ROOT / "docs/explanation/epochs.md").read_text(encoding="utf-8")
    recorded = rows("benchmarks/results/recovered.csv")
    stopping = ["told", "stops", "off"]
    for domains in ("20",):
        for runs in ("40", "80", "160", "320"):
            own = [row for row in recorded if (row["domains"], row["runs"]) == (domains, runs)]
            assert f"Medians over {len(own)} seeds" in page

            def median(column, form=".2f", own=own):
                values = np.array([float(row[column]) for row in own])
                known = values[np.isfinite(values)]
                return f"{np.median(known):{form}}" if known.size else "-"

            found = [median(key) for key in ("r2", "spearman", "gains", "harms", "at_one_epoch", "rho", "p", "onset")]
            assert f"| {domains} | {runs} | {' | '.join(found)} |" in page
            found = [median("repeated", ".0f"), median("stops_law"), median("off_law")]
            for form in ("fade", "threshold"):
                found += [median(f"{key}_{form}", ".0f" if key == "told" else ".2f") for key in stopping]
            assert f"| {domains} | {runs} | {' | '.join(found)} |" in page


def test_the_tables_and_the_figure_of_the_assays_are_made_of_the_recorded_results():
    pytest.importorskip("scipy")
    from benchmarks.assays import toxcast_picture, toxcast_tables
    from benchmarks.assays.page import put

    found = toxcast_tables.Results(ROOT / "benchmarks/results")
    page = (ROOT / "docs/explanation/assays.md").read_text(encoding="utf-8")
    assert put(page, "toxcast", toxcast_tables.TABLES, found) == page
    verdict, _, rest = page.partition("## Classification: ToxCast")
    assert [figure for figure in re.findall(r"[+-]\d\.\d+ ± \d\.\d+", verdict) if figure not in rest] == []
    figure = (ROOT / "docs/_static/assays-toxcast.svg").read_text(encoding="utf-8")
    assert toxcast_picture.picture(found) == figure


def test_the_tables_of_squared_error_are_made_of_the_recorded_results():
    pytest.importorskip("scipy")
    from benchmarks.assays import chembl_tables, few_rows_tables
    from benchmarks.assays.page import put

    folder = ROOT / "benchmarks/results"
    page = (ROOT / "docs/explanation/assays.md").read_text(encoding="utf-8")
    assert put(page, "chembl", chembl_tables.TABLES, chembl_tables.Results(folder)) == page
    assert put(page, "few rows", few_rows_tables.TABLES, few_rows_tables.Results(folder)) == page
    lines = page.partition("## Squared error: ChEMBL")[2].partition("## Run it")[0].splitlines()
    tables = "\n".join(line for line in lines if line.startswith("|"))
    advice = (ROOT / "docs/how-to/classifiers.md").read_text(encoding="utf-8").partition("## Regression")[2]
    prose = "\n".join([*(line for line in lines if not line.startswith("|")), advice])
    figures = re.findall(r"[+-]?\d\.\d{3}(?: ± \d\.\d{3})?", prose)
    assert len(figures) >= 15
    assert [figure for figure in figures if figure not in tables] == []
