"""Everything that commands print goes through here: nothing that a file or an argument holds acts on a terminal."""

from __future__ import annotations

import sys

from mixfast._text.visible import visible
from mixfast.cli._streams import print_product


def say(text: object = "", *, error: bool = False, flush: bool = False) -> None:
    """Print a line of the report, or several, on stdout or on stderr."""
    print(visible(str(text), keep="\n"), file=sys.stderr if error else sys.stdout, flush=flush)


def tell(text: str) -> None:
    """Print one line on stderr, behind the name of the program."""
    print(f"mixfast: {visible(' '.join(text.split()))}", file=sys.stderr, flush=True)


def put(text: str) -> None:
    """Print text for a program to read, unchanged; the caller has made sure that it is safe to show."""
    print_product(text)


def overwrite(text: str) -> None:
    """Put one line in place of the last one on a terminal's stderr."""
    print(f"\r\x1b[K{visible(text)}", end="", file=sys.stderr, flush=True)
