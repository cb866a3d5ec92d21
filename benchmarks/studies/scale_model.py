"""Put the recorded figures of `test_scale` and of `largest` into ``docs/explanation/scale.md``.

``python -m benchmarks.studies scale_model`` prints the tables from the newest lines of ``results/scale.csv``; ``--write`` puts them into the page.
"""

from __future__ import annotations

import csv
import re
from typing import Any

from benchmarks import facts
from benchmarks.ratios import amount

PAGE = facts.ROOT / "docs" / "explanation" / "scale.md"
READ, SWEEP = "numpy reads and sums the files, for each sweep", "our sweep of rows in memory, for each sweep"


def newest() -> dict[tuple[str, str, str], dict[str, Any]]:
    """Return the newest line for each problem, contender and quantity."""
    path = facts.RESULTS / "scale.csv"
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {(one["problem"], one["contender"], one["quantity"]): one for one in csv.DictReader(file)}


def table(head: list[str], lines: list[list[str]]) -> str:
    """Return a table in Markdown."""
    return "".join("| " + " | ".join(row) + " |\n" for row in [head, ["---"] * len(head), *lines])


def size(line: dict[str, Any]) -> str:
    """Return rows, domains and gigabytes in float16."""
    rows, domains = int(line["rows"]), int(line["domains"])
    return f"{rows:.3g} x {domains}, {rows * domains * 2e-9:.3g} GB".replace("e+0", "e")


def folders(found: dict[tuple[str, str, str], dict[str, Any]]) -> str:
    """Return the table of one process: measured seconds, the bounds of the model, and their ratio."""
    lines = []
    for (problem, contender, quantity), one in found.items():
        if (contender, quantity) != ("mixfast", "to gap 1e-08") or (problem, "limit", READ) not in found:
            continue
        read, sweep = (float(found[problem, "limit", key]["value"]) for key in (READ, SWEEP))
        seconds = float(one["value"])
        lines.append([
            size(one), amount(seconds), amount(sweep), amount(read), f"{seconds / sweep:.2f}", f"{seconds / max(sweep, read):.2f}", one["note"],
        ])  # fmt: skip
    head = ["folder", "solve", "sweeps in memory", "numpy reads and sums", "/ in memory", "/ the larger", "the solve"]
    return table(head, lines)


def ranks(found: dict[tuple[str, str, str], dict[str, Any]]) -> str:
    """Return the table of one and two ranks."""
    lines = []
    for (problem, contender, _), one in found.items():
        if not re.fullmatch(r"mixfast, \d ranks?(, .*)?", contender):
            continue
        alone = found.get((problem, "mixfast, 1 rank", "to gap 1e-08"))
        speed = f"{float(alone['value']) / float(one['value']):.2f}" if alone else ""
        lines.append([size(one), contender.removeprefix("mixfast, "), amount(float(one["value"])), speed, one["note"]])
    return table(["folder", "ranks of one thread", "solve", "times faster than one rank", "the solve"], lines)


def peers(found: dict[tuple[str, str, str], dict[str, Any]]) -> str:
    """Return the table of peers on two processes."""
    lines = []
    for (problem, contender, quantity), one in found.items():
        ours = found.get((problem, "mixfast, two processes", "to gap 1e-08"))
        if quantity != "to gap 1e-06" or ours is None:
            continue
        reached = float(one["gap"]) <= 1.01e-6
        ratio = float(one["value"]) / float(ours["value"])
        lines.append([
            size(one), contender, amount(float(one["value"])), f"{float(one['gap']):.1e}",
            f"{ratio:.1f}" if reached else f"more than {ratio:.1f}", one["note"],
        ])  # fmt: skip
    return table(["folder", "peer", "seconds", "gap", "times ours", "what it did"], lines)


def largest(found: dict[tuple[str, str, str], dict[str, Any]]) -> str:
    """Return the table of the largest folders."""
    lines = [
        [size(one), contender.removeprefix("mixfast, "), amount(float(one["value"])), f"{float(one['gap']):.1e}", one["note"]]
        for (_, contender, _), one in found.items()
        if contender in ("mixfast, from the disk", "mixfast, again")
    ]  # fmt: skip
    return table(["folder", "read", "solve", "gap by the reference", "the solve"], lines)


def run(write: bool = False) -> None:
    """Print the tables, or put them into the page."""
    found = newest()
    text = PAGE.read_text(encoding="utf-8")
    for make in (folders, ranks, peers, largest):
        made = make(found)
        print(f"{make.__name__}\n{made}")
        begin, end = f"<!-- {make.__name__} -->\n", f"<!-- end of {make.__name__} -->\n"
        before, rest = text.split(begin)
        text = before + begin + "\n" + made + "\n" + end + rest.split(end)[1]
    if write:
        PAGE.write_text(text, encoding="utf-8")
