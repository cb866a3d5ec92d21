"""Everything that commands print goes through here: nothing that a file or an argument holds acts on a terminal."""

from __future__ import annotations

import sys

from mixfast._text.visible import in_lines, visible
from mixfast.cli._streams import print_product


def say(*lines: str, error: bool = False) -> None:
    """Print lines on stdout or on stderr, each of which stays one."""
    print(in_lines(lines), file=sys.stderr if error else sys.stdout)


def show(report: object, *, flush: bool = False) -> None:
    """Print a report of several lines, in which names have been made visible."""
    print(visible(str(report), keep="\n"), flush=flush)


def tell(text: str) -> None:
    """Print one line on stderr, behind the name of the program."""
    print(f"mixfast: {visible(' '.join(text.split()))}", file=sys.stderr, flush=True)


def put(text: str) -> None:
    """Print text for a program to read, unchanged; the caller has made sure that it is safe to show."""
    print_product(text)


def overwrite(text: str) -> None:
    """Put one line in place of the last one on a terminal's stderr."""
    print(f"\r\x1b[K{visible(text)}", end="", file=sys.stderr, flush=True)
