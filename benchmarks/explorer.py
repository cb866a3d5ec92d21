"""Measure how fast the explorer's page follows a drag, in Chromium: ``python -m benchmarks.explorer``.

For each law, a page of 64 domains and 60 metrics with 200 runs is opened, and sliders are dragged to and fro: that of a domain, and that of a
metric with 0, 5 and all other metrics held. An update computes the mixture, all predictions and all error bars, writes them and lays the
page out. The table has the median and the 95th percentile of the milliseconds that an update takes, and the updates that the page draws in
a second; Chromium draws at most 60.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import mixfast
from mixfast import report
from mixfast.laws import Fit, fit

DOMAINS, METRICS, RUNS = 64, 60, 200
# Metrics that are fitted; the others repeat them, because fitting is not what is measured.
FITTED = 3
KINDS = ("linear", "log_linear", "epochs", "gp")
HELD = (0, 5, METRICS - 1)
UPDATES = 60

# Adds up the milliseconds that the callbacks of frames take, with the layout that they cause.
_CLOCK = """
    window.work = 0;
    const ask = window.requestAnimationFrame.bind(window);
    window.requestAnimationFrame = (act) => ask((now) => {
        const start = performance.now();
        act(now);
        document.body.getBoundingClientRect();
        window.work += performance.now() - start;
    });
    window.nextFrame = () => new Promise((done) => ask(done));
"""
# Drags a slider to and fro around its place, one position for each frame; returns the milliseconds of each update, and the seconds of all.
_DRAG = """async ([label, updates, reach]) => {
    const slider = [...document.querySelectorAll("input[type=range]")].find((one) => one.getAttribute("aria-label").startsWith(label));
    const middle = slider.valueAsNumber;
    slider.focus();
    const times = [];
    await nextFrame();
    const began = performance.now();
    for (let i = 1; i <= updates; i++) {
        slider.value = middle + reach * Math.sin(i / 5);
        window.work = 0;
        const start = performance.now();
        slider.dispatchEvent(new Event("input"));
        const handled = performance.now() - start;
        await nextFrame();
        times.push(handled + window.work);
    }
    const seconds = (performance.now() - began) / 1000;
    slider.dispatchEvent(new Event("change"));
    await nextFrame();
    return [times, seconds];
}"""


def law_of(kind: str, domains: int = DOMAINS, metrics: int = METRICS) -> tuple[Fit, mixfast.Swarm]:
    """Return a law of this kind for many metrics, and its runs. Few metrics are fitted, and the others repeat them."""
    rng = np.random.default_rng(0)
    names = [f"{('web', 'code', 'books', 'maths')[k % 4]}/part_{k:02d}" for k in range(domains)]
    ratios = rng.dirichlet(np.ones(domains), RUNS)
    values = 1.0 + np.exp(ratios @ rng.normal(size=(domains, FITTED))) + 0.01 * rng.normal(size=(RUNS, FITTED))
    swarm = mixfast.Swarm(
        ratios, values, domains=names, metric_names=[f"m{j}_loss" for j in range(FITTED)],
        tokens=dict.fromkeys(names, 1e9), budget=3e10,
    )  # fmt: skip
    law = fit(swarm, kind, folds=0)
    (part,) = law.parts
    many = [j % FITTED for j in range(metrics)]
    named = [f"{('qa', 'code', 'text')[j % 3]}_{j:02d}_loss" for j in range(metrics)]
    spread = {name: law.spread[law.metrics[j]] for name, j in zip(named, many, strict=True)}
    return replace(
        law, metrics=tuple(named), direction=("min",) * metrics, unit=(law.unit[0],) * metrics, spread=spread, noise={}, diverged={},
        reports=(), parts=(replace(part, own=tuple(part.own[j] for j in many), columns=tuple(range(metrics))),),
    ), swarm  # fmt: skip


def measured(path: Path) -> Iterator[tuple[str, list[float], float]]:
    """Yield what is dragged, the milliseconds of each update, and the updates in a second, on a page."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1300, "height": 900})
        tab.add_init_script(_CLOCK)
        tab.goto(path.as_uri())
        tab.get_by_text("…").first.wait_for(state="detached", timeout=120_000)
        yield "a domain", *_drag(tab, "Share of web/part_00", 150)
        holds = tab.get_by_label("Hold ")
        for count in HELD if holds.count() else HELD[:1]:
            for j in range(1, count + 1):
                holds.nth(j).check()
            yield f"a metric, {count} held", *_drag(tab, "Goal for qa_00_loss", -25)
        browser.close()


def _drag(tab: Any, label: str, reach: int) -> tuple[list[float], float]:
    tab.evaluate(_DRAG, [label, UPDATES // 4, reach])
    times, seconds = tab.evaluate(_DRAG, [label, UPDATES, reach])
    return times, len(times) / seconds


def main(argv: Sequence[str] | None = None) -> None:
    """Print one row for each law and drag."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--law", choices=KINDS, action="append", help="law to measure (repeatable; default: all)")
    args = parser.parse_args(argv)
    print("| law | dragged | median | 95 % | updates a second |\n|---|---|---|---|---|")
    for kind in args.law or KINDS:
        law, swarm = law_of(kind)
        region = mixfast.Region(
            law.domains, cap=0.2, bounds={"code": ([name for name in law.domains if "code" in name], 0.1, 0.4)}
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "page.html"
            report.explore(
                law, region, {"first run": mixfast.Mixture(law.domains, region.project(swarm.ratios[0]))}, swarm=swarm
            ).save(path)
            for what, times, rate in measured(path):
                print(
                    f"| {kind} | {what} | {np.median(times):.1f} ms | {np.quantile(times, 0.95):.1f} ms | {rate:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
