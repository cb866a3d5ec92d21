"""The page of a report: complete when inputs are missing, safe for any names, identical bytes each time; and each of its figures."""

import base64
import hashlib
import itertools
import json
import re
import sys
import threading
import warnings
from html.parser import HTMLParser

import epoch_laws
import numpy as np
import pytest
from makers import tokens

import mixfast
from mixfast import proposers, report, reuse, solver
from mixfast.errors import BackendError
from mixfast.report import _parts
from mixfast.report._explorer_script import script

WHEN = "2026-01-31"
VOID = {"meta", "img", "br", "wbr", "link", "input", "hr"}
SECTIONS = (
    "shares",
    "near-optimal",
    "prices",
    "guards",
    "convergence",
    "held-out",
    "controls",
    "predicted",
    "response",
    "coefficients",
    "explore",
    "history",
    "schedule",
)
FIGURES = (
    "shares",
    "ranges",
    "prices",
    "convergence",
    "held_out",
    "predicted",
    "response",
    "coefficients",
    "history",
    "schedule",
)
HOSTILE = [
    "<script>alert(1)</script>",
    "$x^2$ and $",
    "long" * 200,
    "日本語",
    "_hidden",
    "bell\x07",
    "\u202eevil",
    "\"quoted\" & 'so'",
    r"\$\frac{1}",
    "%s {} {0}",
    "two\nlines",
    "javascript:alert(1)",
]


# A page runs the script of the explorer or none, and the explorer's data are text to the browser.
RUN = [("type", "module")]
DATA = [("type", "application/json"), ("id", "explorer-data")]


