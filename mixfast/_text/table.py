"""Text tables with aligned columns, for terminals and ``print``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from mixfast._text.names import named

# Maximum characters of a cell.
_LONGEST = 400


def text_table(
    header: Sequence[str] | None, rows: Iterable[Sequence[str]], *, left: Collection[int] = (0,), indent: str = ""
) -> str:
    """Format rows, with an optional header; align the columns ``left`` to the left and the others to the right.

    Cells are shown like names by `named`, so that none can break its line or fill a screen.

    >>> print(text_table(["domain", "share"], [["web", "75.00%"], ["code", "9.50%"]]))
    domain   share
    web     75.00%
    code     9.50%
    """
    given = [*([] if header is None else [header]), *rows]
    lines = [[named(cell, _LONGEST) for cell in line] for line in given]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        (
            indent
            + "  ".join(
                cell.ljust(width) if place in left else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
        ).rstrip()
        for line in lines
    )
