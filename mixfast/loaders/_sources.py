"""The data behind a stream: one map-style source for each domain, read one sample or one batch at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np

from mixfast._text.names import listing, shown
from mixfast.errors import AlignmentError, SamplerError
from mixfast.sampler import Integers, Stream

# An item of a source, of any type.
Sample: TypeAlias = Any


class Source(Protocol):
    """A map-style data set."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Sample: ...


def sizes(sources: Mapping[str, Source]) -> dict[str, int]:
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
                f"source {shown(name)} ({type(source).__name__}) has no length; sources are read by index, so each must be "
                "map-style: len() and [i]. A Hugging Face data set is map-style unless it was loaded with streaming=True"
            ) from problem
        if not hasattr(source, "__getitem__") or _only_iterated(source):
            raise SamplerError(
                f"source {shown(name)} ({type(source).__name__}) cannot be read by index; each must be map-style: len() and [i]"
            )
    return found


def _only_iterated(source: object) -> bool:
    """Return whether this is an iterable data set of torch, which inherits a ``[i]`` that always raises."""
    # Without torch imported, the source cannot be one.
    torch = sys.modules.get("torch.utils.data")
    return torch is not None and isinstance(source, torch.IterableDataset)


def sizes_of(stream: Stream) -> Integers:
    """Return the sizes (K,) of a stream's domains; refuse a stream without sizes."""
    found = stream.sizes
    if not found.any():
        raise SamplerError(
            "this stream was made without sizes, so its indices are unbounded; make it with sizes(sources)"
        )
    return found


class Sources:
    """Read the sources of a stream's domains as one map-style data set with pairs ``domain, index`` as keys.

    A `StreamSampler` yields these pairs: the number of the domain in ``stream.domains``, and the index in the domain's source.
    A source with ``__getitems__``, such as a Hugging Face data set, is read a batch at a time. Rows of a `numpy.memmap` come as plain
    arrays of the same memory: making a map for each row takes longer than reading it. Sources may have different columns.

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
        If the length of a source is not the size that the stream was made with.

    Examples
    --------
    >>> from mixfast import Mixture, MixtureSampler
    >>> sources = {"web": ["a", "b", "c"], "code": ["x"]}
    >>> stream = MixtureSampler(Mixture(["web", "code"], [0.5, 0.5]), sizes(sources), seed=0)
    >>> data = Sources(stream, sources)
    >>> len(data), data[0, 2], data[1, 0]
    (4, 'c', 'x')
    """

    def __init__(self, stream: Stream, sources: Mapping[str, Source]) -> None:
        have = sizes(sources)
        if set(have) != set(stream.domains):
            raise AlignmentError.between("sources", have, "the stream", stream.domains)
        want = sizes_of(stream).tolist()
        wrong = [
            f"{name}: {have[name]} for {size}"
            for name, size in zip(stream.domains, want, strict=True)
            if have[name] != size
        ]
        if wrong:
            raise SamplerError(
                f"the lengths of sources differ from the sizes of the stream ({listing(wrong)}); sizes determine the "
                "stream, so make it with sizes(sources)"
            )
        self._samples = sum(want)
        self._domains = stream.domains
        # A row of a memory map would be another memory map, which takes longer to make than 1 KB to read.
        self._sources: list[Any] = [
            source.view(np.ndarray) if type(source) is np.memmap else source
            for source in (sources[name] for name in stream.domains)
        ]
        self._in_batches = [callable(getattr(source, "__getitems__", None)) for source in self._sources]
        self._any_in_batches = any(self._in_batches)

    def __len__(self) -> int:
        return self._samples

    def __getitem__(self, at: tuple[int, int]) -> Sample:
        return self.__getitems__([at])[0]

    def __getitems__(self, batch: list[tuple[int, int]]) -> list[Sample]:
        """Return the samples of a batch; a `torch.utils.data.DataLoader` calls this."""
        if batch and not isinstance(batch[0], (tuple, list)):
            raise SamplerError(
                f"Sources are read by pairs of domain and index, got {shown(batch[0])}: give the loader a StreamSampler(stream)"
            )
        return self.read(batch)

    def take(self, domains: list[int], indices: list[int]) -> list[Sample]:
        """Return the samples of a batch from their domains (m,) and indices (m,)."""
        return self.read(zip(domains, indices, strict=True))

    def read(self, pairs: Iterable[tuple[int, int]]) -> list[Sample]:
        """Return the samples of a batch from pairs of domain and index."""
        if self._any_in_batches:
            return self._read_in_batches(list(pairs))
        sources, found = self._sources, []
        domain = index = -1
        try:
            for domain, index in pairs:
                found.append(sources[domain][index])
        except Exception as problem:
            self._explain(problem, domain, [index])
            raise
        return found

    def _read_in_batches(self, pairs: list[tuple[int, int]]) -> list[Sample]:
        found: list[Sample] = [None] * len(pairs)
        places: dict[int, list[int]] = {}
        for place, (domain, _) in enumerate(pairs):
            places.setdefault(domain, []).append(place)
        for domain, those in places.items():
            source, numbers = self._sources[domain], [pairs[place][1] for place in those]
            try:
                items = source.__getitems__(numbers) if self._in_batches[domain] else [source[i] for i in numbers]
            except Exception as problem:
                self._explain(problem, domain, numbers)
                raise
            for place, item in zip(those, items, strict=True):
                found[place] = item
        return found

    def _explain(self, problem: Exception, domain: int, indices: list[int]) -> None:
        """Add a note to the error of a source that names the sample."""
        if domain < 0:
            return  # the error is not from a source: finding the pairs failed
        what = f"sample {listing(map(str, indices))} of domain {shown(self._domains[domain])}"
        # A StopIteration that passes would silently end the stream here.
        if isinstance(problem, StopIteration):
            raise SamplerError(f"the source raised StopIteration for {what} instead of returning it") from problem
        problem.add_note(f"this was {what}")
