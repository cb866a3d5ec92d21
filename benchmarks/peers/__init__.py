"""Peers of `mixfast`: one file for each, an adapter with `name`, `job`, `reason()`, `run` and, if needed, `prepare`.

name : its name in the tables.
job : the benchmark it takes part in, or a tuple of them.
reason() : why it cannot run on this machine, or None.
prepare(case) : work that is not timed: other dtypes, compilation, a data set. It raises `Unable` for a case that the peer does not support.
run(ready) : the timed work on the result of `prepare` (without one: on the case); it returns the answer, which the suite checks.
timer : only for a peer that runs in another process and reports its own seconds: `peers.reported`.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class Unable(Exception):
    """A peer does not support this case; the table shows the text, which says why."""


@dataclass(frozen=True)
class Contender:
    """A contender of a benchmark; the module's docstring explains the fields."""

    name: str
    run: Callable[[Any], Any]
    reason: Callable[[], str | None] = lambda: None
    prepare: Callable[[Any], Any] = lambda case: case
    timer: Callable[[], float] | None = None

    @property
    def ours(self) -> bool:
        """Whether this is mixfast itself."""
        return self.name.startswith("mixfast")


class Reported:
    """A clock that advances only by the seconds that peers in other processes report."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def add(self, seconds: float) -> None:
        """Advance the clock by the seconds of a peer."""
        self.now += seconds


reported = Reported()


def lacks(*modules: str) -> str | None:
    """The reason of a peer whose modules are not installed."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


def modules() -> list[Any]:
    """All adapters."""
    return [
        importlib.import_module(f"{__name__}.{found.name}")
        for found in pkgutil.iter_modules(__path__)
        if found.name[0] != "_"
    ]


def of(job: str) -> list[Contender]:
    """The peers of a job."""
    chosen = [one for one in modules() if one.job == job or (isinstance(one.job, tuple) and job in one.job)]
    optional = ("prepare", "timer")
    return [
        Contender(one.name, one.run, one.reason, **{key: getattr(one, key) for key in optional if hasattr(one, key)})
        for one in chosen
    ]
