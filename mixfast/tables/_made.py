"""What a table remembers of how its values were made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast.errors import TableError

# Keys of a file.
MADE = ("temperature", "clipped")


class Made(NamedTuple):
    """How the values were made: the temperature of each expert (K,) or None, and the number of probabilities that were raised."""

    temperature: tuple[float, ...] | None = None
    clipped: int = 0

    def selected(self, columns: Sequence[int]) -> Made:
        """The same for some of the experts; the number of raised probabilities remains that of all."""
        kept = None if self.temperature is None else tuple(self.temperature[k] for k in columns)
        return self._replace(temperature=kept)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that a file stores."""
        found: dict[str, NDArray[Any]] = {} if self.temperature is None else {"temperature": np.array(self.temperature)}
        return found | ({"clipped": np.array(self.clipped)} if self.clipped else {})

    def words(self) -> list[str]:
        """Return the parts of a table's repr."""
        found = []
        if self.temperature is not None:
            found.append(f"temperatures {min(self.temperature):.3g} to {max(self.temperature):.3g}")
        if self.clipped:
            found.append(f"{self.clipped} probabilities clipped")
        return found


def ordered(made: Made | None, columns: Sequence[int] | NDArray[Any] | None) -> Made | None:
    """Return the same for experts in another order; None for ``columns`` is their own."""
    return made if made is None or columns is None else made.selected([int(k) for k in columns])


def joined(found: Mapping[str, Made | None]) -> Made | None:
    """Return how the values of tables with the same domains, in one order, were made; the keys name the tables.

    The raised probabilities are added. Temperatures must be equal, because a table has one for each expert.
    """
    (first, made), *others = found.items()
    temperature = None if made is None else made.temperature
    for name, other in others:
        theirs = None if other is None else other.temperature
        if theirs != temperature:
            raise TableError(
                f"the experts of {first} and {name} have different temperatures ({_briefly(temperature)}; {_briefly(theirs)}), and a table has one "
                "for each expert: calibrate them on the same held-out rows in both tables"
            )
    out = Made(temperature, sum(one.clipped for one in found.values() if one is not None))
    return None if out == Made() else out


def _briefly(temperature: tuple[float, ...] | None) -> str:
    return (
        "none"
        if temperature is None
        else ", ".join(f"{one:.4g}" for one in temperature[:3]) + ", ..." * (len(temperature) > 3)
    )


def popped(arrays: dict[str, Any], n_domains: int, where: str = "") -> Made | None:
    """Remove what `Made.arrays` stores from the arrays of a file, and return it; errors begin with ``where``."""
    temperature, clipped = arrays.pop("temperature", None), arrays.pop("clipped", None)
    if temperature is None and clipped is None:
        return None
    if temperature is not None:
        valid = temperature.shape == (n_domains,) and temperature.dtype.kind == "f"
        if not valid or not ((temperature > 0.0) & (temperature < math.inf)).all():
            raise TableError(f"{where}temperature must be {n_domains} numbers above 0, one for each domain")
    if clipped is not None and (clipped.ndim or clipped.dtype.kind not in "iu" or clipped < 0):
        raise TableError(f"{where}clipped must be one integer of at least 0, got {clipped.dtype} {clipped.shape}")
    return Made(None if temperature is None else tuple(temperature.tolist()), 0 if clipped is None else int(clipped))
