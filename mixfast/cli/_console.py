"""Everything that commands print goes through here: nothing that a file or an argument holds acts on a terminal.

Results go to stdout; notes, warnings, details and progress to stderr. How much of them is printed is the `Manner` of the command.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mixfast._text.visible import in_lines, visible
from mixfast.cli._streams import print_product


@dataclass
class Manner:
    """How a command prints messages, and which of them its JSON repeats.

    Attributes
    ----------
    quiet : bool
        Print no notes and no progress: ``--quiet``.
    verbose : bool
        Print what was read, how long each step took, and the steps of a solve: ``--verbose``.
    json : bool
        Print one JSON object in place of the report: ``--json``.
    notes, warnings : list of str
        The messages on stderr.
    """

    quiet: bool = False
    verbose: bool = False
    json: bool = False
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


_manner = Manner()


def manner() -> Manner:
    """Return the `Manner` of the command that runs."""
    return _manner


@contextmanager
def speaking(how: Manner) -> Iterator[None]:
    """Use a `Manner` for the messages of the block."""
    global _manner
    before, _manner = _manner, how
    try:
        yield
    finally:
        _manner = before


def say(*lines: str) -> None:
    """Print lines of the report on stdout, without wrapping them; with ``--json``, the object contains them instead."""
    if not _manner.json:
        print(in_lines(lines))


def show(report: object, *, flush: bool = False) -> None:
    """Print a report of several lines, in which names have been made visible; with ``--json`` the object says it."""
    if not _manner.json:
        print(visible(str(report), keep="\n"), flush=flush)


def tell(text: str) -> None:
    """Print one line on stderr, behind the name of the program."""
    print(f"mixfast: {visible(' '.join(text.split()))}", file=sys.stderr, flush=True)


def note(text: str) -> None:
    """Print a note on stderr, in one line; not with ``--quiet``."""
    _manner.notes.append(text)
    if not _manner.quiet:
        tell(f"note: {text}")


def warn(text: str) -> None:
    """Say on stderr what may be wrong with the result, in one line."""
    _manner.warnings.append(text)
    tell(f"warning: {text}")


def detail(text: str) -> None:
    """Print on stderr what was read or done; only with ``--verbose``."""
    if _manner.verbose:
        tell(text)


def beside(*lines: str) -> None:
    """Print the report on stderr, because stdout takes what another program reads; not with ``--quiet`` or ``--json``."""
    if not (_manner.quiet or _manner.json):
        print(in_lines(lines), file=sys.stderr)


def put(text: str) -> None:
    """Print text for a program to read, unchanged; the caller has made sure that it is safe to show."""
    print_product(text)


def overwrite(text: str) -> None:
    """Put one line in place of the last one on a terminal's stderr."""
    print(f"\r\x1b[K{visible(text)}", end="", file=sys.stderr, flush=True)
