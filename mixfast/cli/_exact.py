"""The command line behind a goal in an explorer's page: the page adds the goal to it, and it finds the least change exactly."""

from __future__ import annotations

import argparse

from mixfast.cli._experts import TABLE_OPTIONS

# Options of limits that `propose` and `solve` take as well.
_LIMITS = ("tokens", "budget", "max_epochs", "cap", "floor", "limit")


def of_laws(args: argparse.Namespace, law: str) -> list[str]:
    """Return the words of `mixfast propose` with the limits of this command; `law` is the file of the laws."""
    return ["mixfast", "propose", law, *_given(args, _LIMITS)]


def of_table(args: argparse.Namespace, table: str) -> list[str]:
    """Return the words of `mixfast solve` with the limits of this command; `table` is the file or folder of the table."""
    return ["mixfast", "solve", table, *_given(args, (*_LIMITS, *TABLE_OPTIONS))]


def _given(args: argparse.Namespace, names: tuple[str, ...]) -> list[str]:
    """Return the options of these names that have a value, as words."""
    words = []
    for name in names:
        values = getattr(args, name)
        option = f"--{name.replace('_', '-')}"
        if values is True:
            words.append(option)
        elif values is not None and values is not False:
            for value in values if isinstance(values, list) else [values]:
                words += [option, str(value)]
    return words
