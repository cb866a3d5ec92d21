"""MixtureCursor: a position in a stream that advances as samples are taken."""

from __future__ import annotations

from mixfast.sampler._numbers import rank_and_world_size, whole_number
from mixfast.sampler._positions import Positions, Stream, end_of
from mixfast.sampler._renumbered import resumed
from mixfast.sampler._state import State


class MixtureCursor:
    """Read a stream in order: a position that advances, and is saved and restored as a small state.

    Parameters
    ----------
    sampler : MixtureSampler
    position : int
        The next global sample.

    Examples
    --------
    >>> from mixfast import Mixture, MixtureSampler
    >>> sampler = MixtureSampler(Mixture(["web", "code"], [0.75, 0.25]), seed=0)
    >>> cursor = sampler.cursor()
    >>> cursor.take(8, rank=1, world_size=2).index
    array([1, 2, 4, 5])
    >>> saved = cursor.state_dict()
    >>> again = sampler.cursor()
    >>> again.load_state_dict(saved)
    >>> again.position
    8
    """

    def __init__(self, sampler: Stream, position: int = 0) -> None:
        self.sampler: Stream = sampler
        self.position: int = whole_number("position", position, 0)

    def take(self, count: int, *, rank: int = 0, world_size: int = 1) -> Positions:
        """Return a rank's part of the next ``count`` global samples, and advance past them.

        Rank r of W gets the r-th of them and every W-th after it, so that all ranks together get each sample once. At the
        end of the stream there may be fewer, or none.
        """
        count = whole_number("count", count, 0)
        rank, world_size = rank_and_world_size(rank, world_size)
        stop = max(self.position, min(self.position + count, end_of(self.sampler.length)))
        found = self.sampler.positions(self.position + rank, stop, world_size)
        self.position = stop
        return found

    def state_dict(self) -> State:
        """Return the sampler's state at this position."""
        return self.sampler.state(self.position)

    def load_state_dict(self, state: State) -> None:
        """Move to the position of a state; `SamplerError` unless the stream up to it is this sampler's.

        If the state numbers the same domains in another order, ``sampler`` becomes the saved stream, and its domains keep
        the numbers that they have here.
        """
        self.sampler, self.position = resumed(self.sampler, state)

    def __repr__(self) -> str:
        return f"MixtureCursor(position {self.position} of {self.sampler!r})"
