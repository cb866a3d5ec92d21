"""A report with the explorer is read by everyone: contrast, names, focus and narrow screens, computed by Chromium."""

import itertools
import re

import browsing
import numpy as np
import pytest

import mixfast
from mixfast import report

browser = browsing.browser

DOMAINS = ["web", "code", "books", "wiki", "maths"]
# WCAG 2.1 AA, 1.4.3, for text of any size.
LEAST = 4.5

# Every text on the page with its colour and what is behind it; shades that let the ground through are blended.
CONTRASTS = """() => {
  const read = (colour) => {
    const numbers = colour.match(/[\\d.]+/g).map(Number);
    return { rgb: numbers.slice(0, 3), alpha: numbers[3] ?? 1 };
  };
  const over = (top, ground) => top.rgb.map((one, i) => top.alpha * one + (1 - top.alpha) * ground[i]);
  const ground = (node) => {
    if (!node) return [255, 255, 255];
    const own = read(getComputedStyle(node).backgroundColor);
    return own.alpha === 1 ? own.rgb : over(own, ground(node.parentElement));
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((one) => one / 255).map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (colour, behind) => {
    const [high, low] = [light(over(read(colour), behind)), light(behind)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  const out = [];
  const note = (node, style, words) => {
    const colour = node.closest("svg") ? style.fill : style.color;
    out.push([ratio(colour, ground(node)), `${node.tagName} ${node.className?.baseVal ?? node.className}`, words.trim().slice(0, 40)]);
  };
  for (const node of document.body.querySelectorAll("*")) {
    if (!node.checkVisibility({ visibilityProperty: true })) continue;
    const words = [...node.childNodes].filter((one) => one.nodeType === Node.TEXT_NODE).map((one) => one.data).join(" ");
    if (words.trim() && !["SCRIPT", "STYLE"].includes(node.tagName)) note(node, getComputedStyle(node), words);
    if (node.matches("input[type=number], input[type=search], textarea, select")) note(node, getComputedStyle(node), node.value || "value");
    if (node.placeholder) note(node, getComputedStyle(node, "::placeholder"), node.placeholder);
    for (const part of ["::before", "::after"]) {
      const style = getComputedStyle(node, part);
      if (!["none", "normal", '""'].includes(style.content)) note(node, style, style.content);
    }
  }
  return out;
}"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    ratios = rng.dirichlet(np.ones(5), 30)
    values = 2.0 + ratios @ rng.normal(size=(5, 3)) + 0.01 * rng.normal(size=(30, 3))
    swarm = mixfast.Swarm(ratios, values, domains=DOMAINS, metric_names=["a_loss", "b_loss", "c_loss"])
    law = mixfast.fit(swarm, "linear", folds=3)
    region = mixfast.Region.from_tokens(dict.fromkeys(DOMAINS, 10**9), 2 * 10**9, max_epochs=1)
    today = mixfast.Mixture(DOMAINS, [0.4, 0.3, 0.1, 0.1, 0.1])
    command = ["mixfast", "propose", "law.json"]
    page = report.page(
        mixfast.propose(law, region, kl=0.05), law, swarm, today, folds=3, when="2026-01-31", command=command
    )
    where = tmp_path_factory.mktemp("accessible") / "report.html"
    page.save(where)
    return where


def busy(tab):
    """Bring the page into a state that shows everything: a lock, a goal and its command, both stale, broken limits, shares outside the runs, gains and losses."""
    for summary in tab.locator("summary").all():
        summary.click()
    goal = tab.get_by_label("Goal for c_loss")
    goal.focus()
    tab.keyboard.press("ArrowLeft")
    tab.get_by_label("Lock code").check()
    tab.get_by_label("Other domains").select_option("proportion")
    number = tab.get_by_label("Share of maths in percent", exact=True)
    number.fill("90")
    number.press("Enter")
    tab.get_by_role("button", name="Copy as yaml").click()
    tab.get_by_label("by family").first.check()
    tab.wait_for_selector("#explorer p.bad")
    tab.wait_for_selector("#explorer tr.outside")
    assert tab.locator("#explorer pre.stale").is_visible()
    assert tab.locator("#explorer .told.stale").is_visible()
    assert tab.locator("#explorer td.worse").count() > 0
    assert tab.locator("#explorer td.better").count() > 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_every_text_stands_out_from_what_is_behind_it(browser, path, scheme, width):
    tab = browsing.opened(browser, path, color_scheme=scheme, viewport={"width": width, "height": 900})
    busy(tab)
    found = tab.evaluate(CONTRASTS)
    assert len(found) > 200
    assert {kind for _, kind, _ in found} >= {"P bad", "PRE stale", "P told stale", "CODE "}
    assert [one for one in found if one[0] < LEAST] == []
    # The numbers are those of WCAG: a grey of #767676 on white is the lightest that passes.
    tab.evaluate(
        '() => { document.body.innerHTML = \'<p style="color: #777; background: #fff">x</p><p style="color: #767676; background: #fff">y</p>\'; }'
    )
    pale, dark = (one[0] for one in tab.evaluate(CONTRASTS))
    assert pale < LEAST < dark
    assert tab.trouble == []
    tab.close()


def test_the_keyboard_reaches_every_control_in_the_order_of_the_page_and_shows_where_it_is(browser, path):
    tab = browsing.opened(browser, path)
    tab.wait_for_selector("#explorer button")
    wanted = tab.evaluate(
        """() => [...document.querySelectorAll("a[href], button, input, select, textarea, summary")]
            .filter((one) => !one.disabled && one.checkVisibility()).map((one, i) => (one.dataset.place = i))"""
    )
    seen = []
    for _ in wanted:
        tab.keyboard.press("Tab")
        seen.append(
            tab.evaluate(
                """() => {
                    const [one, style] = [document.activeElement, getComputedStyle(document.activeElement)];
                    return [Number(one.dataset.place), style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0, one.outerHTML];
                }"""
            )
        )
    assert [place for place, _, _ in seen] == wanted
    assert [html for _, ring, html in seen if not ring] == []
    assert tab.trouble == []
    tab.close()


def test_every_control_has_a_name_that_no_other_has(browser, path):
    tab = browsing.opened(browser, path)
    tab.wait_for_selector("#explorer button")
    names = tab.evaluate(
        """() => [...document.querySelectorAll("a[href], button, input, select, textarea, summary")].map((one) =>
            [one.closest("fieldset, section, nav")?.id ?? "", one.tagName, one.getAttribute("aria-label") || [...(one.labels ?? [])].map((label) => label.textContent).join(" ").trim()
            || one.textContent.trim()])"""
    )
    assert [one for one in names if not one[2]] == []
    mine = [tuple(one) for one in names if one[0] == "explore" and one[1] != "A"]
    assert sorted(one for one in set(mine) if mine.count(one) > 1) == []
    assert tab.locator("svg:visible").count() > 0
    assert all(tab.locator("[role=img]").evaluate_all("(all) => all.map((one) => one.getAttribute('aria-label'))"))
    assert tab.evaluate("document.documentElement.lang") == "en"
    levels = [int(one) for one in re.findall(r"<h(\d)", tab.content())]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert tab.trouble == []
    tab.close()


@pytest.mark.parametrize("width", [320, 360, 700, 1280])
def test_no_page_is_wider_than_the_screen(browser, path, width):
    tab = browsing.opened(browser, path, viewport={"width": width, "height": 900})
    busy(tab)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.trouble == []
    tab.close()