class Checker(HTMLParser):
    """Refuse HTML that is not well formed, and anything that would be loaded or run, except for the explorer's own script."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.scripts, self.data, self.policy = [], [], ""
        self.open, self.ids, self.links, self.figures, self.alts, self.words, self.drawn = [], [], [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        assert tag not in ("link", "iframe", "object", "embed", "base", "form"), tag
        assert tag not in ("img", "image", "foreignobject", "set", "animate"), tag
        if tag == "script":
            assert attrs in (RUN, DATA), attrs
            (self.scripts if attrs == RUN else self.data).append("")
        if dict(attrs).get("http-equiv") == "Content-Security-Policy":
            self.policy = dict(attrs)["content"]
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"{tag} repeats an attribute: {attrs}"
        for name, value in attrs:
            assert not name.startswith("on"), f"{tag} {name}"
            if name == "id":
                self.ids.append(value)
            if name == "href":
                assert value.startswith("#"), value
                self.links.append(value[1:])
            assert name != "src"
            # Figures refer to their own parts: clip paths, hatches, markers.
            self.links += re.findall(r"url\(#([^)]*)\)", value or "")
            assert not re.search(r"url\((?!#)", value or "")
        if tag == "svg":
            self.figures.append(dict(attrs))
        if dict(attrs).get("role") == "img":
            self.alts.append(dict(attrs).get("aria-label"))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["script"]:
            # Data stand before the script, at the end of the page.
            (self.scripts or self.data)[-1] += data
        elif "svg" in self.open:
            self.drawn.append(data)
        elif not self.open or self.open[-1] != "style":
            self.words.append(data)


def checked(page):
    """Parse a page after checking everything that holds for every page."""
    found = Checker()
    # Names may break across lines, at <wbr>.
    found.feed(page.html.replace("<wbr>", ""))
    found.close()
    assert found.open == []
    explored = "Try a mixture" in page.sections
    assert found.scripts == ([script()] if explored else [])
    assert len(found.data) == explored
    assert all(isinstance(json.loads(data), dict) for data in found.data)
    digest = base64.b64encode(hashlib.sha256(script().encode()).digest()).decode()
    rest = f"; script-src 'sha256-{digest}'" if explored else ""
    assert found.policy == f"default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'{rest}"
    assert page.html.startswith("<!DOCTYPE html>")
    assert len(set(found.ids)) == len(found.ids)
    assert set(found.links) <= set(found.ids)
    assert all(alt and alt.strip() for alt in found.alts)
    for anchor in SECTIONS:
        assert (anchor in found.ids) != (f"missing-{anchor}" in found.ids), anchor
    assert "origin" in found.ids
    style = re.search("<style>(.*?)</style>", page.html, re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style
    # Every figure has a description in words.
    assert page.html.count("<figure>") == len(found.alts)
    return found


def a_table(domains, rows=60):
    return mixfast.ExpertTable.from_loglik(tokens(rows, len(domains), spread=0.6), domains=domains)


def a_swarm(domains, runs=30, metrics=("loss_a", "loss_b")):
    rng = np.random.default_rng(1)
    ratios = rng.dirichlet(np.ones(len(domains)), runs)
    values = 2.0 + ratios @ rng.normal(size=(len(domains), len(metrics))) + 0.01 * rng.normal(size=(runs, len(metrics)))
    return mixfast.Swarm(ratios, values, domains=domains, metric_names=metrics)


def a_ledger(domains):
    mixture = mixfast.Mixture(domains, np.full(len(domains), 1.0 / len(domains)))
    ledger = reuse.Ledger.start(mixture, why="first <b>swarm</b>", when="2026-01-01")
    plan = reuse.full(mixture, [reuse.Add(["new"])], mixfast.Region([*domains, "new"], prior=1))
    shares = dict.fromkeys(plan.part.domains, 1.0 / len(plan.part.domains))
    ledger = ledger.record(plan, shares, why="one more", when="2026-01-02")
    again = reuse.full(ledger.mixture, [reuse.Add(["newer"])], mixfast.Region([*domains, "new", "newer"], prior=1))
    return ledger.begin(again, why="and another", when="2026-01-03")


def a_schedule(domains):
    even = mixfast.Mixture(domains, np.full(len(domains), 1.0 / len(domains)))
    late = mixfast.Mixture([*domains, "late"], np.full(len(domains) + 1, 1.0 / (len(domains) + 1)))
    return mixfast.MixtureSchedule(even, sample_tokens=512).ramp(late, start=10**6, stop=2 * 10**6).then(even, at=10**7)


class Things:
    """One part of each kind, over the same domains."""

    def __init__(self, domains, law="linear", metrics=("loss_a", "loss_b")):
        # The tokens of the first domain run out, after more epochs than advisable.
        tokens = {name: 1000 * (k + 1) for k, name in enumerate(domains)} | {domains[0]: 40 * len(domains)}
        self.region = mixfast.Region.from_tokens(tokens, 2000 * len(domains), max_epochs=5)
        self.table = a_table(domains)
        self.solution = mixfast.solve(self.table, self.region)
        self.intervals = solver.bootstrap(self.table, self.region, solution=self.solution, replicates=20)
        self.held_out = solver.holdout(self.table, self.region)
        self.swarm = a_swarm(domains, metrics=metrics)
        self.law = mixfast.fit(self.swarm, law)
        self.proposal = mixfast.propose(self.law, self.region)
        self.mixture = mixfast.Mixture(domains, np.arange(1.0, len(domains) + 1) / sum(range(len(domains) + 1)))
        self.ledger = a_ledger(domains)
        self.schedule = a_schedule(domains)

    def around(self):
        return [self.intervals, self.held_out, self.law, self.swarm, self.ledger, self.schedule, self.mixture]


@pytest.fixture(scope="module")
def things():
    return Things(["web", "code", "books", "maths"])


@pytest.fixture
def no_matplotlib(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def figures(things):
    found = report.out_of_fold(things.law, things.swarm)
    return {
        "shares": lambda **to: report.shares(things.solution, things.intervals, present=things.mixture, **to),
        "ranges": lambda **to: report.ranges(things.solution, **to),
        "prices": lambda **to: report.prices(things.solution, **to),
        "convergence": lambda **to: report.convergence(things.solution, **to),
        "held_out": lambda **to: report.held_out(things.held_out, **to),
        "predicted": lambda **to: report.predicted(found, things.law.metrics[0], **to),
        "response": lambda **to: report.response(things.law, things.law.domains[0], swarm=things.swarm, **to),
        "coefficients": lambda **to: report.coefficients(things.law, things.mixture, **to),
        "history": lambda **to: report.history(things.ledger, **to),
        "schedule": lambda **to: report.schedule(things.schedule, **to),
    }


# The page.


def test_every_subset_of_parts_makes_a_page(things, no_matplotlib):
    others = [things.held_out, things.law, things.swarm, things.ledger, things.schedule, things.region]
    for answer in (None, things.solution, things.proposal, things.mixture):
        for chosen in itertools.product((False, True), repeat=len(others)):
            parts = [answer, *(part for part, here in zip(others, chosen, strict=True) if here)]
            checked(report.page(*parts, folds=2, when=WHEN))
    checked(report.page(things.table, when=WHEN))
    checked(report.page(things.intervals, when=WHEN))


@pytest.mark.parametrize(
    "names",
    [
        ["solution", "intervals", "held_out", "mixture", "ledger", "schedule"],
        ["proposal", "law", "swarm", "ledger"],
        ["solution", "law", "swarm"],
        ["mixture", "region", "law"],
        ["ledger"],
        ["schedule"],
        ["law"],
        [],
    ],
    ids="-".join,
)
def test_pages_with_figures(things, names):
    pytest.importorskip("matplotlib")
    page = report.page(*(getattr(things, name) for name in names), when=WHEN)
    found = checked(page)
    assert len(found.figures) >= len([name for name in names if name in ("solution", "proposal", "law", "schedule")])
    assert "Figures" not in page.missing
    if "ledger" in names:
        assert any("is open (and another)" in words for words in page.warnings)


def test_without_matplotlib_the_page_has_tables_and_figures_say_what_to_install(things, no_matplotlib):
    page = report.page(things.solution, things.law, things.swarm, when=WHEN)
    found = checked(page)
    assert found.figures == []
    assert "pip install 'mixfast[plot]'" in page.missing["Figures"]
    for name, draw in figures(things).items():
        with pytest.raises(BackendError, match=r"pip install 'mixfast\[plot\]'"):
            print(name, draw())


def test_the_same_parts_give_the_same_bytes_but_for_the_date(things):
    pytest.importorskip("matplotlib")
    one, two = (
        report.page(things.solution, things.intervals, things.schedule, when=when).html
        for when in ("2026-01-31", "2027-12-01")
    )
    assert one != two
    assert one == two.replace("2027-12-01", "2026-01-31")
    again = mixfast.solve(things.table, things.region)
    assert (
        report.page(again, when=WHEN, call="x").html == report.page(things.solution, when=WHEN, call="x").html
    )  # no date or time in it


def test_the_head_says_what_a_person_deciding_needs(things):
    page = report.page(things.solution, things.intervals, things.mixture, when=WHEN)
    words = " ".join(checked(page).words)
    assert things.solution.status in words
    assert f"{things.solution.gap:.1e}" in words
    uniform = mixfast.solve(things.table, mixfast.Region(things.table.domains, cap=0.25)).value
    assert f"{uniform - things.solution.value:+.4g}" in words
    for price in things.solution.shadow_prices[:3]:
        assert price.text.split(":")[0] in words
    most = max(things.solution.epochs, key=lambda name: things.solution.epochs[name])
    assert things.solution.epochs[most] > 4.0
    assert any(most in line and "more than 4 times" in line for line in page.warnings)
    assert "tokens move to other domains" in words


def test_a_mixture_alone_is_judged_by_a_law_of_its_domains(things, no_matplotlib):
    page = report.page(things.mixture, things.law, when=WHEN)
    words = " ".join(checked(page).words)
    at, even = things.law.predict(np.stack([things.mixture.weights, np.full(4, 0.25)])).mean(axis=1)
    assert f"{at:.6g}" in words
    assert f"{even - at:+.4g}" in words
    other = report.page(mixfast.Mixture(["a", "b"], [0.5, 0.5]), things.law, when=WHEN)
    assert "at equal shares" in " ".join(checked(other).words)


def test_a_mixture_alone_is_judged_by_a_table_of_its_domains(things, no_matplotlib):
    # The file of a mixture omits domains without a share, and may have another order.
    two = mixfast.Mixture(list(things.table.domains[:2])[::-1], [0.75, 0.25])
    page = report.page(two, things.table, when=WHEN)
    words = " ".join(checked(page).words)
    own, even = solver.losses(things.table, [[0.25, 0.75, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]])
    assert f"{own:.6g}" in words
    assert f"{even - own:+.4g}" in words
    assert "nats" in words
    other = report.page(mixfast.Mixture(["a", "b"], [0.5, 0.5]), things.table, when=WHEN)
    assert f"{even:.6g}" not in " ".join(checked(other).words)


def test_losses_beside_the_solution_are_those_of_the_bare_objective(no_matplotlib):
    rng = np.random.default_rng(5)
    domains, group = ["web", "code", "books"], np.repeat([0, 1], 30)
    table = mixfast.ExpertTable.from_loglik(rng.normal(-2.0, 0.6, size=(60, 3)), domains=domains, group=group)
    # One excluded domain, one active limit, and a KL term: none of them is part of the losses of the other mixtures.
    region = mixfast.Region(domains, prior=[0.5, 0.4, 0.1], cap={"books": 0.0, "web": 0.6})
    each = -np.log(np.exp(table.loglik) @ np.stack([[0.5, 0.4, 0.1], np.full(3, 1 / 3)]).T)
    groups = np.stack([each[group == g].mean(axis=0) for g in (0, 1)])
    for objective, wanted in ((None, groups.mean(axis=0)), ("worst", groups.max(axis=0))):
        solution = mixfast.solve(table, region, kl=0.1 if objective is None else 0.0, objective=objective)
        page = report.page(solution, when=WHEN)
        words = " ".join(checked(page).words)
        for value in wanted:
            assert f"{value:.6g}" in words
            assert f"{value - solution.loss:+.4g}" in words
    assert "needs a weighted objective" in page.missing["Near-optimal set"]


def test_doubts_are_warnings(things, no_matplotlib):
    def said(*parts):
        return " ".join(report.page(*parts, when=WHEN).warnings)

    with pytest.warns(mixfast.errors.NotConvergedWarning):
        rough = mixfast.solve(things.table, things.region, max_iter=1)
    # The solve without limits, from which their prices follow, ends as early.
    with pytest.warns(mixfast.errors.NotConvergedWarning):
        assert f"Status {rough.status}" in said(rough)
    searched = mixfast.propose(things.law, things.region, method="search")
    assert "nothing proves" in said(searched)
    noise = mixfast.Swarm(
        things.swarm.ratios,
        np.random.default_rng(3).normal(size=30),
        domains=things.swarm.domains,
        metric_names=["noise"],
    )
    law = mixfast.fit(noise, "linear")
    assert law.reports[0].r2 <= 0.0
    assert "no better than the mean does: noise" in said(law)
    wide = proposers.ShareIntervals(
        things.proposal, dict.fromkeys(things.law.domains, 0.0), {"web": 0.5, "code": 0.01, "books": 0.01, "maths": 0.01},
        np.zeros((2, 4)), 0.9,
    )  # fmt: skip
    assert "web (50 points)" in said(wide)
    assert "web (50 points)" not in said(things.proposal)


def test_data_files_and_versions_are_named_by_their_hashes(things, tmp_path, no_matplotlib):
    file, folder = tmp_path / "runs.csv", tmp_path / "folder"
    file.write_text("a,b\n1,2\n")
    folder.mkdir()
    (folder / "one.npy").write_bytes(b"1")
    gone = tmp_path / "gone.csv"
    page = report.page(things.solution, files={str(file): "1 x 2", str(folder): "", str(gone): ""}, call="mixfast x")
    words = " ".join(checked(page).words)
    assert hashlib.sha256(file.read_bytes()).hexdigest()[:16] in words
    assert "1 x 2, 8 bytes" in words
    assert "no longer readable" in words
    assert f"60 rows x 4 domains, 1 groups, {things.table.dtype}" in words
    assert mixfast.__version__ in words
    assert np.__version__ in words
    other = mixfast.ExpertTable.from_loglik(things.table.loglik + 1e-9, domains=things.table.domains)
    digests = [
        set(re.findall(r"\b[0-9a-f]{16}\b", report.page(one, explorer=False).html)) for one in (things.table, other)
    ]
    assert digests[0]
    assert not digests[0] & digests[1]


def test_hostile_names_are_shown_and_do_nothing():
    pytest.importorskip("matplotlib")
    all_of = Things(HOSTILE, metrics=("<b>m</b>", "$loss$"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # names that matplotlib has no glyphs or no room for
        page = report.page(all_of.solution, *all_of.around(), title="<img src=x onerror=alert(1)>", when=WHEN)
    found = checked(page)
    words = " ".join(found.words)
    assert max(len(word) for text in found.words for word in text.split()) < 200
    assert "<script>alert(1)</script>" in words
    assert "日本語" in words
    # The explorer's own two, which `checked` has compared.
    assert page.html.count("<script") == 2
    assert "<img src=x" not in page.html
    assert "\u202e" not in page.html
    assert "\x07" not in page.html
    drawn = " ".join(found.drawn)
    assert "$x^2$ and $" in drawn
    assert r"\$\frac{1}" in drawn
    assert "_hidden" in drawn
    assert "日本語" in drawn


def test_sixty_four_domains_and_more(no_matplotlib):
    names = [f"domain_{k:03}" for k in range(300)]
    page = report.page(mixfast.Mixture(names, np.full(300, 1 / 300)), when=WHEN)
    words = " ".join(checked(page).words)
    assert "other 100 domains 33.3%" in words


def test_wrong_parts_are_refused(things):
    with pytest.raises(TypeError, match=r"got dict.*made of a Solution"):
        report.page({"web": 1.0})
    with pytest.raises(ValueError, match="two were given: Solution and Proposal"):
        report.page(things.solution, things.proposal)


def test_a_saved_page_replaces_a_file_whole(things, tmp_path):
    page = report.page(things.mixture, when=WHEN)
    target = tmp_path / "page.html"
    target.write_text("old")
    page.save(target)
    assert target.read_text(encoding="utf-8") == page.html
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert "srcdoc=" in page._repr_html_()


# Figures.


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_draws_into_the_axes_it_is_given(things, name):
    mpl = pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    before = dict(mpl.rcParams)
    ax = Figure().add_subplot()
    assert figures(things)[name](ax=ax) is ax
    assert ax.has_data()
    own = figures(things)[name]()
    assert own is not ax
    assert own.figure.canvas is not None
    assert dict(mpl.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_the_users_own_style_changes_no_page(things):
    mpl = pytest.importorskip("matplotlib")
    plain = report.page(things.solution, when=WHEN).html
    with mpl.rc_context({"text.usetex": True, "font.size": 30, "svg.fonttype": "path", "figure.facecolor": "black"}):
        assert report.page(things.solution, when=WHEN).html == plain


def test_pages_made_in_threads_are_alike(things):
    pytest.importorskip("matplotlib")
    made = [None] * 2

    def work(place):
        made[place] = report.page(things.solution, things.schedule, when=WHEN).html

    threads = [threading.Thread(target=work, args=(place,)) for place in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert made[0] is not None
    assert made[0] == made[1]


def test_figures_with_a_line_for_each_domain_show_64_and_fold_more():
    pytest.importorskip("matplotlib")

    def labels(count):
        mixture = mixfast.Mixture(
            [f"domain_{k}" for k in range(count)], np.arange(count, 0, -1) / sum(range(count + 1))
        )
        ax = report.shares(mixture)
        return [text.get_text() for text in ax.get_yticklabels()], ax.figure.get_figheight()

    few, low = labels(8)
    many, high = labels(64)
    assert many == [f"domain_{k}" for k in range(64)]  # largest first
    assert high > 4 * low
    most, _ = labels(130)
    assert len(most) == 101
    assert most[-1].startswith("other 30 domains: ")
    assert len(few) == 8


def test_time_figures_say_what_they_fold():
    pytest.importorskip("matplotlib")
    names = [f"domain_{k}" for k in range(64)]
    ax = report.schedule(mixfast.MixtureSchedule(mixfast.Mixture(names, np.full(64, 1 / 64))))
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert len(words) == 10
    assert words[0].startswith("other 55 domains: 85.9%")


def test_the_course_of_a_schedule_keeps_its_jumps_and_ramps():
    from mixfast.report import _timeline_figures

    web, code = mixfast.Mixture(["web", "code"], [0.9, 0.1]), mixfast.Mixture(["web", "code"], [0.5, 0.5])
    samples, shares = _timeline_figures.course(
        mixfast.MixtureSchedule(web).ramp(code, start=100, stop=300).then(web, at=200), None
    )
    where = dict(zip(samples.tolist(), shares[:, 0].tolist(), strict=True))
    assert where[0] == where[100] == pytest.approx(0.9)
    assert where[199] == pytest.approx(0.9 - 0.4 * 99 / 200)
    assert where[200] == where[samples[-1]] == pytest.approx(0.9)
    assert np.allclose(shares.sum(axis=1), 1.0)


# The numbers behind them.


def test_out_of_fold_is_what_the_fit_measured(things):
    found = report.out_of_fold(things.law, things.swarm)
    for mine, fitted in zip(found.scores, things.law.reports, strict=True):
        assert mine.rmse == pytest.approx(fitted.rmse, rel=1e-12)
        assert mine.coverage == fitted.coverage
    turned = things.swarm.align(things.swarm.domains[::-1])
    assert np.allclose(report.out_of_fold(things.law, turned).predicted, found.predicted)
    with pytest.raises(ValueError, match="at least 2"):
        report.out_of_fold(things.law, things.swarm.subset([0]))


def test_slopes_are_those_of_moving_one_share(things):
    from mixfast.report import _law_figures as laws

    base = things.mixture.weights
    slopes = laws.effects(things.law, base)
    step = 1e-6
    for k in range(len(base)):
        moved = (1.0 - step) * base + step * np.eye(len(base))[k]
        change = (things.law.predict(moved) - things.law.predict(base))[0] / step
        assert np.allclose(slopes[:, k], change, atol=1e-6)

    class Stepped:
        smooth, domains, metrics = False, things.law.domains, things.law.metrics
        predict = staticmethod(things.law.predict)

    assert np.allclose(laws.effects(Stepped, base), slopes)  # the law is linear, so the step size does not matter


def test_a_response_keeps_the_others_proportions(things):
    from mixfast.laws import resolve
    from mixfast.report import _law_figures as laws

    base, x = things.mixture.weights, np.array([0.0, 0.3, 1.0])
    value, sd = laws.curve(things.law, resolve("loss_a", things.law), base, 1, x)
    for share, got in zip(x, value, strict=True):
        rest = np.delete(base, 1)
        row = np.insert((1.0 - share) * rest / rest.sum(), 1, share)
        assert got == pytest.approx(things.law.predict(row)[0, 0])
    assert sd.shape == (3,)
    whole, _ = laws.curve(things.law, resolve("loss_a", things.law), np.eye(4)[1], 1, x)
    assert np.isfinite(whole).all()


# The command.


@pytest.fixture
def sample(tmp_path, monkeypatch, good):
    monkeypatch.chdir(tmp_path)
    good("demo", "--copy-to", ".")
    return tmp_path


def test_the_command_reports_a_table(sample, good, no_matplotlib):
    words = (
        "report", "demo.npz", "--tokens", "demo_tokens.yaml", "--budget", "512K", "--held-out", "0.2", "--replicates", "20",
        "--out", "page.html",
    )  # fmt: skip
    assert good(*words).startswith("wrote page.html: Shares, ")
    html = (sample / "page.html").read_text(encoding="utf-8")
    assert "mixfast report demo.npz --tokens demo_tokens.yaml" in html
    assert 'id="held-out"' in html
    assert "38,400 x 14, " in html
    good(*words)
    assert (sample / "page.html").read_text(encoding="utf-8") == html


def test_the_command_reports_runs_a_law_and_what_else_is_known(sample, run, no_matplotlib):
    def page(*words):
        status, _, err = run("report", *words, "--out", "p.html")
        assert status == 0, err
        return (sample / "p.html").read_text(encoding="utf-8")

    runs = ("demo_ratios.csv", "demo_metrics.csv")
    assert run("fit", *runs, "--law", "linear", "--out", "law.json")[0] == 0
    domains = mixfast.Swarm.from_csv(*runs).domains
    mixfast.Mixture(domains, np.full(len(domains), 1 / len(domains))).save("now.yaml")
    (sample / "schedule.json").write_text(a_schedule(["web", "code"]).to_json())
    assert run("reuse", "start", "life.yaml", "--mixture", "now.yaml")[0] == 0
    html = page(
        *runs, "--law", "law.json", "--mixture", "now.yaml", "--ledger", "life.yaml", "--schedule", "schedule.json", "--kl", "0.05",
        "--replicates", "3", "--objective", "target_foldoc",
    )  # fmt: skip
    for anchor in ("shares", "predicted", "response", "history", "schedule"):
        assert f'<section id="{anchor}">' in html
    assert "67 runs x 14 domains" in html
    page("--ledger", "life.yaml")
    page("--law", "law.json")
    page("--mixture", "now.yaml")
    page(*runs, "--law-kind", "linear")


def test_the_page_of_a_guarded_proposal_shows_which_guards_bind_and_what_they_cost(sample, run, no_matplotlib):
    names = ("--metric", "target_faq_perl", "--metric", "val_help_de", "--metric", "val_dict_gcide")
    assert run("fit", "demo_ratios.csv", "demo_metrics.csv", *names, "--law", "log_linear", "--out", "law.json")[0] == 0
    goals = ("--target", "target_faq_perl", "--guard", "*=2 %", "--kl", "0.05", "--scale", "spread")
    status, out, err = run("report", "--law", "law.json", *goals, "--method", "exact", "--out", "p.html", "--json")
    assert status == 0, err
    assert "Limits of metrics" in json.loads(out)["sections"]
    law = mixfast.laws.Fit.load("law.json")
    options = {"objective": "target_faq_perl", "scale": "spread", "kl": 0.05}
    free, found = (mixfast.propose(law, guard=guard, **options) for guard in (None, {"*": "2 %"}))
    assert any(one.binds for one in found.guards)
    html = (sample / "p.html").read_text(encoding="utf-8")
    assert f"All guards together cost {found.value - free.value:.4g} " in html
    for one in found.guards:
        if one.binds:
            assert f"<td>{one.price:.3g}</td><td>{one.price_per_sd:.3g}</td>" in html
    near = dict.fromkeys(law.domains, 1.0 / len(law.domains))
    mixfast.Mixture(near).save("near.yaml")
    goals = ("--reach", "target_faq_perl=1 % better", "--guard", "*=1 % ", "--near", "near.yaml")
    assert run("report", "--law", "law.json", *goals, "--out", "p.html")[0] == 0
    html = (sample / "p.html").read_text(encoding="utf-8")
    assert 'id="guards"' in html
    assert "All guards together cost" not in html
    # The file of the reference is one of the inputs whose hashes the page states.
    assert "near.yaml" in html
    assert run("report", "--law", "law.json", "--guard", "*=1", "--reference", "near.yaml", "--out", "p.html")[0] == 0
    assert run("report", "--law", "law.json", "--guard", "*=1", "--reference", "p.html", "--out", "p.html")[0] == 2


def test_intervals_of_a_guarded_proposal_keep_the_amounts_of_all_runs(sample, run, no_matplotlib):
    # Halves repeat no mixture often enough to know the noise that "1 sd" and the scale refer to.
    runs = ("demo_ratios.csv", "demo_metrics.csv", "--metric", "target_faq_perl", "--metric", "val_help_de")
    goals = ("--target", "target_faq_perl", "--guard", "*=1 sd", "--scale", "noise", "--kl", "0.05")
    status, _, err = run("report", *runs, "--law-kind", "linear", *goals, "--replicates", "4", "--out", "p.html")
    assert status == 0, err
    assert "Whiskers" not in err
    assert (sample / "p.html").exists()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--out", "p.html"], "nothing to report"),
        (["demo.npz", "--out", "p.pdf"], "a page ends in .html"),
        (["demo_ratios.csv", "--out", "p.html"], "RATIOS and METRICS"),
        (["demo.npz", "--out", "nowhere/p.html"], "no folder"),
        (["--schedule", "demo_tokens.yaml", "--out", "p.html"], "expected a schedule"),
        (["demo_ratios.csv", "demo_metrics.csv", "--held-out", "0.2", "--out", "p.html"], "needs a table"),
        (["demo.npz", "--held-out", "2", "--out", "p.html"], "between 0 and 1"),
        (
            ["--law", "law.json", "--more-is-better", "*", "--out", "p.html"],
            "laws from a file already have their runs, directions and folds",
        ),
        (
            ["demo.npz", "--guard", "*=1", "--out", "p.html"],
            "--guard has no effect here: this needs a mixture that is proposed by laws",
        ),
        (
            ["demo.npz", "--reach", "x<=1", "--method", "exact", "--out", "p.html"],
            "--reach, --method have no effect here",
        ),
        (
            ["--law", "law.json", "--near", "demo_tokens.yaml", "--out", "p.html"],
            "--near has no effect without --reach",
        ),
        (["--law", "law.json", "--reach", "x<=1", "--kl", "0.1", "--out", "p.html"], "so --kl would have no effect"),
        (
            [
                "demo_ratios.csv",
                "demo_metrics.csv",
                "--reach",
                "target_foldoc<=1",
                "--replicates",
                "9",
                "--out",
                "p.html",
            ],
            "--replicates has no effect with --reach",
        ),
        (
            ["demo_ratios.csv", "demo_metrics.csv", "--less-is-better", "zz", "--out", "p.html"],
            "there is no metric 'zz'",
        ),
    ],
)
def test_the_command_refuses_in_a_line(sample, refused, argv, words):
    assert words in refused("report", *argv)
    assert not (sample / "p.html").exists()


def test_a_page_that_cannot_be_made_leaves_the_old_one(sample, refused):
    (sample / "p.html").write_text("old")
    (sample / "broken.json").write_text(json.dumps({"mixfast_fit": 99}))
    refused("report", "--law", "broken.json", "--out", "p.html")
    assert (sample / "p.html").read_text() == "old"
    assert not list(sample.glob(".*.new"))


def test_laws_in_epochs_are_shown_for_the_run_of_the_page():
    swarm = epoch_laws.runs(budget=np.linspace(5e8, 1e9, 60))
    law = mixfast.fit(swarm, "epochs", folds=0)
    tokens = dict.fromkeys(swarm.domains, 10**9)
    found = proposers.propose(law, mixfast.Region.from_tokens(tokens, 10**9))
    assert _parts.Parts.of([found, law]).law.rate.tolist() == [1.0] * 4
    assert (
        _parts.Parts.of([found.mixture, mixfast.Region.from_tokens(tokens, 10**9), law]).law.rate.tolist() == [1.0] * 4
    )
