"""The recorded answers: location, format, and the distance of a new answer from a recorded one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).resolve().parent / "data"
# Nats per unit of share: prices are differences of slopes of about 1, and most are rounding errors around 0.
PRICES = ("multipliers", "prices", "limited")


def plain(value: Any) -> Any:
    """Convert to numbers, texts and lists of them."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value


def write(name: str, found: dict[str, Any]) -> None:
    """Record an answer, one quantity per line; floats have enough digits to read back as the same number."""
    lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(plain(value))}" for key, value in found.items())
    (DATA / f"{name}.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


def read(name: str) -> dict[str, Any]:
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


def distance(key: str, now: Any, then: Any) -> float:
    """Return the largest difference, as a fraction of the largest recorded magnitude; infinite if anything but a number differs."""
    a, b = np.asarray(plain(now)), np.asarray(then)
    if a.shape != b.shape:
        return np.inf
    if a.dtype.kind not in "fi" or b.dtype.kind not in "fi":
        return 0.0 if np.array_equal(a, b) else np.inf
    if not a.size:
        return 0.0
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        return np.inf
    a, b = np.nan_to_num(a.astype(float)), np.nan_to_num(b.astype(float))
    scale = float(np.abs(b).max())
    if key.split(".")[0] in PRICES:
        scale = max(scale, 1.0)
    return float(np.abs(a - b).max()) / (scale or 1.0)
