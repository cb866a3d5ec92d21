"""Shared by the suites: the list of contenders, and the measurement of one of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from benchmarks import facts, peers
from benchmarks.peers import Contender, Unable

# Calls shorter than this are repeated until the time is used up; longer ones a few times, and the longest twice.
SHORT, LONG = 0.2, 2.0

# Groups whose limits have been measured.
_LIMITED: set[str] = set()


class Wrong(Exception):
    """The answer of a contender is wrong, so its time is not reported."""


def contenders(job: str, *ours: Contender) -> Any:
    """Parametrize a test with ours and all peers of a job."""
    return pytest.mark.parametrize(
        "contender",
        [
            pytest.param(
                one,
                id=one.name.lower().replace(" ", "-"),
                marks=[pytest.mark.benchmark(timer=one.timer)] if one.timer else [],
            )
            for one in (*ours, *peers.of(job))
        ],
    )


class Measure:
    """The fixture of every benchmark: one contender, one case."""

    def __init__(self, benchmark: Any, request: pytest.FixtureRequest) -> None:
        self.benchmark, self.node = benchmark, request.node
        self.patience = request.config.getoption("--patience")
        self.only_ours = request.config.getoption("--ours")
        self.seconds = float(request.config.getoption("--benchmark-max-time"))

    def __call__(
        self,
        contender: Contender,
        case: Any,
        *,
        group: str,
        check: Callable[[Any], Mapping[str, Any]] | None = None,
        limits: Callable[[], Mapping[str, float]] | None = None,
        **info: Any,
    ) -> None:
        """Run once to warm up and to check the answer, then measure.

        `check` takes the answer, raises `Wrong` if it is wrong, and returns additions to `extra_info`: `gap`, `note`, and `short` if a
        peer's answer misses the requested gap, so that its time has no ratio. `limits` returns the least time that the machine needs, in
        seconds; it is called once per group, with our contender. In `info`, `per` and `unit` say how many units a call computes ("sample");
        `rows` and `domains` are the size of the case.
        """
        self.node.user_properties += [("group", group), ("contender", contender.name)]
        if reason := contender.reason():
            pytest.skip(reason)
        try:
            ready = contender.prepare(case)
            began = time.perf_counter()
            answer = contender.run(ready)
            first = time.perf_counter() - began
            found = dict(check(answer)) if check else {}
        except Unable as problem:
            pytest.skip(str(problem))
        except Wrong as problem:
            pytest.fail(str(problem), pytrace=False)
        self.benchmark.group = group
        self.benchmark.extra_info.update(
            contender=contender.name, ours=contender.ours, machine=facts.processor(), threads=facts.threads(),
            load=round(os.getloadavg()[0], 2), limits={}, **info, **found,
        )  # fmt: skip
        if contender.ours and limits and not self.only_ours and group not in _LIMITED:
            _LIMITED.add(group)
            self.benchmark.extra_info["limits"] = dict(limits())
        if contender.timer or first > LONG:
            self.benchmark.pedantic(contender.run, args=(ready,))
        elif first > SHORT:
            self.benchmark.pedantic(contender.run, args=(ready,), rounds=max(3, int(self.seconds / first)))
        else:
            self.benchmark(contender.run, ready)
