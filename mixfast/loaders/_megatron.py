"""MegatronStream: exactly the order of Megatron-LM's blends, so that a run can switch without changing its data.

Megatron-LM: `megatron/core/datasets/helpers.cpp`, `build_blending_indices` and `build_exhaustive_blending_indices`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast._text.names import listing, shown
from mixfast.errors import SamplerError
from mixfast.loaders._peer_stream import PeerStream, peer_format
from mixfast.sampler import NEVER, Integers, whole_number

# Megatron-LM stores the number of a domain as int16.
_MOST_DOMAINS = 32767


class MegatronStream(PeerStream):
    """Follow Megatron-LM's ``BlendedDataset``: the same data set and index for each sample of a run.

    Parameters
    ----------
    weights : mapping of str to float
        The blend, in the order given to Megatron-LM; normalised in the same way.
    length : int, optional
        Samples of the run. Without it, as in Megatron-LM without a size, weights are the numbers of samples of the data sets, and
        each sample is read once.
    sizes : mapping of str to int, optional
        Samples of each (mid-level) data set. The stream is refused if one would be read past its end, where Megatron-LM raises
        an IndexError. The samples of a `GPTDataset` are already shuffled and repeated: give its length, not that of the corpus.

    Notes
    -----
    Time and memory are those of Megatron-LM: K steps and 10 bytes for each sample, before the first is read. The loop is
    compiled if Numba is installed (``pip install 'mixfast[laws]'``), and otherwise runs in numpy, which is much slower.

    Examples
    --------
    >>> MegatronStream({"web": 0.7, "code": 0.3}, 8).positions(0, 8).domain
    array([0, 1, 0, 0, 1, 0, 0, 1])
    """

    FORMAT = peer_format("megatron")

    def __init__(
        self, weights: Mapping[str, float], length: int | None = None, *, sizes: Mapping[str, int] | None = None
    ) -> None:
        if length is None:
            sizes = weights  # type: ignore[assignment]  # _sizes refuses numbers that are not whole
        super().__init__(weights, sizes)
        self._exhaustive = length is None
        self._domain, self._index = (
            megatron_exhaustive_indices(self.sizes) if length is None else megatron_indices(self.weights, length)
        )
        self.length: int | None = len(self._domain)
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
                f"the blend reads more samples than the data sets have ({listing(short)}); Megatron-LM would fail"
            )

    def _again(self, weights: dict[str, float], sizes: dict[str, int] | None) -> MegatronStream:
        if self._exhaustive and sizes is not None:
            return MegatronStream({name: sizes[name] for name in weights})
        return MegatronStream(weights, self.length, sizes=sizes)

    def _find(self, sample: Integers) -> tuple[Integers, Integers]:
        return self._domain[sample].astype(np.int64), self._index[sample]


def megatron_indices(weights: ArrayLike, size: int) -> tuple[NDArray[np.int16], Integers]:
    """Return ``dataset_index`` (N,) int16 and ``dataset_sample_index`` (N,) int64 of Megatron-LM's blend, bit for bit.

    Parameters
    ----------
    weights : array_like, shape (K,)
        Positive numbers; they are normalised.
    size : int
        Number of samples, N.

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
        raise SamplerError(f"weights must be positive numbers, one for each data set, got {shown(weights)}")
    return _greedy(given / np.sum(given), np.full(len(given), NEVER), whole_number("size", size, 1))


def megatron_exhaustive_indices(sizes: ArrayLike) -> tuple[NDArray[np.int16], Integers]:
    """Return the indices of Megatron-LM's exhaustive blend of data sets with sizes (K,): each sample once.

    Examples
    --------
    >>> megatron_exhaustive_indices([3, 1])[0].tolist()
    [0, 1, 0, 0]
    """
    given = np.asarray(sizes)
    if given.ndim != 1 or not len(given) or given.dtype.kind not in "iu" or given.min() < 1:
        raise SamplerError(f"sizes must be whole numbers of at least 1, one for each data set, got {shown(sizes)}")
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
    """Do the same as `_greedy_loops.greedy` without Numba."""
    had, lack = np.zeros(len(weights)), np.empty(len(weights))
    for i in range(len(domain)):
        np.multiply(weights, max(float(i), 1.0), out=lack)
        np.subtract(lack, had, out=lack)
        k = int(lack.argmax())
        domain[i], index[i] = k, had[k]
        had[k] += 1
        if had[k] == limits[k]:
            had[k] = np.inf  # never chosen again
