"""GrainStream: exactly the order of grain's ``MapDataset.mix``, so that a run can switch without changing its data.

grain: `grain/_src/python/dataset/transformations/mix.py`, `_dataset_and_key_of_next_element`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mixfast.loaders._peer_stream import PeerStream, peer_format
from mixfast.sampler import LONGEST, Integers, whole_number


class GrainStream(PeerStream):
    """Follow grain's ``MapDataset.mix``: the same data set and key for each sample, from the same integer arithmetic.

    Parameters
    ----------
    weights : mapping of str to float
        As given to grain, in the same order and not normalised: grain rounds them by
        ``int(weight * (100 / smallest))``, which depends on both.
    sizes : mapping of str to int, optional
        Samples of each domain. Keys beyond a size wrap around, as in a grain data set. Without sizes, ``index`` is grain's
        key.
    length : int, optional
        Samples of the stream. Default: grain's length, which reads no sample twice; without sizes, no end. If grain is used with
        ``.repeat()``, give the samples of the run.

    Notes
    -----
    Each sample is found independently, in K steps. As in grain, realised shares are off by up to 1 %, and the counts of a prefix
    by several samples; `MixtureSampler` avoids both.

    Examples
    --------
    >>> stream = GrainStream({"web": 0.7, "code": 0.3}, {"web": 70, "code": 40})
    >>> stream.positions(0, 8).domain
    array([0, 0, 0, 1, 0, 0, 1, 0])
    >>> len(stream)
    100
    """

    FORMAT = peer_format("grain")

    def __init__(
        self, weights: Mapping[str, float], sizes: Mapping[str, int] | None = None, *, length: int | None = None
    ) -> None:
        super().__init__(weights, sizes)
        scale = 100 / min(self.weights)
        self.proportions: list[int] = [int(w * scale) for w in self.weights]
        total = sum(self.proportions)
        if length is not None:
            self.length: int | None = whole_number("length", length, 1)
        elif sizes is not None:
            each = [size / (q / total) for size, q in zip(self.sizes.tolist(), self.proportions, strict=True)]
            self.length = min(LONGEST, int(min(each)))

    def _again(self, weights: dict[str, float], sizes: dict[str, int] | None) -> GrainStream:
        return GrainStream(weights, sizes, length=self.length)

    def _find(self, sample: Integers) -> tuple[Integers, Integers]:
        rest = total = sum(self.proportions)
        at: Integers | NDArray[np.object_] = sample
        # Products that may not fit 64 bits are computed in Python's integers.
        if len(sample) and (int(sample[-1]) + 1) * total >= 1 << 63:
            at = sample.astype(object)
        domain, had = np.empty_like(sample), np.empty_like(sample)
        left = np.arange(len(sample))
        for k, q in enumerate(self.proportions):
            # Samples of later domains, before this one and including it: if both numbers are equal, the sample is this domain's.
            later, with_this = at * (rest - q) // rest, (at + 1) * (rest - q) // rest
            here = (later == with_this).astype(bool)
            domain[left[here]] = k
            had[left[here]] = (at - later)[here]
            left, at = left[~here], later[~here]
            rest -= q
        return domain, had
