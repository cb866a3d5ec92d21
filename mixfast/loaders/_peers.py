"""Streams that follow other loaders bit by bit, so that a run can move over without changing its data.

Megatron-LM: `megatron/core/datasets/helpers.cpp`, `build_blending_indices` and `build_exhaustive_blending_indices`.
grain: `grain/_src/python/dataset/transformations/mix.py`, `_dataset_and_key_of_next_element`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._text.names import domain_names, listing
from mixfast.errors import AlignmentError, ExhaustedError, SamplerError
from mixfast.sampler import (
    LONGEST,
    NEVER,
    Integers,
    MixtureSchedule,
    Positions,
    end_of,
    saved_position,
    whole_number,
)

# Megatron-LM keeps the number of a domain in int16.
_MOST_DOMAINS = 32767


class _PeerStream:
    """What the streams below share: the interface of a `MixtureSampler` that the adapters use."""

    FORMAT = ""

    def __init__(self, weights: Mapping[str, float], sizes: Mapping[str, int] | None) -> None:
        if isinstance(weights, MixtureSchedule):
            raise SamplerError(
                "the loader that this follows has one blend for all of a run; MixtureSampler takes a schedule"
            )
        if not isinstance(weights, Mapping):
            raise SamplerError(f"weights must be a mapping from domain to number, got {type(weights).__name__}")
        self.domains = domain_names(weights, SamplerError)
        self.weights = positive(weights, "weights", "; leave such domains out")
        self.sizes = _sizes(self.domains, sizes)
        self.length: int | None = None
        self._exhaustive = False

    def _at(self, sample: Integers) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the domains and, counted on, the indices of samples (m,), evenly spaced."""
        raise NotImplementedError

    def positions(self, start: int, stop: int, step: int = 1) -> Positions:
        """Return samples ``start, start + step, ...`` below ``stop`` as three int64 arrays, as a `MixtureSampler` does."""
        start, stop = whole_number("start", start, 0), whole_number("stop", stop, 0)
        step = whole_number("step", step, 1)
        end = end_of(self.length)
        if start < stop and stop > end:
            raise ExhaustedError(f"sample {stop - 1} is behind the end of the stream of {end} samples")
        domain, had = self._at(np.arange(start, stop, step, dtype=np.int64))
        domain, had = domain.astype(np.int64), had.astype(np.int64)
        if not self.sizes.any():
            return Positions(domain, had, np.zeros_like(had))
        epoch, index = np.divmod(had, self.sizes[domain])
        return Positions(domain, index, epoch)

    def __getitem__(self, i: int) -> tuple[int, int, int]:
        if i < 0:
            raise ExhaustedError(f"samples are counted from 0, got {i}")
        found = self.positions(i, i + 1)
        return int(found.domain[0]), int(found.index[0]), int(found.epoch[0])

    def __len__(self) -> int:
        if self.length is None:
            raise TypeError("this stream has no end; give it sizes or a length")
        return self.length

    def state(self, position: int) -> dict[str, Any]:
        """Return what must be kept to go on at sample ``position``, for JSON."""
        return {"format": self.FORMAT, "position": whole_number("position", position, 0), "history": self._history()}

    def check_state(self, state: Mapping[str, Any]) -> int:
        """Return the position of a state; `SamplerError` unless it was saved by this very stream."""
        if not isinstance(state, Mapping) or state.get("format") != self.FORMAT:
            raise SamplerError(f"a state of this stream has the format {self.FORMAT!r}, got {state!r:.200}")
        if state.get("history") != self._history():
            raise SamplerError("the state is of a stream with other domains, weights or sizes")
        return saved_position(state, self.length)

    def _history(self) -> str:
        facts = [self.domains, [w.hex() for w in self.weights], self.sizes.tolist(), self._exhaustive]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]

    def __repr__(self) -> str:
        end = "no end" if self.length is None else f"{self.length} samples"
        return f"{type(self).__name__}({len(self.domains)} domains, {end})"


