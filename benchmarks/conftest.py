"""Options of the suites, the facts each figure carries, and what was skipped or failed, for the table of ratios."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

from benchmarks import facts

SKIPPED: list[dict[str, str]] = []
FAILED: list[dict[str, str]] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options in addition to those of pytest-benchmark."""
    group = parser.getgroup("mixfast")
    group.addoption("--threads", type=int, default=1, help="threads and processors the run is held to (default 1)")
    group.addoption("--patience", type=float, default=5.0, help="seconds a peer may take on a case (default 5)")
    group.addoption("--large", action="store_true", help="also the cases that take minutes or gigabytes")
    group.addoption("--ours", action="store_true", help="leave out peers and limits")


def pytest_configure(config: pytest.Config) -> None:
    """Pin the process before anything imports numpy, so that peers that ignore the environment obey it as well."""
    config.addinivalue_line("markers", "large: takes minutes or gigabytes; with --large only")
    if "numpy" in sys.modules:
        raise pytest.UsageError("numpy was imported before its threads were counted: run the benchmarks on their own")
    facts.pin(config.getoption("--threads"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out large cases and, with --ours, peers."""

    def wanted(item: pytest.Item) -> bool:
        if item.get_closest_marker("large") and not config.getoption("--large"):
            return False
        contender = getattr(getattr(item, "callspec", None), "params", {}).get("contender")
        return contender is None or contender.ours or not config.getoption("--ours")

    dropped = [item for item in items if not wanted(item)]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if wanted(item)]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the reasons of what was skipped and of what failed."""
    if report.outcome == "passed":
        return
    known = dict(report.user_properties)
    if report.skipped:
        text, into = str(report.longrepr[2]).removeprefix("Skipped: "), SKIPPED  # type: ignore[index]
    else:
        crash = getattr(report.longrepr, "reprcrash", None)
        text, into = (crash.message if crash else report.longreprtext).splitlines()[0], FAILED
    into.append({
        "fullname": report.nodeid, "group": str(known.get("group", "")), "reason": text,
        "contender": str(known.get("contender", report.nodeid)),
    })  # fmt: skip


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Add the facts of the run."""
    machine_info["mixfast"] = facts.shared() | {"load": os.getloadavg()[0]}


def pytest_benchmark_update_json(config: pytest.Config, benchmarks: list[Any], output_json: dict[str, Any]) -> None:
    """Drop the time of a benchmark whose answer is wrong, and record why a benchmark could not run."""
    failed = {one["fullname"] for one in FAILED}
    output_json["benchmarks"] = [one for one in output_json["benchmarks"] if one["fullname"] not in failed]
    output_json["skipped"], output_json["failed"] = SKIPPED, FAILED


@pytest.fixture
def measure(benchmark: Any, request: pytest.FixtureRequest) -> Any:
    """Measure a contender on a case; see `suite.Measure`."""
    from benchmarks.suite import Measure

    return Measure(benchmark, request)
