"""The explorer inside a report: it works there, the rest of the page stays as it is, and the browser runs nothing else."""

import json
import re
from pathlib import Path

import browsing
import numpy as np
import pytest
from browsing import shares

import mixfast
from mixfast import report

browser = browsing.browser

DOMAINS = ["web", "code", "books", "wiki", "maths"]
WHEN = "2026-01-31"
NO_SCRIPT = "This part of the page needs JavaScript, which is switched off here."


def a_swarm(domains=DOMAINS, metrics=("a_loss", "b_loss"), runs=30):
    rng = np.random.default_rng(0)
    ratios = rng.dirichlet(np.ones(len(domains)), runs)
    values = 2.0 + ratios @ rng.normal(size=(len(domains), len(metrics))) + 0.01 * rng.normal(size=(runs, len(metrics)))
    return mixfast.Swarm(ratios, values, domains=domains, metric_names=list(metrics))


class Given:
    """The parts of a report of laws."""

    def __init__(self, domains=DOMAINS, metrics=("a_loss", "b_loss")):
        self.swarm = a_swarm(domains, metrics)
        self.law = mixfast.fit(self.swarm, "linear", folds=0)
        self.region = mixfast.Region.from_tokens(dict.fromkeys(domains, 10**9), 2 * 10**9, max_epochs=1)
        self.proposal = mixfast.propose(self.law, self.region, kl=0.05)
        self.today = mixfast.Mixture(domains, [0.4, 0.3, 0.1, 0.1, 0.1])

    def page(self, **options):
        parts = (self.proposal, self.law, self.swarm, self.today)
        return report.page(*parts, folds=0, when=WHEN, **{"eps": None} | options)


@pytest.fixture(scope="module")
def given():
    return Given()


@pytest.fixture(scope="module")
def path(given, tmp_path_factory):
    where = tmp_path_factory.mktemp("section") / "report.html"
    given.page().save(where)
    return where


@pytest.fixture
def tab(browser, path):
    one = browsing.opened(browser, path)
    yield one
    assert one.trouble == []
    one.close()


def heads(tab):
    return [words for words in tab.locator("#explorer").get_by_role("columnheader").all_inner_texts() if words]


def test_a_report_starts_from_its_proposal_and_compares_its_mixtures(tab, given):
    kept = {name: share for name, share in given.proposal.mixture.items() if share > 0}
    assert shares(tab) == pytest.approx(kept, abs=1e-12)
    assert [words for words in heads(tab) if words.startswith("gain")] == [
        "gain over prior",
        "gain over optimum",
        "gain over present mixture",
    ]
    tab.get_by_role("button", name="Go to present mixture").click()
    assert shares(tab) == pytest.approx(given.today.as_dict())
    number = tab.get_by_label("Share of web in percent", exact=True)
    number.fill("20")
    number.press("Enter")
    assert shares(tab)["web"] == pytest.approx(0.2)
    row = tab.locator("#explorer tr").filter(has=tab.locator("th", has_text="a_loss"))
    found = float(row.get_by_role("cell").all_inner_texts()[2])
    assert found == pytest.approx(float(given.law.predict(shares(tab))[0, 0]), rel=1e-4)
    # The report has the runs of the law.
    assert "of the tokens differ from the nearest run" in tab.locator("#explorer").inner_text()


def test_a_link_to_a_section_stays_and_one_to_a_mixture_opens_it(tab, browser, path):
    again = browsing.opened(browser, path, fragment="#origin")
    again.wait_for_selector("#explorer button")
    assert again.url.endswith("#origin")
    again.close()
    tab.get_by_role("button", name="Go to prior").click()
    tab.wait_for_function("location.hash.length > 1")
    again = browsing.opened(browser, path, fragment="#" + tab.url.partition("#")[2])
    assert shares(again) == pytest.approx(dict.fromkeys(DOMAINS, 0.2), abs=1e-6)
    top = again.locator("#explore").bounding_box()["y"]
    assert -200 < top < 900
    assert again.trouble == []
    again.close()


