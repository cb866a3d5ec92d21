"""The data behind a stream: one map-style source for each domain, read one sample or one batch at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mixfast.errors import AlignmentError, SamplerError, listing

if TYPE_CHECKING:
    from mixfast.sampler import Positions

Integers = NDArray[np.int64]


class Stream(Protocol):
    """What is read: a `MixtureSampler`, or a stream that follows another loader (`_sampler_peers`)."""

    domains: tuple[str, ...]
    length: int | None
    _sizes: Integers

    def positions(self, start: int, stop: int, step: int = 1) -> Positions: ...
    def state(self, position: int) -> dict[str, Any]: ...
    def check_state(self, state: Mapping[str, Any]) -> int: ...


def sizes(sources: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of samples of each source, for ``MixtureSampler(mixture, sizes(sources), ...)``.

    Parameters
    ----------
    sources : mapping of str to map-style data set
        Anything with ``len()`` and ``[i]``: torch data sets, Hugging Face data sets (a ``DatasetDict`` is such a mapping),
        arrays, lists.

    Raises
    ------
    SamplerError
        If a source has no ``len()`` or cannot be indexed.

    Examples
    --------
    >>> sizes({"web": ["a", "b", "c"], "code": range(10)})
    {'web': 3, 'code': 10}
    """
    if not isinstance(sources, Mapping):
        raise SamplerError(f"sources must be a mapping from domain to data set, got {type(sources).__name__}")
    found = {}
    for name, source in sources.items():
        try:
            found[name] = len(source)
        except TypeError as problem:
            raise SamplerError(
                f"source {name!r} ({type(source).__name__}) has no length; sources are read by number, so each must be "
                "map-style: len() and [i]. A Hugging Face data set is, unless it was loaded with streaming=True"
            ) from problem
        if not hasattr(source, "__getitem__"):
            raise SamplerError(f"source {name!r} ({type(source).__name__}) cannot be indexed by number")
    return found


def sizes_of(stream: Stream) -> Integers:
    """Samples of each domain (K,) of a stream that can be served from sources."""
    found = stream._sizes
    if not found.any():
        raise SamplerError("this stream was made without sizes, so its indices have no end; give it sizes(sources)")
    return found


class Concatenated:
    """Read the sources of a stream's domains as one map-style data set, in the order of ``stream.domains``.

    Item ``sum of the sizes of the domains before + index`` is sample ``index`` of a domain: the number that a
    `StreamSampler` gives. A batch is taken from a source at once where that has ``__getitems__``, as those of Hugging
    Face have; they need not have the same columns.

    Parameters
    ----------
    stream : MixtureSampler, GrainStream or MegatronStream
    sources : mapping of str to map-style data set
        One for each of the stream's domains.

    Raises
    ------
    AlignmentError
        If the sources are not those of the stream's domains.
    SamplerError
        If a source is not as long as the stream takes it to be.

    Examples
    --------
    >>> from mixfast import Mixture, MixtureSampler
    >>> sources = {"web": ["a", "b", "c"], "code": ["x"]}
    >>> stream = MixtureSampler(Mixture(["web", "code"], [0.5, 0.5]), sizes(sources), seed=0)
    >>> data = Concatenated(stream, sources)
    >>> len(data), data[2], data[3]
    (4, 'c', 'x')
    """

    def __init__(self, stream: Stream, sources: Mapping[str, Any]) -> None:
        have = sizes(sources)
        if set(have) != set(stream.domains):
            raise AlignmentError.between("sources", have, "the stream", stream.domains)
        want = sizes_of(stream)
        wrong = [
            f"{name}: {have[name]} for {size}"
            for name, size in zip(stream.domains, want.tolist(), strict=True)
            if have[name] != size
        ]
        if wrong:
            raise SamplerError(
                f"sources are not as long as the stream takes them to be ({listing(wrong)}); a stream is decided by its "
                "sizes, so make it with sizes(sources)"
            )
        self._sources = [sources[name] for name in stream.domains]
        self._in_batches = [callable(getattr(source, "__getitems__", None)) for source in self._sources]
        self._ends = np.cumsum(want)
        self._starts = self._ends - want
        self._bounds = (self._starts.tolist(), self._ends.tolist())

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, i: int) -> Any:
        starts, ends = self._bounds
        if not 0 <= i < ends[-1]:
            raise IndexError(f"item {i} of {ends[-1]}")
        k = bisect_right(ends, i)
        return self._sources[k][i - starts[k]]

    def __getitems__(self, indices: list[int]) -> list[Any]:
        """Return the items of a batch; a `torch.utils.data.DataLoader` asks for them so."""
        number = np.asarray(indices, dtype=np.int64)
        if len(number) and not 0 <= number.min() <= number.max() < self._ends[-1]:
            raise IndexError(f"items {number.min()} to {number.max()} of {self._ends[-1]}")
        domain = np.searchsorted(self._ends, number, side="right")
        return self.take(domain, number - self._starts[domain])

    def take(self, domain: Integers, index: Integers) -> list[Any]:
        """Return samples by domain (m,) and index (m,)."""
        sources = self._sources
        if not any(self._in_batches):
            return [sources[k][i] for k, i in zip(domain.tolist(), index.tolist(), strict=True)]
        found: list[Any] = [None] * len(domain)
        order = np.argsort(domain, kind="stable")
        for part in np.split(order, np.flatnonzero(np.diff(domain[order])) + 1):
            if not len(part):
                continue
            k, numbers = int(domain[part[0]]), index[part].tolist()
            items = sources[k].__getitems__(numbers) if self._in_batches[k] else [sources[k][i] for i in numbers]
            for place, item in zip(part.tolist(), items, strict=True):
                found[place] = item
        return found