class GrainStream(_PeerStream):
    """Follow grain's ``MapDataset.mix``: the same data set and key for each sample, in the same integers.

    Parameters
    ----------
    weights : mapping of str to float
        As they were given to grain, in that order and not normalised: grain makes whole numbers of them by
        ``int(weight * (100 / smallest))``, which depends on both.
    sizes : mapping of str to int, optional
        Samples of each domain. Keys beyond a size wrap around, as those of a grain data set do. Left out, ``index`` is
        grain's key.
    length : int, optional
        Samples of the stream. Default: grain's, none read twice; without sizes, no end. With ``.repeat()`` in grain, as many as
        the run has.

    Notes
    -----
    Any sample is found on its own, in K steps. Realised shares are off by up to 1 %, and a prefix by several samples
    (what a `MixtureSampler` is for).

    Examples
    --------
    >>> stream = GrainStream({"web": 0.7, "code": 0.3}, {"web": 70, "code": 40})
    >>> stream.positions(0, 8).domain
    array([0, 0, 0, 1, 0, 0, 1, 0])
    >>> len(stream)
    100
    """

    FORMAT = "mixfast-grain-1"

    def __init__(
        self, weights: Mapping[str, float], sizes: Mapping[str, int] | None = None, *, length: int | None = None
    ) -> None:
        super().__init__(weights, sizes)
        scale = 100 / min(self.weights)
        self.proportions = [int(w * scale) for w in self.weights]
        total = sum(self.proportions)
        if length is not None:
            self.length = whole_number("length", length, 1)
        elif sizes is not None:
            each = [size / (q / total) for size, q in zip(self.sizes.tolist(), self.proportions, strict=True)]
            self.length = min(LONGEST, int(min(each)))

    def _at(self, sample: Integers) -> tuple[NDArray[Any], NDArray[Any]]:
        rest = total = sum(self.proportions)
        at: NDArray[Any] = sample
        # Products that may not fit 64 bits are made of Python's integers.
        if len(sample) and (int(sample[-1]) + 1) * total >= 1 << 63:
            at = sample.astype(object)
        domain, had = np.empty_like(sample), np.empty_like(sample)
        open_ = np.arange(len(sample))
        for k, q in enumerate(self.proportions):
            # How many of the samples before, and with this one, go to later domains: no more means it is this one's.
            later, with_this = at * (rest - q) // rest, (at + 1) * (rest - q) // rest
            here = (later == with_this).astype(bool)
            domain[open_[here]] = k
            had[open_[here]] = (at - later)[here]
            open_, at = open_[~here], later[~here]
            rest -= q
        return domain, had


class MegatronStream(_PeerStream):
    """Follow Megatron-LM's ``BlendedDataset``: the same data set and the same sample of it, for each sample of a run.

    Parameters
    ----------
    weights : mapping of str to float
        The blend, in its order; normalised as Megatron-LM does.
    length : int, optional
        Samples of the run. Left out, as Megatron-LM's size may be, weights are the numbers of samples of the data sets, each of
        which is read once.
    sizes : mapping of str to int, optional
        Samples of each (mid-level) data set. Megatron-LM ends in an IndexError where one is read beyond; here it is
        refused. The samples of a `GPTDataset` are already shuffled and repeated: give its length, not that of the corpus.

    Notes
    -----
    Time and memory are Megatron-LM's: K steps and 10 bytes a sample, before the first is read. The loop is compiled
    where Numba is installed (``pip install 'mixfast[laws]'``), and runs in numpy, much slower, where it is not.

    Examples
    --------
    >>> MegatronStream({"web": 0.7, "code": 0.3}, 8).positions(0, 8).domain
    array([0, 1, 0, 0, 1, 0, 0, 1])
    """

    FORMAT = "mixfast-megatron-1"

    def __init__(
        self, weights: Mapping[str, float], length: int | None = None, *, sizes: Mapping[str, int] | None = None
    ) -> None:
        if length is None:
            sizes = weights  # type: ignore[assignment]  # _sizes refuses what is not whole
        super().__init__(weights, sizes)
        self._exhaustive = length is None
        self._domain, self._index = (
            megatron_exhaustive_indices(self.sizes) if length is None else megatron_indices(self.weights, length)
        )
        self.length = len(self._domain)
        if not self.sizes.any():
            return
        drawn = np.bincount(self._domain, minlength=len(self.domains))
        short = [
            f"{name}: {n} of {size}"
            for name, n, size in zip(self.domains, drawn.tolist(), self.sizes.tolist(), strict=True)
            if n > size
        ]
        if short:
            raise SamplerError(
                f"the blend reads more samples than there are ({listing(short)}); Megatron-LM would fail"
            )

    def _at(self, sample: Integers) -> tuple[NDArray[Any], NDArray[Any]]:
        return self._domain[sample], self._index[sample]


