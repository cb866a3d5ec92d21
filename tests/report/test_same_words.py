"""The page and the console agree: a warning about a mixture is never on only one of them."""

import html
import re

import numpy as np
import pytest

from mixfast import ExpertTable

pytest.importorskip("matplotlib", reason="pages have figures: pip install 'mixfast[plot]'")

DOMAINS = ["web", "code", "books"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    ratios = rng.dirichlet(np.ones(3), 24)
    # A value that is good for one metric is bad for the other.
    values = np.column_stack([ratios @ [1.0, 2.0, 3.0], ratios @ [3.0, 2.0, 1.0]])
    for name, columns, numbers in (
        ("ratios.csv", DOMAINS, ratios),
        ("metrics.csv", ["news_loss", "mail_loss"], values),
    ):
        rows = [",".join(map(repr, [run, *row])) for run, row in enumerate(numbers.tolist())]
        (tmp_path / name).write_text("\n".join([",".join(["run", *columns]), *rows]) + "\n")
    ExpertTable.from_loglik(-rng.exponential(size=(1200, 3)), domains=DOMAINS).save(tmp_path / "table.npz")
    (tmp_path / "tokens.yaml").write_text("web: 100\ncode: 30\nbooks: 30\n")


def warnings_of(page):
    (listed,) = re.findall(r'<ul class="warnings">(.*?)</ul>', page, re.DOTALL)
    return [html.unescape(re.sub(r"<.*?>", "", item)) for item in re.findall(r"<li>(.*?)</li>", listed, re.DOTALL)]


def test_metrics_that_get_worse_stand_first_on_the_page(good, tmp_path):
    good("fit", "ratios.csv", "metrics.csv", "--law", "linear", "--out", "law.json")
    options = ("--objective", "news_loss", "--kl", "0.01", "--tokens", "tokens.yaml", "--budget", "100")
    console = good("propose", "law.json", *options)
    printed = good("report", "ratios.csv", "metrics.csv", "--law", "law.json", *options, "--out", "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    worse = next(line for line in console.splitlines() if "get worse" in line)
    assert worse.startswith("Expected to get worse than at the prior: 1 of 2 metrics (mail_loss by ")
    assert warnings_of(page)[0] == worse
    warned = [line for line in printed.splitlines() if line.startswith("mixfast: warning: ")]
    assert warned[0] == f"mixfast: warning: {worse}"
    assert "<dt>metrics expected to get worse</dt><dd>1 of 2" in page


@pytest.mark.parametrize("more", [(), ("--tokens", "tokens.yaml", "--budget", "100"), ("--kl", "0.01")])
def test_every_doubt_of_a_proposal_is_on_the_page(good, tmp_path, more):
    good("fit", "ratios.csv", "metrics.csv", "--law", "linear", "--out", "law.json")
    console = good("propose", "law.json", "--objective", "mail_loss", *more)
    good(
        "report",
        "ratios.csv",
        "metrics.csv",
        "--law",
        "law.json",
        "--objective",
        "mail_loss",
        *more,
        "--out",
        "page.html",
    )
    on_page = warnings_of((tmp_path / "page.html").read_text(encoding="utf-8"))
    doubts = [line.removeprefix("Doubt: ") for line in console.splitlines() if line.startswith("Doubt: ")]
    assert len(doubts) >= 1
    assert {doubt[:1].upper() + doubt[1:] for doubt in doubts} <= set(on_page)


def test_what_a_tolerance_holds_is_on_the_page(tmp_path):
    from mixfast import Swarm, fit, propose, report

    swarm = Swarm.from_csv(tmp_path / "ratios.csv", tmp_path / "metrics.csv")
    held = propose(fit(swarm, "linear", folds=0), objective="news_loss", tolerance={"mail_loss": 0.1})
    (words,) = [line for line in held.summary().splitlines() if "the tolerance of " in line]
    assert html.escape(words.removeprefix("- ")) in report.page(held).html


@pytest.mark.parametrize("more", [(), ("--tokens", "tokens.yaml", "--budget", "100"), ("--tokens", "tokens.yaml", "--budget", "100", "--max-epochs", "4")])  # fmt: skip
def test_what_speaks_against_a_solve_is_on_the_page(run, tmp_path, more):
    _, console, _ = run("solve", "table.npz", "--no-ranges", *more)
    run("report", "table.npz", "--no-ranges", *more, "--out", "page.html")
    on_page = warnings_of((tmp_path / "page.html").read_text(encoding="utf-8"))
    steps = [line.removeprefix("  - ") for line in console.splitlines() if line.startswith("  - ")]
    against = [
        line
        for line in steps
        if line.startswith(("the gap ", "no token counts", "repeated tokens", "rows were resampled"))
    ]
    assert against
    assert {f"{line[:1].upper()}{line[1:]}." for line in against} <= set(on_page)


def test_what_a_least_change_reaches_is_on_the_page_without_an_objective(tmp_path):
    from mixfast import Swarm, fit, report
    from mixfast.proposers import reach

    swarm = Swarm.from_csv(tmp_path / "ratios.csv", tmp_path / "metrics.csv")
    law = fit(swarm, "linear", folds=0)
    near = dict.fromkeys(law.domains, 1.0 / len(law.domains))
    found = reach(law, None, {"news_loss": "0.1 % better", "mail_loss": "9 worse"}, near=near)
    page = report.page(found, law).html
    assert html.escape(found.goals[0].text) in page
    assert f"{found.change:.4g} nats" in page
    assert "predicted objective<" not in page.partition("Response to each share")[0]


def test_a_gap_above_the_tolerance_is_on_the_page(tmp_path):
    from mixfast import report, solve

    table = ExpertTable.load(tmp_path / "table.npz")
    assert any("is above the tolerance" in words for words in warnings_of(report.page(solve(table, tol=1e-30)).html))
