"""``python -m benchmarks.compare BASE [arguments of pytest]``: compare this checkout with another revision, benchmark by benchmark.

The revision is checked out into ``build/compare`` and built there, once. The suites of this checkout then run on both packages, alternately,
in separate processes, so that the same code measures both; what the older package lacks is listed with its reason. The fastest round of
each process counts: in processor time with one thread, in wall time with several (``--threads``). Other work on the machine changes these least.

It prints the seconds of both, the ratio base / here (above 1, this checkout is faster; median of the pairs) and an interval that contains the
median with at least 95 % for any distribution (order statistics of the pairs). ``ROUNDS`` pairs are run (environment; 6 by default, the fewest that
give such an interval); ``KEEP`` names a folder for the files of pytest-benchmark.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import facts
from benchmarks.ratios import amount

BUILD = facts.ROOT / "build" / "compare"
ROUNDS = 6
SECONDS = "0.15"


def revision(base: str) -> str:
    """The short name of a commit."""
    command = ["git", "rev-parse", "--short=12", "--verify", f"{base}^{{commit}}"]
    done = subprocess.run(command, cwd=facts.ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{base!r} names no commit of this repository")
    return done.stdout.strip()


def built(commit: str) -> Path:
    """The folder into which that revision is installed; made at the first call."""
    site, tree = BUILD / commit / "site", BUILD / commit / "tree"
    if (site / "mixfast").is_dir():
        return site
    shutil.rmtree(BUILD / commit, ignore_errors=True)
    subprocess.run(["git", "worktree", "prune"], cwd=facts.ROOT, check=True)
    subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(tree), commit], cwd=facts.ROOT, check=True)
    try:
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        install += ["--no-build-isolation", "--target", str(BUILD / commit / "new"), str(tree)]
        subprocess.run(install, cwd=BUILD, check=True)
        (BUILD / commit / "new").rename(site)
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=facts.ROOT, check=True)
    return site


def here() -> Path:
    """Copy this checkout's package, so that files may be edited while the suites run."""
    site = BUILD / "here"
    shutil.rmtree(site, ignore_errors=True)
    for source, target in (
        (facts.ROOT / "mixfast", site / "mixfast"),
        (facts.ROOT / "kernels", site / "mixfast" / "kernels"),
    ):
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    return site


def suites() -> Path:
    """Make a folder from which only `benchmarks` of this checkout is imported."""
    folder = BUILD / "suites"
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / "benchmarks"
    if not link.is_symlink():
        link.symlink_to(facts.ROOT / "benchmarks", target_is_directory=True)
    return folder


def run(packages: list[Path], arguments: list[str], out: Path) -> dict[str, Any]:
    """Run the suites once on a package and return the figures of pytest-benchmark."""
    out.unlink(missing_ok=True)
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(facts.ROOT / "pyproject.toml"),
        "--rootdir", str(facts.ROOT), f"--benchmark-json={out}", "--benchmark-quiet", f"--benchmark-max-time={SECONDS}",
        "--ours", *arguments,
    ]  # fmt: skip
    if not any(word == "--threads" or word.startswith("--threads=") for word in arguments):
        command.append("--benchmark-timer=time.process_time")
    if not any(word.startswith("benchmarks") for word in arguments):
        command.append("benchmarks")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, packages)), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(command, cwd=suites(), env=environment, capture_output=True, text=True, check=False)
    if not out.exists() or not out.stat().st_size:
        raise SystemExit(f"no benchmark has run on {packages[0]}:\n{done.stdout[-3000:]}{done.stderr[-2000:]}")
    return json.loads(out.read_text(encoding="utf-8"))


def interval(values: list[float]) -> tuple[float, float]:
    """Return order statistics that contain the median with at least 95 %; the extremes if there are too few values."""
    n, ordered = len(values), sorted(values)
    # Symmetric pairs of order statistics, starting with the extremes: the probability that the median is outside of both.
    out, outside = 0, 2.0 * 0.5**n
    while out + 1 < n / 2 and (more := outside + 2.0 * math.comb(n, out + 1) * 0.5**n) <= 0.05:
        out, outside = out + 1, more
    return ordered[out], ordered[n - 1 - out]


def _least(benchmark: dict[str, Any]) -> float:
    """Return the seconds of the fastest round, which other work on the machine changes least."""
    return float(benchmark["stats"]["min"]) / benchmark["extra_info"].get("per", 1)


def table(pairs: list[tuple[dict[str, Any], dict[str, Any]]], base: str) -> list[str]:
    """Return the lines to print, from the files of (base, here)."""
    both = [[{one["fullname"]: _least(one) for one in found["benchmarks"]} for found in pair] for pair in pairs]
    names = [name for name in both[0][1] if all(name in one for pair in both for one in pair)]
    lines = [f"{'benchmark':<62} {base:>10} {'here':>10}  ratio  95 % interval of {len(pairs)} pairs"]
    ratios = []
    for name in names:
        old, new = ([pair[side][name] for pair in both] for side in (0, 1))
        each = [a / b for a, b in zip(old, new, strict=True)]
        low, high = interval(each)
        ratios.append(median(each))
        shown = name.rpartition("/")[2].removeprefix("test_")
        lines.append(
            f"{shown:<62} {amount(median(old)):>10} {amount(median(new)):>10}  {ratios[-1]:5.3f}  {low:.3f} to {high:.3f}"
        )
    if ratios:
        lines.append(f"{'geometric mean':<84}  {math.exp(sum(map(math.log, ratios)) / len(ratios)):5.3f}")
    for side, where in ((0, base), (1, "here")):
        for word in ("skipped", "failed"):
            lines += [f"{word} {where}: {one['fullname']}: {one['reason']}" for one in pairs[-1][side][word]]
    return lines


def main(arguments: list[str]) -> int:
    """Build the base, run both alternately, print."""
    if not arguments or arguments[0].startswith("-"):
        print("which revision? make bench-compare BASE=<revision>", file=sys.stderr)
        return 2
    base, *rest = arguments
    commit = revision(base)
    sites = built(commit), here()
    folder = Path(os.environ.get("KEEP") or BUILD / "runs")
    folder.mkdir(parents=True, exist_ok=True)
    pairs = []
    # The first pair fills caches (compiled loops, files) and is dropped.
    for lap in range(int(os.environ.get("ROUNDS") or ROUNDS) + 1):
        order = (0, 1) if lap % 2 else (1, 0)  # the first of the pair alternates
        found = {
            side: run([sites[side], suites()], rest, folder / f"{('base', 'here')[side]}-{lap}.json") for side in order
        }
        if lap:
            pairs.append((found[0], found[1]))
        print(f"pair {lap} done" if lap else "warmed up", file=sys.stderr, flush=True)
    print(*table(pairs, base), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
