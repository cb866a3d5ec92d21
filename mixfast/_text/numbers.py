"""Numbers in the form in which people write and read them: shares, token counts and bytes."""

from __future__ import annotations

import math
from collections.abc import Iterable

from mixfast._text.names import shown

# Larger numbers are mistakes, and their sums and squares overflow; infinity means no limit.
LARGEST = 1e100
# Smaller shares look like 0 in percent.
NOTHING = 5e-6
# Numbers in columns of quality have at most this many characters.
_WIDE = 6
# Suffixes of token counts and their powers of ten.
POWERS = {"K": 3, "M": 6, "B": 9, "G": 9, "T": 12}


def count(text: str) -> int:
    """Parse a whole number of tokens, such as ``300``, ``2_000``, ``1e9`` or ``1.5T``."""
    from decimal import Decimal, InvalidOperation

    bare = text.strip().upper()
    power = POWERS.get(bare[-1:], 0)
    try:
        value = Decimal(bare[:-1] if power else bare)
    except InvalidOperation:
        value = Decimal("NaN")
    # Compare before scaling: 1e999999999 would become an integer with as many digits.
    if not value.is_finite() or not 0 <= value < 2**63:
        raise ValueError(
            f"{shown(text)} is no number of tokens below 2**63; write it like 300, 2_000, 750K, 1.5T or 1e9"
        )
    value = value.scaleb(power)
    if 0 < value < 1:
        raise ValueError(
            f"{shown(text)} is a share, expected a whole number of tokens, like 300, 2_000, 750K, 1.5T or 1e9"
        )
    if value != value.to_integral_value() or value >= 2**63:
        raise ValueError(f"{shown(text)} is no whole number of tokens below 2**63")
    return int(value)


def number(text: str) -> float:
    """Parse a number such as ``0.2`` or ``20%``."""
    bare = text.strip()
    try:
        value = float(bare.removesuffix("%")) / (100.0 if bare.endswith("%") else 1.0)
    except ValueError:
        value = float("nan")
    if value != value:
        raise ValueError(f"{shown(text)} is no number; write it like 0.2 or 20%")
    if LARGEST < abs(value) < math.inf:
        raise ValueError(f"{shown(text)} is beyond {LARGEST:g}, where sums overflow; for no limit, write inf")
    return value


def total(numbers: Iterable[float]) -> float:
    """Return the exact sum of non-negative numbers; infinity if it overflows float64."""
    try:
        return math.fsum(numbers)
    except OverflowError:
        return math.inf


def percent(share: float) -> str:
    """Return a share as a percentage; a very small share is not shown as 0."""
    return "0" if share <= 0.0 else "<0.01%" if share < NOTHING * 10 else f"{share:.2%}"


def decimals(value: float, places: int) -> str:
    """Return a number with this many decimals, or fewer where it would exceed six characters; infinity where a power of ten would.

    >>> decimals(0.98765, 3), decimals(-12345.678, 3), decimals(-1.7e30, 3), decimals(-1.7e260, 3)
    ('0.988', '-12346', '-2e+30', '-inf')
    """
    for kept in range(places, -1, -1):
        if len(text := f"{value:.{kept}f}") <= _WIDE:
            return text
    text = f"{value:.0e}"
    return text if len(text) <= _WIDE else "inf" if value > 0.0 else "-inf"


def tokens(number: float) -> str:
    """Return a token count as a short text."""
    for power, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if number >= power:
            return f"{number / power:.4g}{suffix}"
    return f"{number:.0f}"


def size(number: float) -> str:
    """Return a number of bytes as a short text."""
    for power, suffix in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if number >= power:
            return f"{number / power:.3g} {suffix}"
    return f"{number:.0f} B"
