"""What a law is made of, taken out of it and put back."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np

from mixfast.laws._protocol import State


class Stored:
    """A law whose constructor takes its settings, and whose `fit` sets arrays and notes."""

    _settings: ClassVar[tuple[str, ...]]
    _arrays: ClassVar[tuple[str, ...]]
    notes: tuple[str, ...] = ()

    def state(self) -> State:
        """Return what the fitted law is made of."""
        parts = {name: getattr(self, name) for name in (*self._settings, *self._arrays)}
        return {**parts, "notes": list(self.notes)}

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Return the law that `state` was taken from."""
        law = cls(**{name: state[name] for name in cls._settings})
        for name in cls._arrays:
            setattr(law, name, np.asarray(state[name]))
        law.notes = tuple(state["notes"])
        return law
