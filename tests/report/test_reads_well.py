"""The page can be decided by at a glance: one sign, one value, names that differ, figures for every screen."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

import mixfast
from mixfast import report
from mixfast.report import _axes as draw
from mixfast.report import _head, _html, _svg

WHEN = "2026-01-31"
FEW = ["web", "code", "books", "maths"]
LONG = [
    f"dolma/common_crawl/2023-{week}/high_quality_filtered/{topic}/deduplicated/part_{part:02}"
    for part in range(20)
    for week in (14, 23)
    for topic in ("science_maths_and_technology", "science_maths_and_statistics", "finance_and_business")
]


def a_table(domains, rows=60):
    rng = np.random.default_rng(0)
    return mixfast.ExpertTable.from_loglik(rng.normal(-4.0, 0.6, (rows, len(domains))), domains=domains)


def a_swarm(domains, metrics, runs=40, scale=1.0, **more):
    rng = np.random.default_rng(1)
    ratios = rng.dirichlet(np.ones(len(domains)), runs)
    values = 2.0 + scale * ratios @ rng.normal(size=(len(domains), len(metrics)))
    values += 0.01 * scale * rng.normal(size=values.shape)
    return mixfast.Swarm(ratios, values, domains=domains, metric_names=metrics, **more)


@pytest.fixture(scope="module")
def solved():
    region = mixfast.Region(FEW, prior=[0.4, 0.3, 0.2, 0.1], cap=0.5)
    return mixfast.solve(a_table(FEW), region, kl=0.05)


@pytest.fixture(scope="module")
def proposed():
    rng = np.random.default_rng(1)
    ratios = rng.dirichlet(np.ones(4), 40)
    effect = np.array([[0.2, -0.1], [-0.1, 0.2], [0.0, 0.1], [0.1, 0.1]])
    values = [0.9, 0.6] + ratios @ effect + 0.005 * rng.normal(size=(40, 2))
    swarm = mixfast.Swarm(ratios, values, domains=FEW, metric_names=["bits_loss", "arc_acc"])
    law = mixfast.fit(swarm, "linear")
    return mixfast.propose(law, mixfast.Region(FEW, prior=[0.4, 0.3, 0.2, 0.1]), objective="bits_loss", kl=0.05), swarm


@pytest.fixture
def no_figures(monkeypatch):
    for kind in ("html", "panels"):
        monkeypatch.setattr(_html.Figures, kind, lambda *_: "")


def plain(page):
    """The page without its style sheet and figures."""
    return re.sub(r"<(style|svg)\b.*?</\1>", "", page, flags=re.S)


def cards(page):
    found = re.findall(r"<dt>(.*?)</dt><dd>(.*?)(?:<span.*?)?</dd>", plain(page))
    return {html.unescape(what): html.unescape(value) for what, value in found}


def table_after(page, words):
    """Rows of the first table behind these words, each a list of its cells."""
    found = re.search(r"<table>(.*?)</table>", plain(page).partition(words)[2], re.S)[1]
    rows = re.findall(r"<tr.*?>(.*?)</tr>", found, re.S)
    return [
        [html.unescape(re.sub("<.*?>", "", cell)) for cell in re.findall(r"<t[hd].*?</t[hd]>", row)] for row in rows
    ]


# The decision.


def test_mixture_costs_and_doubts_stand_before_the_first_section(solved):
    page = plain(report.page(solved, when=WHEN).html)
    top, _, _ = page.partition("<nav>")
    places = [top.index(f"<h2>{title}</h2>") for title in ("The mixture", "What it gains and costs", "What to doubt")]
    assert top.index('<dl class="facts">') < places[0]
    assert places == sorted(places)
    assert all(name in top for name in FEW)
    for price in solved.shadow_prices:
        assert f"{price.limit} {100 * price.value:.1f}%" in top


@pytest.mark.parametrize("count", [14, 15, 120])
def test_the_mixture_of_many_domains_is_shown_by_shares_and_changes(count, no_figures):
    names = LONG[:count]
    prior = np.full(count, 1.0 / count)
    shares = np.r_[prior[:-1] + prior[-1] / (count - 1), 0.0]
    mixture = mixfast.Mixture(names, shares)
    page = report.page(mixture, mixfast.Region(names, prior=prior), when=WHEN).html
    rows = table_after(page, "The mixture")[1:]
    assert len(rows) == (14 if count == 14 else 13)
    # The domain that lost all of its share is the largest change.
    assert any(row[1] == "0" for row in rows)
    if count > 14:
        assert rows[-1][0] == f"other {count - 12} domains"
    assert len({row[0] for row in rows}) == len(rows)


def test_one_sign_for_better_is_said_once_and_holds_everywhere(solved, proposed):
    proposal, swarm = proposed
    assert proposal.law.direction == ("min", "max")
    for answer, parts in ((solved, [solved]), (proposal, [proposal, swarm])):
        page = report.page(*parts, mixfast.Mixture(FEW, [0.1, 0.2, 0.3, 0.4]), when=WHEN).html
        assert plain(page).count(_head.SIGN) == 1
        assert not re.search(r"negative is better|loss against|>difference<", page)
        own, *others = table_after(page, "What it gains and costs")[1:]
        for name, value, gain in others:
            assert float(gain) == pytest.approx(float(value) - float(own[1]), abs=2e-5), name
        over = {row[0]: row[2] for row in others}
        shown = cards(page)
        assert shown["gain over present mixture"] == over["present mixture"]
        assert shown.get("gain over prior", shown.get("expected gain over prior")) == over["prior"]
        assert (float(over["prior"]) > 0.0) == (getattr(answer, "gain", None) is None or answer.gain.value > 0.0)
    found = {row[0]: row for row in table_after(page, "Expected metrics under the law")}
    place = found["metric"].index("gain")
    gains = json.loads(json.dumps(proposal.to_dict()))["gain"]["metrics"]
    for metric, gain in gains.items():
        # More is better of one of the two.
        assert float(found[metric][place]) == pytest.approx(gain, rel=1e-2), metric
    responses = table_after(page, "All responses as numbers")
    ahead = proposal.target.score(proposal.law.predict(np.stack([proposal.mixture.weights, _without(proposal, "web")])))
    web = next(row for row in responses if row[0] == "web")
    assert float(web[responses[0].index("gain at 0")]) == pytest.approx(ahead[0] - ahead[1], rel=1e-2)
    slopes = {row[0]: row for row in table_after(page, "All gains as numbers")}
    # More of the first domain raises the loss and lowers the accuracy, which is worse for both.
    assert [slopes["web"][place][0] for place in (1, 2)] == ["-", "-"]


def _without(proposal, name):
    weights = proposal.mixture.weights.copy()
    weights[FEW.index(name)] = 0.0
    return weights / weights.sum()


def test_one_value_for_each_mixture_and_the_terms_of_the_objective_by_name(solved, proposed, no_figures):
    proposal, _ = proposed
    for answer, loss in ((solved, solved.loss), (proposal, float(proposal.target.score(proposal.expected)[0]))):
        page = plain(report.page(answer, when=WHEN).html)
        top, _, _ = page.partition("<nav>")
        assert answer.value - loss > 1e-4
        own = next(row for row in table_after(page, "What it gains and costs") if row[0] == "this mixture")
        assert cards(page)["loss" if answer is solved else "predicted objective"] == own[1]
        total, first, term = re.search(
            r"Minimised objective: ([\d.]+) = ([\d.]+) \+ ([\d.]+) \(0.05 x KL", top
        ).groups()
        assert first == own[1]
        assert float(total) == pytest.approx(answer.value, abs=1e-5)
        assert float(first) + float(term) == pytest.approx(answer.value, abs=2e-5)
        assert top.count(f"{answer.value:#.6g}") == 1


# Names and caps.


def test_long_names_keep_what_differs_in_tables_and_figures():
    pytest.importorskip("matplotlib")
    mixture = mixfast.Mixture(LONG[:30], np.arange(30.0, 0.0, -1.0) / 465.0)
    for around in (draw.narrowed, pytest.MonkeyPatch.context):
        with around():
            ax = report.shares(mixture)
        labels = [text.get_text() for text in ax.get_yticklabels()]
        assert len(set(labels)) == 30
        assert max(map(len, labels)) <= (18 if around is draw.narrowed else 34)
    page = plain(report.page(mixture, when=WHEN).html)
    # The page also contains the whole name.
    assert f'title="{LONG[0]}"' in page
    assert all(name in page.replace("<wbr>", "") for name in LONG[:30])


def test_a_cap_for_all_is_drawn_once():
    pytest.importorskip("matplotlib")
    mixture = mixfast.Mixture(FEW, [0.3, 0.3, 0.3, 0.1])
    ax = report.shares(mixture, region=mixfast.Region(FEW, cap=0.4))
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert [one for one in words if "cap" in one] == ["cap of every domain: 40.0%"]
    assert sum(line.get_linestyle() == "--" for line in ax.lines) == 1
    assert not [line for line in ax.lines if line.get_marker() == 4]
    page = plain(report.page(mixture, mixfast.Region(FEW, cap=0.4), when=WHEN).html)
    assert "cap" not in table_after(page, "All shares as numbers")[0]
    assert page.count("Cap of every domain: 40.0%.") == 1
    one_less = report.shares(
        mixture, region=mixfast.Region(FEW, cap={"web": 0.4, "code": 0.4, "books": 0.4, "maths": 0.2})
    )
    assert any("cap of 3 of 4 domains" in text.get_text() for text in one_less.get_legend().get_texts())
    assert [len(line.get_xdata()) for line in one_less.lines if line.get_marker() == 4] == [1]
    other = plain(
        report.page(
            mixture, mixfast.Region(FEW, cap=dict(zip(FEW, (0.3, 0.35, 0.4, 0.2), strict=True))), when=WHEN
        ).html
    )
    assert "cap" in table_after(other, "All shares as numbers")[0]


# Every screen, and paper.


def contrast(one, other):
    def light(colour):
        parts = [int(colour[at : at + 2], 16) / 255.0 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [0, 1])
def test_colours_stand_out_in_light_and_dark(dark):
    colours = {name: pair[dark] for name, pair in _html._PALETTE.items()}
    for ground in ("paper", "tint", "warm"):
        assert contrast(colours["ink"], colours[ground]) > 7.0
    for text in ("soft", "link", "muted"):
        assert contrast(colours[text], colours["paper"]) > 4.5
    for mark in ("mark", "amber", "red", "warn"):
        assert contrast(colours[mark], colours["paper"]) > 3.0


def test_figures_take_their_colours_from_the_page_and_paper_is_light(solved):
    pytest.importorskip("matplotlib")
    # The explorer has variables that are no colours; test_accessible.py measures its contrasts on light and dark pages.
    page = report.page(solved, when=WHEN, explorer=False).html
    style = re.search("<style>(.*?)</style>", page, re.S)[1]
    figures = re.findall(r"<svg\b.*?</svg>", page, re.S)
    assert figures
    named = set(re.findall(r"var\(--([a-z]+)\)", page))
    for figure in figures:
        assert not {colour for colour, _ in draw.PALETTE.values()} & set(re.findall("#[0-9a-f]{6}", figure))
    light, dark = re.search(
        r":root \{(.*?)\}\s*@media screen and \(prefers-color-scheme: dark\) \{ :root \{(.*?)\} \}", style, re.S
    ).groups()
    for palette in (light, dark):
        assert named <= set(re.findall(r"--([a-z]+):", palette))


def test_paths_are_short_and_stay_the_same_lines():
    assert _svg._upright("M 0 2 L 3 2 L 3 5 L 0 5 z M 1 1 L 2 2 L 2 1e-05 Q 1 2 3 4 L 3 9") == (
        "M0 2H3V5H0zM1 1L2 2V1e-05Q1 2 3 4V9"
    )


def test_points_of_a_figure_share_one_style():
    plt = pytest.importorskip("matplotlib.figure")
    ax = plt.Figure().subplots()
    ax.plot(np.arange(50.0), np.arange(50.0), "o", color="#0072b2")
    with draw.style():
        made = _svg.inline(ax.figure, "f1")
    # Without the ticks, each of which has its style.
    points = [one for one in re.findall(r"<use [^>]*/>", made) if "style" not in one]
    assert len(points) == 50
    assert len(made) < 9000


def test_hatches_of_stacks_keep_their_ground():
    pytest.importorskip("matplotlib")
    names = [f"domain_{k}" for k in range(12)]
    schedule = mixfast.MixtureSchedule(mixfast.Mixture(names, np.full(12, 1 / 12)))
    page = report.page(schedule, when=WHEN).html
    patterns = re.findall(r"<pattern\b.*?</pattern>", page, re.S)
    assert patterns
    assert all(re.search(r'<rect[^>]*style="fill: (#|var)', pattern) for pattern in patterns)


def test_figures_have_a_form_for_small_screens(solved):
    pytest.importorskip("matplotlib")
    page = report.page(solved, when=WHEN).html
    for figure in re.findall(r"<figure>(.*?)</figure>", page, re.S):
        kinds = re.findall(r'<svg class="(\w+)"[^>]*viewBox="0 0 ([\d.]+) ', figure)
        assert [kind for kind, _ in kinds] == ["wide", "narrow"]
        # Points: 72 in an inch. Text of a narrow figure is not shrunk at 500 pixels, of which the page's margins leave 472.
        assert float(kinds[1][1]) * 96 / 72 <= 472
        narrow = figure.partition('class="narrow"')[2]
        assert min(map(float, re.findall(r"<text [^>]*font-size: ([\d.]+)px", narrow))) * 96 / 72 > 10.0
    assert len(figure) > 0
    style = re.search("<style>(.*?)</style>", page, re.S)[1]
    assert re.search(r"@media \(max-width: \d+px\) \{\s*figure svg.wide \{ display: none; \}", style)


def test_wide_tables_are_divided_so_that_paper_holds_them():
    header = ["domain", *(f"metric_{j}" for j in range(20))]
    rows = [[f"domain_{k}", *(f"{k}.{j}" for j in range(20))] for k in range(3)]
    made = _html.table(header, rows)
    widths = [row.count("<th ") for row in re.findall("<thead>.*?</thead>", made)]
    assert max(widths) <= 9
    assert sum(widths) - len(widths) == 20
    assert all(f">{k}.{j}<" in made for k in range(3) for j in range(20))
    assert made.count("domain_2") == len(widths)


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
@pytest.mark.parametrize("kind", ["table", "runs", "many"])
def test_the_decision_needs_no_scrolling_on_1300_by_900(solved, proposed, no_figures, tmp_path, kind):
    if kind == "table":
        page = report.page(solved, when=WHEN)
    elif kind == "runs":
        page = report.page(*proposed, mixfast.Mixture(FEW, [0.1, 0.2, 0.3, 0.4]), when=WHEN)
    else:
        region = mixfast.Region(LONG, prior=np.full(len(LONG), 1 / len(LONG)), cap=0.02)
        page = report.page(mixfast.solve(a_table(LONG, 200), region), when=WHEN)
    script = """<script>addEventListener("load", () => {
      const box = (one) => one.getBoundingClientRect();
      const all = (what) => [...document.querySelectorAll(what)].map(box);
      document.body.dataset.found = JSON.stringify({width: innerWidth, cards: all(".facts > div").map((one) => one.top),
        ends: all(".facts, .decision > div, ul.warnings li, .decision table").map((one) => one.bottom),
        sides: all(".decision > div, .decision table").map((one) => one.right)});
    });</script>"""
    without_policy = re.sub(r"<meta http-equiv.*?>", "", page.html)
    (tmp_path / "page.html").write_text(without_policy.replace("</body>", f"{script}</body>"))
    got = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1300,900", "--hide-scrollbars", "--dump-dom",
         f"--user-data-dir={tmp_path}/profile", f"file://{tmp_path}/page.html"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = json.loads(html.unescape(re.search(r'data-found="(.*?)"', got.stdout)[1]))
    assert found["width"] == 1300
    assert len(set(found["cards"])) == 1, "the cards are in one row"
    assert max(found["ends"]) < 900
    assert max(found["sides"]) < 1300
