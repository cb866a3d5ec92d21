"""Numbers as a person reads them: shares, token counts, bytes, and tables of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

# Below this a share is rounding of zero to whoever reads percentages.
NOTHING = 5e-6


def grid(header: Sequence[str], rows: Iterable[Sequence[str]], indent: str = "") -> str:
    """Return rows under a header, the first column to the left and the others to the right."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    out = []
    for line in lines:
        cells = [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        out.append((indent + "  ".join(cells)).rstrip())
    return "\n".join(out)


def percent(share: float) -> str:
    """Return a share as a percentage; a trace of one is not shown as none."""
    return "0" if share <= 0.0 else "<0.01%" if share < NOTHING * 10 else f"{share:.2%}"


def tokens(number: float) -> str:
    """Return a token count in a few characters."""
    for power, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if number >= power:
            return f"{number / power:.4g}{suffix}"
    return f"{number:.0f}"


def size(number: float) -> str:
    """Return bytes in a few characters."""
    for power, suffix in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if number >= power:
            return f"{number / power:.3g} {suffix}"
    return f"{number:.0f} B"
