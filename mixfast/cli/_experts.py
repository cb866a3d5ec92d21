"""Tables of experts, as several commands read them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mixfast._text.numbers import size
from mixfast.cli._console import detail
from mixfast.cli._options import Group
from mixfast.cli._progress import progress
from mixfast.cli._refusals import InputError, is_given, no_effect

if TYPE_CHECKING:
    from mixfast.tables import ExpertTable

# The options for folders of the MixMin code, as attributes.
TABLE_OPTIONS = ("task", "conditional")


def add_table(parser: argparse.ArgumentParser) -> None:
    """Add the table of experts that a command reads, and its options."""
    parser.add_argument(
        "table", metavar="TABLE", help="table of experts: npz, npy, a folder of parts, or a folder of the MixMin code"
    )
    add_table_options(parser)


def add_table_options(parser: Group) -> None:
    """Add the options for folders of the MixMin code."""
    parser.add_argument(
        "--task",
        metavar="NAME",
        action="append",
        help="for folders of the MixMin code: task to read (repeatable; each becomes a group)",
    )
    parser.add_argument(
        "--conditional",
        action="store_true",
        help="for folders of the MixMin code: subtract the log-likelihood of the prompt",
    )


def load_table(args: argparse.Namespace, path: str) -> ExpertTable:
    """Read the table with the options of the command."""
    from mixfast.tables import ExpertTable

    with progress(f"reading {path}"):
        table = ExpertTable.load(path, task=args.task, conditional=args.conditional)
    detail(
        f"read {path}: {table.n_rows:,} rows x {table.n_domains:,} domains, {table.dtype.name}, {size(table.nbytes)}"
    )
    return table


def refuse_table_options(args: argparse.Namespace, path: str | None) -> None:
    """Refuse the options for folders, because `path` is not a table, or no file is given."""
    if given := [f"--{name}" for name in TABLE_OPTIONS if is_given(args, f"--{name}")]:
        why = "no file is given" if path is None else f"{path} is not a folder of experts"
        raise InputError(f"{no_effect(given)}: {why}")
