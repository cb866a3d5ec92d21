"""``python -m benchmarks.ratios FILE.json``: the table of ratios of a run of the suites, from the file of pytest-benchmark.

A ratio is the median of a contender over the median of ours in the same group; above 1, ours is faster.
An answer that misses the requested gap has a time but no ratio. Lines are appended to
``results/<suite>.csv``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import facts

UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))


def amount(seconds: float) -> str:
    """Three digits and a unit."""
    size, name = next(((size, name) for size, name in UNITS if seconds >= size), UNITS[-1])
    return f"{seconds / size:.3g} {name}"


def seconds(benchmark: dict[str, Any]) -> float:
    """Return the median seconds of a call, or of one sample if a call makes many."""
    return float(benchmark["stats"]["median"]) / benchmark["extra_info"].get("per", 1)


def table(found: dict[str, Any]) -> Iterator[str]:
    """Return the lines to print."""
    where = found["machine_info"]["mixfast"]
    yield (
        f"{where['machine']}, {where['cores']} cores, {where['threads']} thread(s), commit {where['commit']}, "
        f"load {where['load']:.1f}; median seconds, times ours"
    )
    every = [*found["benchmarks"], *found["skipped"], *found["failed"]]
    for group in dict.fromkeys(one["group"] for one in every):
        measured = [one for one in found["benchmarks"] if one["group"] == group]
        info = measured[0]["extra_info"] if measured else {}
        size = f"  ({info['rows']} x {info['domains']})" if info.get("rows") and info.get("domains") else ""
        unit = f", a {info['unit']}" if "unit" in info else ""
        yield f"\n{group or 'not begun'}{size}{unit}"
        ours = next((seconds(one) for one in measured if one["extra_info"]["ours"]), None)
        for one in measured:
            extra = one["extra_info"]
            yield _line(extra["contender"], seconds(one), None if "short" in extra else ours, _remarks(extra))
        for one in measured:
            for name, limit in one["extra_info"]["limits"].items():
                yield _line(f"limit: {name}", limit / one["extra_info"].get("per", 1), ours, "")
        for word in ("skipped", "failed"):
            for one in found[word]:
                if one["group"] == group:
                    yield f"  {one['contender']:<34} {word}: {one['reason']}"


def _line(name: str, value: float, ours: float | None, remarks: str) -> str:
    ratio = f"{value / ours:10.3g} x" if ours else " " * 12
    return f"  {name:<34} {amount(value):>10} {ratio}  {remarks}".rstrip()


def _remarks(extra: dict[str, Any]) -> str:
    gap = [f"gap {extra['gap']:.1e}"] if extra.get("gap") is not None else []
    return ", ".join(gap + [extra[key] for key in ("short", "note") if extra.get(key)])


def rows(found: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Lines of the result files, by suite."""
    shared = {key: value for key, value in found["machine_info"]["mixfast"].items() if key != "load"}
    out: dict[str, list[dict[str, Any]]] = {}
    for one in found["benchmarks"]:
        extra = one["extra_info"]
        line = {
            **shared, "quick": 0, "checked": 1, "problem": extra.get("problem", one["group"]), "rows": extra.get("rows", 0),
            "domains": extra.get("domains", 0), "contender": extra["contender"], "unit": "s", "gap": extra.get("gap", "nan"),
            "quantity": extra.get("quantity") or f"a {extra.get('unit', 'call')}", "repeats": one["stats"]["rounds"],
            "value": seconds(one), "note": extra.get("note", ""),
        }  # fmt: skip
        lines = out.setdefault(Path(one["fullname"].split("::")[0]).stem.removeprefix("test_"), [])
        lines.append(line)
        for name, limit in extra["limits"].items():
            limited = {
                "contender": "limit",
                "quantity": name,
                "value": limit / extra.get("per", 1),
                "gap": "nan",
                "note": "",
            }
            lines.append(line | limited | {"repeats": 1})
    return out


def main(arguments: list[str]) -> int:
    """Print the table of a file and append its lines to the results."""
    path = Path(arguments[0])
    if not path.exists() or not path.stat().st_size:
        print("no benchmark has run")
        return 1
    found = json.loads(path.read_text(encoding="utf-8"))
    print(*table(found), sep="\n")
    for suite, lines in rows(found).items():
        facts.append(facts.RESULTS / f"{suite}.csv", lines)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
