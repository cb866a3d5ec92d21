"""``python -m benchmarks --set solve|nll|many|small|bootstrap|memory|all [--quick]``: measure, print, append to results/*.csv.

Each number of threads runs in its own process, pinned to as many processors, with every pool told the same number
before numpy is imported. A set whose tests fail is not measured.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results"
NAMES = ("solve", "nll", "many", "small", "bootstrap", "memory")
POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "MIXFAST_NUM_THREADS")
# What must pass before a speed is printed: a fast wrong answer is no answer.
TESTS = {
    "solve": ("tests/reference", "tests/solver/test_solver.py"),
    "nll": ("tests/reference", "tests/engine"),
    "many": ("tests/solver/test_solver.py",),
    "small": ("tests/solver/test_solver.py",),
    "bootstrap": ("tests/solver/test_bootstrap.py",),
    "memory": ("tests/solver/test_solver.py",),
}


def main(arguments: list[str] | None = None) -> int:
    options = _parse(arguments)
    if options.child:
        return _child(options)
    failed = False
    for which in NAMES if options.set == "all" else (options.set,):
        if not options.unchecked and (broken := _broken_tests(which)):
            print(f"{which}: not measured, its tests fail: {broken}", file=sys.stderr)
            failed = True
            continue
        for threads in options.threads:
            found = _measure(which, threads, options)
            _print_table(which, threads, found)
            _append(which, found)
            failed |= any(verdict["passed"] is False for verdict in found["verdicts"])
    return int(failed and options.strict)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--set", choices=[*NAMES, "all"], default="solve")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller problems, 5 s for each contender")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="default: 1 2")
    parser.add_argument("--limit", type=float, help="seconds a contender may take on a problem; 60, or 5 with --quick")
    parser.add_argument("--problems", nargs="*", default=[], help="only these")
    parser.add_argument("--contenders", nargs="*", default=[], help="only those whose name contains one of these words")
    parser.add_argument(
        "--unchecked", action="store_true", help="measure even if the tests fail, and say so in the results"
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a target is missed")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.limit = options.limit or (5.0 if options.quick else 60.0)
    return options


def _broken_tests(which: str) -> str:
    files = [file for file in TESTS[which] if (ROOT / file).exists()]
    if not files:
        return ""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "not slow", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout.strip().splitlines()[-1]


def _measure(which: str, threads: int, options: argparse.Namespace) -> dict[str, Any]:
    environment = {**os.environ, **dict.fromkeys(POOLS, str(threads))}
    path = RESULTS / f".{which}-{os.getpid()}.json"
    RESULTS.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "benchmarks", "--set", which, "--threads", str(threads), "--child", str(path)]
    command += ["--limit", str(options.limit), *(["--quick"] if options.quick else [])]
    command += ["--problems", *options.problems, "--contenders", *options.contenders]
    try:
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        found: dict[str, Any] = json.loads(path.read_text())
    finally:
        path.unlink(missing_ok=True)
    found["unchecked"] = options.unchecked
    return found


def _child(options: argparse.Namespace) -> int:
    threads = options.threads[0]
    # Pinned before numpy starts its threads, so that peers that ignore the environment are held to it as well.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    from benchmarks import contenders, runners

    chosen = runners.Options(threads, options.limit, options.quick, tuple(options.problems), tuple(options.contenders))
    records, verdicts = [], []
    for item in runners.run(options.set, chosen):
        (records if isinstance(item, runners.Record) else verdicts).append(asdict(item))
        print(_progress(item), file=sys.stderr, flush=True)
    facts = vars(runners.machine())
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    facts |= {"when": when, "threads": threads, "quick": options.quick, "versions": contenders.versions()}
    Path(options.child).write_text(json.dumps({"facts": facts, "records": records, "verdicts": verdicts}))
    return 0


def _progress(item: Any) -> str:
    if hasattr(item, "target"):
        return f"  {item.problem}: {item.target}: {item.figure}"
    return f"  {item.problem}: {item.contender} {item.quantity} {item.value:.4g} {item.unit} {item.note}".rstrip()


def _print_table(which: str, threads: int, found: dict[str, Any]) -> None:
    facts = found["facts"]
    print(f"\n## {which}, {threads} thread{'s' if threads > 1 else ''}{' (quick)' if facts['quick'] else ''}")
    print(f"{facts['machine']}, {facts['cores']} cores, commit {facts['commit']}, pools: {facts['pools']}")
    if found["unchecked"]:
        print("UNCHECKED: the tests of this set were not run first")
    for problem in dict.fromkeys(record["problem"] for record in found["records"]):
        mine = [record for record in found["records"] if record["problem"] == problem]
        print(f"\n{problem}  ({mine[0]['rows']} x {mine[0]['domains']})")
        for contender in dict.fromkeys(record["contender"] for record in mine):
            rows = [record for record in mine if record["contender"] == contender]
            cells = ", ".join(f"{row['quantity']}: {_amount(row['value'], row['unit'])}" for row in rows)
            gap = "" if math.isnan(rows[0]["gap"]) else f" | gap {rows[0]['gap']:.1e}"
            note = f" | {rows[0]['note']}" if rows[0]["note"] else ""
            print(f"  {contender:24s} {cells}{gap}{note}")
    if found["verdicts"]:
        print()
    for verdict in found["verdicts"]:
        word = {True: "PASS", False: "FAIL", None: "    "}[verdict["passed"]]
        print(f"  {word} {verdict['problem']}: {verdict['target']}: {verdict['figure']}")


def _amount(value: float, unit: str) -> str:
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "not reached"
    if unit != "s":
        return f"{value:.4g} {unit}"
    size, name = next(
        (size, name) for size, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")) if value >= size or name == "us"
    )
    return f"{value / size:.3g} {name}"


def _append(which: str, found: dict[str, Any]) -> None:
    """One line a record and a verdict; the columns never change, so that files of many machines can be joined."""
    facts = found["facts"]
    shared = {
        "when": facts["when"],
        "commit": facts["commit"],
        "machine": facts["machine"],
        "cores": facts["cores"],
        "threads": facts["threads"],
        "pools": facts["pools"],
        "quick": int(facts["quick"]),
        "checked": int(not found["unchecked"]),
    }
    empty = {"rows": "", "domains": "", "contender": "", "value": "", "unit": "", "gap": "", "repeats": ""}
    rows: list[dict[str, Any]] = [
        {**shared, **record, "passed": "", "versions": facts["versions"]} for record in found["records"]
    ]
    rows += [
        {
            **shared,
            **empty,
            "problem": verdict["problem"],
            "quantity": f"target: {verdict['target']}",
            "note": verdict["figure"],
            "passed": "" if verdict["passed"] is None else int(verdict["passed"]),
            "versions": facts["versions"],
        }
        for verdict in found["verdicts"]
    ]
    _write(RESULTS / f"{which}.csv", rows)


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    rows = list(rows)
    if not rows:
        return
    columns = [
        *("when", "commit", "machine", "cores", "threads", "pools", "quick", "checked", "problem", "rows", "domains"),
        *("contender", "quantity", "value", "unit", "gap", "repeats", "note", "passed", "versions"),
    ]
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns)
        if new:
            writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    sys.exit(main())
