"""The command line behind a goal in an explorer's page: the page adds the goal to it, and it finds the least change exactly."""

from __future__ import annotations

import argparse

# Options of limits that `propose` and `solve` take as well.
_LIMITS = ("tokens", "budget", "max_epochs", "cap", "floor", "limit")
# Options of how a table is read.
_READ = ("task", "conditional")


def of_laws(args: argparse.Namespace, law: str) -> list[str]:
    """Return the words of `mixfast propose` with the limits of this command; `law` is the file of the laws."""
    return ["mixfast", "propose", law, *_given(args, _LIMITS)]


def of_table(args: argparse.Namespace, table: str) -> list[str]:
    """Return the words of `mixfast solve` with the limits of this command; `table` is the file or folder of the table."""
    return ["mixfast", "solve", table, *_given(args, (*_LIMITS, *_READ))]


def _given(args: argparse.Namespace, names: tuple[str, ...]) -> list[str]:
    """Return the options of these names that have a value, as words."""
    words = []
    for name in names:
        values = getattr(args, name)
        option = f"--{name.replace('_', '-')}"
        if values is True:
            words.append(option)
            continue
        for value in values if isinstance(values, list) else [] if values in (None, False) else [values]:
            words += [option, str(value)]
    return words