def megatron_indices(weights: Any, size: int) -> tuple[NDArray[np.int16], Integers]:
    """Return ``dataset_index`` (N,) int16 and ``dataset_sample_index`` (N,) int64 of Megatron-LM's blend, bit by bit.

    Parameters
    ----------
    weights : array_like, shape (K,)
        Positive; normalised here.
    size : int
        Samples, N.

    Raises
    ------
    SamplerError
        If weights are not positive, or there are 32767 or more.

    Examples
    --------
    >>> domain, index = megatron_indices([0.5, 0.25, 0.25], 8)
    >>> domain.tolist(), index.tolist()
    ([0, 1, 2, 0, 0, 1, 2, 0], [0, 0, 0, 1, 2, 1, 1, 3])
    """
    given = np.array(weights, dtype=np.float64)
    if given.ndim != 1 or not len(given) or not np.all((given > 0) & np.isfinite(given)):
        raise SamplerError(f"weights must be positive numbers, one for each data set, got {weights!r:.200}")
    return _greedy(given / np.sum(given), np.full(len(given), NEVER), whole_number("size", size, 1))


def megatron_exhaustive_indices(sizes: Any) -> tuple[NDArray[np.int16], Integers]:
    """Return the indices of Megatron-LM's exhaustive blend of data sets with sizes (K,): each sample once.

    Examples
    --------
    >>> megatron_exhaustive_indices([3, 1])[0].tolist()
    [0, 1, 0, 0]
    """
    given = np.asarray(sizes)
    if given.ndim != 1 or not len(given) or given.dtype.kind not in "iu" or given.min() < 1:
        raise SamplerError(f"sizes must be whole numbers of at least 1, one for each data set, got {sizes!r:.200}")
    total = int(given.sum())
    return _greedy(given / float(total), given.astype(np.int64), total)


def _greedy(weights: NDArray[np.float64], limits: Integers, size: int) -> tuple[NDArray[np.int16], Integers]:
    if len(weights) >= _MOST_DOMAINS:
        raise SamplerError(f"Megatron-LM blends fewer than {_MOST_DOMAINS} data sets, got {len(weights)}")
    domain, index = np.empty(size, dtype=np.int16), np.empty(size, dtype=np.int64)
    try:
        from mixfast.loaders._greedy_loops import greedy
    except ImportError:
        greedy = _greedy_slow
    greedy(weights, limits, domain, index)
    return domain, index


def _greedy_slow(weights: NDArray[np.float64], limits: Integers, domain: NDArray[np.int16], index: Integers) -> None:
    """The same as `_sampler_greedy_loops.greedy`, for where Numba is not installed."""
    had, lack = np.zeros(len(weights)), np.empty(len(weights))
    for i in range(len(domain)):
        np.multiply(weights, max(float(i), 1.0), out=lack)
        np.subtract(lack, had, out=lack)
        k = int(lack.argmax())
        domain[i], index[i] = k, had[k]
        had[k] += 1
        if had[k] == limits[k]:
            had[k] = np.inf  # lacks nothing any more


def positive(numbers: Mapping[str, Any], what: str, advice: str = "") -> list[float]:
    """Return the numbers of a mapping by domain; other than positive ones are refused, and named."""
    found, wrong = [], []
    for name, number in numbers.items():
        try:
            found.append(float(number))
        except (TypeError, ValueError):
            found.append(np.nan)
        if not 0 < found[-1] < np.inf:
            wrong.append(f"{name}={number!r}")
    if wrong:
        raise SamplerError(f"{what} must be positive numbers, got {listing(wrong)}{advice}")
    return found


def _sizes(domains: tuple[str, ...], sizes: Mapping[str, int] | None) -> Integers:
    """Samples of each domain (K,), 0 for all where they were left out."""
    if sizes is None:
        return np.zeros(len(domains), dtype=np.int64)
    if not isinstance(sizes, Mapping) or any(name not in sizes for name in domains):
        raise AlignmentError.between("the weights", domains, "sizes", sizes)
    return np.array([whole_number(f"the size of domain {name!r}", sizes[name], 1) for name in domains], dtype=np.int64)