def test_without_javascript_the_section_is_one_line_and_the_rest_reads_as_before(browser, path, given, tmp_path):
    given.page(explorer=False).save(tmp_path / "plain.html")
    read = {}
    for file in (path, tmp_path / "plain.html"):
        one = browsing.opened(browser, file, java_script_enabled=False)
        read[file] = {part.get_attribute("id"): part.inner_text() for part in one.locator("section").all()}
        one.close()
    section = read[path].pop("explore")
    assert section.split("\n")[-1] == NO_SCRIPT
    assert [line for line in section.splitlines() if line] == ["Try a mixture", NO_SCRIPT]
    missing = read[path].pop("missing"), read[tmp_path / "plain.html"].pop("missing")
    assert missing[1].replace("Try a mixture\tIt was switched off by explorer=False.\n", "") == missing[0]
    assert read[path] == read[tmp_path / "plain.html"]


def test_the_report_prints_without_the_explorer(tab):
    assert tab.locator("#explorer").is_visible()
    tab.emulate_media(media="print")
    assert not tab.locator("#explore").is_visible()
    assert tab.locator("#shares").is_visible()
    assert "Pin this mixture" not in tab.locator("body").inner_text()


@pytest.mark.parametrize(
    "injected",
    [
        '<img src="x" onerror="globalThis.ran = 1">',
        "<script>globalThis.ran = 1</script>",
        '<script type="module">globalThis.ran = 1</script>',
        '<button id="bad" onclick="globalThis.ran = 1">press</button>',
        '<a id="bad" href="javascript:globalThis.ran = 1">follow</a>',
        '<form action="javascript:globalThis.ran = 1"><button id="bad">send</button></form>',
    ],
)
def test_the_browser_runs_nothing_else(browser, path, tmp_path, injected):
    (tmp_path / "page.html").write_text(path.read_text(encoding="utf-8").replace("<header>", f"{injected}<header>", 1))
    one = browsing.opened(browser, tmp_path / "page.html")
    one.wait_for_selector("#explorer button")
    if 'id="bad"' in injected:
        one.locator("#bad").click()
    one.wait_for_timeout(50)
    assert one.evaluate("globalThis.ran") is None
    assert any("Content Security Policy" in words for words in one.trouble)
    one.close()


def test_hostile_names_stay_text(browser, tmp_path):
    domains = [
        "<script>alert(1)</script>",
        "</script><b>bold</b>",
        "<img src=x onerror=alert(1)>",
        "'q' & \"so\"",
        "\u202eevil",
    ]
    Given(domains, ("<b>loss</b>", "</script>_loss")).page(title="</script><script>alert(1)</script>").save(
        tmp_path / "p.html"
    )
    one = browsing.opened(browser, tmp_path / "p.html")
    assert one.locator("#explorer").get_by_role("rowheader").all_inner_texts()[:4] == domains[:4]
    assert one.locator("body :is(b, i, img, iframe)").count() == 0
    assert one.locator("script").count() == 2
    assert one.trouble == []
    one.close()


# Without a browser: when there is a section.


def test_metrics_that_the_page_cannot_predict_are_named(given):
    pytest.importorskip("lightgbm")
    mixed = mixfast.fit(given.swarm, {"a_loss": "linear", "b_loss": "lightgbm"}, folds=0)
    page = report.page(mixed, given.swarm, folds=0, when=WHEN)
    assert "Try a mixture" in page.sections
    assert "Left out: b_loss; the page has no formula for laws of the kind lightgbm." in page.html
    trees = report.page(mixfast.fit(given.swarm, "lightgbm", folds=0), given.swarm, folds=0, when=WHEN)
    assert "Try a mixture" not in trees.sections
    assert "no formula for laws of the kind lightgbm" in trees.missing["Try a mixture"]
    assert "<script" not in trees.html


def a_table(domains=DOMAINS):
    rng = np.random.default_rng(2)
    return mixfast.ExpertTable.from_loglik(
        rng.normal(-2.0, 0.6, (60, 5)), domains=domains, group=np.repeat([0, 1], 30), group_names=["de", "en"]
    )


def test_a_report_of_a_table_evaluates_its_objective(browser, given, tmp_path):
    solution = mixfast.solve(a_table(), given.region, objective={"de": 0.8, "en": 0.2})
    page = report.page(solution, given.law, given.today, eps=None, when=WHEN)
    page.save(tmp_path / "p.html")
    one = browsing.opened(browser, tmp_path / "p.html")
    assert shares(one) == pytest.approx(
        {name: share for name, share in solution.mixture.items() if share > 0}, abs=1e-9
    )
    rows = one.locator("#explorer .predictions tbody tr")
    found = [float(rows.nth(i).get_by_role("cell").all_inner_texts()[2]) for i in range(rows.count())]
    assert solution.loss in [pytest.approx(value, rel=1e-4) for value in found]
    one.get_by_role("button", name="Go to present mixture").click()
    assert shares(one) == pytest.approx(given.today.as_dict())
    assert one.trouble == []
    one.close()


