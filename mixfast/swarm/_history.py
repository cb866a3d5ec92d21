"""What was left out or changed when tables were turned into a Swarm, and what of it holds for swarms made from it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class History:
    """What was left out or changed when tables were turned into a Swarm."""

    dropped: tuple[tuple[str, str], ...] = ()
    unused: dict[str, tuple[str, ...]] = field(default_factory=dict)
    read: tuple[str, ...] = ()
    renormalised: tuple[str, ...] = ()
    deviation: float = 0.0
    guessed_directions: tuple[str, ...] = ()
    guessed_units: tuple[str, ...] = ()
    assumed_directions: tuple[str, ...] = ()

    def of_runs(self, runs: Sequence[str]) -> History:
        """Return the history of these runs alone; runs that were dropped before are not told again."""
        changed = set(self.renormalised) & set(runs)
        return replace(
            self, dropped=(), renormalised=tuple(run for run in runs if run in changed),
            deviation=self.deviation if changed else 0.0,
        )  # fmt: skip

    def of_metrics(self, names: Sequence[str]) -> History:
        """Return the history of these metrics alone, in their order."""
        told, units, assumed = map(set, (self.guessed_directions, self.guessed_units, self.assumed_directions))
        return replace(
            self,
            guessed_directions=tuple(name for name in names if name in told),
            guessed_units=tuple(name for name in names if name in units),
            assumed_directions=tuple(name for name in names if name in assumed),
        )

    def with_known_directions(self, names: Collection[str]) -> History:
        """Return the history after the directions of these metrics were given."""
        return replace(
            self,
            guessed_directions=tuple(name for name in self.guessed_directions if name not in names),
            assumed_directions=tuple(name for name in self.assumed_directions if name not in names),
        )

    def without_guesses(self) -> History:
        """Return the history for other metrics, whose directions and units were not guessed."""
        return replace(self, guessed_directions=(), guessed_units=(), assumed_directions=())

    def joining(self, one: History, other: History) -> History:
        """Return the history of runs of two swarms, of which the first one's directions are kept."""
        return replace(
            self, dropped=one.dropped + other.dropped, guessed_directions=one.guessed_directions,
            assumed_directions=one.assumed_directions,
        )  # fmt: skip
