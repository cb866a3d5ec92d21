"""Resume from a state whose stream numbers the same domains in another order.

The order of the domains determines a stream: ties between equal shares are broken by number, and the number selects the order within
a domain. The saved stream is therefore rebuilt in its own order, and its domains get the numbers that its reader uses.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mixfast._text.names import positions
from mixfast.sampler._positions import Positions, Stream
from mixfast.sampler._state import State, saved_domains


def resumed(stream: Stream, state: State) -> tuple[Stream, int]:
    """Return the stream that a state was saved by, with its domains numbered as those of ``stream``, and the position.

    This is ``stream`` itself if the state was saved in its order.

    Raises
    ------
    SamplerError
        If the state was saved by a stream with other domains, shares, sizes or seed.
    """
    inner = stream.stream if isinstance(stream, Renumbered) else stream
    saved = saved_domains(state)
    if saved is not None and saved != [name for name in inner.domains if name in set(saved)]:
        inner = inner.reordered(saved)
    position = inner.check_state(state)
    return (inner if inner.domains == stream.domains else Renumbered(inner, stream.domains)), position


class Renumbered:
    """A stream whose domains have the numbers of another order.

    Parameters
    ----------
    stream : Stream
    domains : sequence of str
        The domains of the stream, in the order that numbers them here.
    """

    def __init__(self, stream: Stream, domains: Sequence[str]) -> None:
        self.stream, self.domains, self.length = stream, tuple(domains), stream.length
        self._number = np.array(positions(stream.domains, self.domains), dtype=np.int64)
        self.sizes = stream.sizes[np.argsort(self._number)]

    def positions(self, start: int, stop: int, step: int = 1) -> Positions:
        """Return samples ``start, start + step, ...`` below ``stop`` as three int64 arrays."""
        found = self.stream.positions(start, stop, step)
        return Positions(self._number[found.domain], found.index, found.epoch)

    def __getitem__(self, i: int) -> tuple[int, int, int]:
        found = self.positions(i, i + 1)
        return int(found.domain[0]), int(found.index[0]), int(found.epoch[0])

    def __len__(self) -> int:
        if self.length is None:
            raise TypeError("this stream has no end; give it a length")
        return self.length

    def state(self, position: int) -> State:
        """Return the state of the stream, in its own order."""
        return self.stream.state(position)

    def check_state(self, state: State) -> int:
        """Return the position of a state; `SamplerError` unless it was saved by this stream, in its own order."""
        return self.stream.check_state(state)

    def reordered(self, domains: Sequence[str]) -> Stream:
        """Return the stream that has its domains in another order, which gives other samples."""
        return self.stream.reordered(domains)

    def __repr__(self) -> str:
        return f"Renumbered({self.stream!r})"
