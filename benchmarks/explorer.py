"""Measure how fast the explorer's page follows a drag, in Chromium: ``python -m benchmarks.explorer``.

For each law, a page of 64 domains and 60 metrics with 200 runs is opened, and sliders are dragged to and fro: that of a domain, and that of a
metric with 0, 5 and all other metrics held. `table` is a page of 20,000 rows, 64 domains and 5 groups. An update computes the mixture and all
predictions, and writes and paints what is on the screen.

The columns are CPU time for each update: of the page's main thread, which must stay below 33 ms for 30 updates a second; its parts script and
layout (the rest is mostly paint); and of all processes of Chromium, which paint on further threads. Other programs disturb these less than the
last column: the updates that the page drew in a second, of at most 60.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
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
KINDS = ("linear", "log_linear", "epochs", "gp", "table")
HELD = (0, 5, METRICS - 1)
UPDATES = 60

# Drags a slider to and fro around its place, one position for each frame; returns the seconds.
_DRAG = """async ([label, updates, reach]) => {
    const slider = [...document.querySelectorAll("input[type=range]")].find((one) => one.getAttribute("aria-label").startsWith(label));
    const middle = slider.valueAsNumber;
    slider.focus();
    const nextFrame = () => new Promise((done) => requestAnimationFrame(done));
    await nextFrame();
    const began = performance.now();
    for (let i = 1; i <= updates; i++) {
        slider.value = middle + reach * Math.sin(i / 5);
        slider.dispatchEvent(new Event("input"));
        await nextFrame();
    }
    const seconds = (performance.now() - began) / 1000;
    slider.dispatchEvent(new Event("change"));
    await nextFrame();
    return seconds;
}"""


def law_of(kind: str, domains: int = DOMAINS, metrics: int = METRICS) -> tuple[Fit, mixfast.Swarm]:
    """Return a law of this kind for many metrics, and its runs. Few metrics are fitted, and the others repeat them."""
    rng = np.random.default_rng(0)
    names = _names(domains)
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


def table_of(rows: int = 20_000, domains: int = DOMAINS, groups: int = 5) -> mixfast.ExpertTable:
    """Return a table of experts at random log-likelihoods."""
    rng = np.random.default_rng(0)
    return mixfast.ExpertTable.from_loglik(
        np.minimum(rng.normal(-2.0, 0.6, (rows, domains)), 0.0), domains=_names(domains), group=np.arange(rows) % groups
    )


def _names(domains: int) -> list[str]:
    return [f"{('web', 'code', 'books', 'maths')[k % 4]}/part_{k:02d}" for k in range(domains)]


def measured(path: Path) -> Iterator[tuple[str, list[float], float]]:
    """Yield what is dragged, the milliseconds of CPU for each update by part, and the updates in a second, on a page."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1300, "height": 900})
        tab.goto(path.as_uri())
        tab.get_by_text("…").first.wait_for(state="detached", timeout=120_000)
        clock = tab.context.new_cdp_session(tab)
        clock.send("Performance.enable", {"timeDomain": "threadTicks"})
        yield "a domain", *_drag(tab, clock, "Share of web/part_00", 150)
        holds = tab.get_by_label("Hold ")
        for count in [one for one in HELD if one < holds.count()]:
            for j in range(1, count + 1):
                holds.nth(j).check()
            yield f"a metric, {count} held", *_drag(tab, clock, "Goal for ", -25)
        browser.close()


def _drag(tab: Any, clock: Any, label: str, reach: int) -> tuple[list[float], float]:
    tab.evaluate(_DRAG, [label, UPDATES // 4, reach])
    before = _spent(clock)
    seconds = tab.evaluate(_DRAG, [label, UPDATES, reach])
    return [1000 * (after - one) / UPDATES for one, after in zip(before, _spent(clock), strict=True)], UPDATES / seconds


def _spent(clock: Any) -> list[float]:
    """Return the seconds of CPU so far: of the page's main thread, of its script, of its layout, and of all processes of Chromium."""
    found = {one["name"]: one["value"] for one in clock.send("Performance.getMetrics")["metrics"]}
    return [found["TaskDuration"], found["ScriptDuration"], found["LayoutDuration"], _processes(os.getpid())]


def _processes(parent: int) -> float:
    """Return the seconds of CPU of all processes below this one, on Linux; NaN elsewhere."""
    if not Path("/proc/self/stat").exists():
        return math.nan
    below: dict[int, list[tuple[int, float]]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            words = path.read_text().rpartition(")")[2].split()
            spent = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
            below.setdefault(int(words[1]), []).append((int(path.parent.name), spent))
    todo, total = [parent], 0.0
    while todo:
        for child, spent in below.get(todo.pop(), []):
            todo.append(child)
            total += spent
    return total


def page_of(kind: str) -> report.Page:
    """Return the page of a law or table of this kind, with limits and a mixture to compare with."""
    law, swarm = (table_of(), None) if kind == "table" else law_of(kind)
    region = mixfast.Region(
        law.domains, cap=0.2, bounds={"code": ([name for name in law.domains if "code" in name], 0.1, 0.4)}
    )
    first = region.project(np.random.default_rng(0).dirichlet(np.ones(len(law.domains))))
    return report.explore(law, region, {"first run": mixfast.Mixture(law.domains, first)}, swarm=swarm)


def main(argv: Sequence[str] | None = None) -> None:
    """Print one row for each law and drag."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--law", choices=KINDS, action="append", help="what to measure (repeatable; default: all)")
    args = parser.parse_args(argv)
    print(
        "| law | dragged | main thread | script | layout | all processes | updates a second |\n|---|---|---|---|---|---|---|"
    )
    for kind in args.law or KINDS:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "page.html"
            page_of(kind).save(path)
            for what, times, rate in measured(path):
                cells = " | ".join(f"{one:.1f} ms" for one in times)
                print(f"| {kind} | {what} | {cells} | {rate:.0f} |", flush=True)


if __name__ == "__main__":
    main()