def test_a_solve_with_wear_has_no_section(given):
    page = report.page(mixfast.solve(a_table(), given.region, wear=4.0), eps=None, when=WHEN)
    assert page.missing["Try a mixture"].startswith("The mixture was solved for with wear")


def test_a_law_of_other_domains_is_no_section(given):
    page = report.page(mixfast.Mixture(["a", "b"], [0.5, 0.5]), given.law, when=WHEN)
    assert page.missing["Try a mixture"] == "The mixture has domains that the law does not know: a, b."


def test_a_mixture_that_was_given_is_where_the_page_starts(given):
    page = report.page(mixfast.Mixture(["web", "code"], [0.5, 0.5]), given.law, when=WHEN)
    data = json.loads(re.search('id="explorer-data">(.*?)</script>', page.html)[1])
    names = [one["name"] for one in data["mixtures"]]
    assert names[data["start"]] == "the report's mixture"
    assert [names[i] for i in data["compared"]] == ["the report's mixture"]
    assert data["available"] is None


def test_the_command_leaves_the_explorer_out(given, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given.law.save("law.json")
    status, out, err = run("report", "--law", "law.json", "--out", "p.html", "--json")
    assert status == 0, err
    assert "Try a mixture" in json.loads(out)["sections"]
    status, out, _ = run("report", "--law", "law.json", "--no-explorer", "--out", "p.html", "--json")
    assert json.loads(out)["missing"]["Try a mixture"] == "It was switched off by --no-explorer."
    assert "<script" not in (tmp_path / "p.html").read_text(encoding="utf-8")


def data_of(path):
    return json.loads(re.search('id="explorer-data">(.*?)</script>', path.read_text(encoding="utf-8"))[1])


def test_a_goal_shows_the_command_that_explore_shows(browser, given, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given.law.save("law.json")
    a_table().save("t.npz")
    for file, verb in (("law.json", "propose"), ("t.npz", "solve")):
        limits = ["--cap", "0.5", "--floor", "code=0.05"]
        words = ["--law", file] if verb == "propose" else [file, "--no-intervals"]
        assert run("report", *words, *limits, "--out", f"{verb}.html", "--force")[0] == 0
        assert run("explore", file, *limits, "--out", "e.html", "--force")[0] == 0
        assert data_of(tmp_path / f"{verb}.html")["command"] == ["mixfast", verb, file, *limits]
        assert data_of(tmp_path / "e.html")["command"] == ["mixfast", verb, file, *limits]
    one = browsing.opened(browser, tmp_path / "propose.html")
    one.get_by_role("button", name="Go to uniform").click()
    one.get_by_label("Goal for a_loss, lower is better").focus()
    one.keyboard.press("ArrowLeft")
    one.wait_for_selector("#explorer pre code")
    assert "mixfast propose law.json --cap 0.5 --floor code=0.05 --reach" in one.locator("#explorer pre").inner_text()
    assert one.trouble == []
    one.close()


def test_laws_that_no_file_holds_have_no_command(given, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, columns, values in (
        ("r.csv", given.swarm.domains, given.swarm.ratios),
        ("m.csv", given.swarm.metrics, given.swarm.values),
    ):
        rows = [["run", *columns], *([f"r{i}", *row] for i, row in enumerate(values.tolist()))]
        Path(name).write_text("\n".join(",".join(map(str, row)) for row in rows) + "\n")
    words = ("report", "r.csv", "m.csv", "--law-kind", "linear", "--folds", "0", "--out", "p.html", "--force")
    assert run(*words)[0] == 0
    assert data_of(tmp_path / "p.html")["command"] is None
    given.law.save("law.json")
    assert run(*(word for word in words if word not in ("--law-kind", "linear")), "--law", "law.json")[0] == 0
    assert data_of(tmp_path / "p.html")["command"] == ["mixfast", "propose", "law.json"]
