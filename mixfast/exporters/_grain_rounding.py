"""The shares that grain makes of the ones it is given."""

from __future__ import annotations

from collections.abc import Mapping

# Below this relative change the two are the same for every purpose.
_SAID = 1e-4


def grain_shares(shares: Mapping[str, float]) -> dict[str, float]:
    """Return shares after grain's rounding: each becomes ``int(100 share / smallest share)``, over their sum."""
    scale = 100 / min(shares.values())
    parts = {name: int(share * scale) for name, share in shares.items()}
    total = sum(parts.values())
    return {name: part / total for name, part in parts.items()}


def grain_note(shares: Mapping[str, float]) -> list[str]:
    """Return the note on the share that grain changes most, where that is worth a note."""
    made = grain_shares(shares)
    name = max(shares, key=lambda one: abs(made[one] / shares[one] - 1.0))
    if abs(made[name] / shares[name] - 1.0) < _SAID:
        return []
    return [
        f"grain rounds to whole hundredths of the smallest share: {name} becomes {made[name]:.6g}, not {shares[name]:.6g}"
    ]
