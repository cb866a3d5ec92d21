"""History: digests of everything that determines a stream before a position; they identify the stream of a saved state."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from operator import itemgetter

from mixfast.sampler._numbers import Integers
from mixfast.sampler._schedule import MixtureSchedule


class History:
    """Digests of a stream's past. The past changes when a change of shares begins or a domain leaves, and only then.

    Parameters
    ----------
    sizes, caps : (K,) int64
        Samples of each domain, and its maximum number of samples in the stream.
    left : list of (int, int)
        Pairs of a sample and the domain that has left from it on, in order.
    """

    def __init__(
        self, schedule: MixtureSchedule, sizes: Integers, caps: Integers, left: list[tuple[int, int]], shuffle: bool
    ) -> None:
        self.schedule, self.sizes, self.caps, self.left, self.shuffle = schedule, sizes, caps, left, shuffle
        self._starts = [change.start for change in schedule.changes]
        self._digests: dict[tuple[int, int], str] = {}
        self._domains: dict[int, tuple[str, ...]] = {0: ()}

    def domains(self, position: int) -> tuple[str, ...]:
        """Return the domains that were named before a position, by number; none at the start, because nothing is fixed yet."""
        begun = bisect_left(self._starts, position)
        if begun not in self._domains:
            self._domains[begun] = self.schedule.until(position).domains
        return self._domains[begun]

    def before(self, position: int) -> str:
        """Return the digest of the past at a position; the digest of no data at the start, because nothing is fixed yet."""
        if position == 0:
            return _digest(b"")
        begun = bisect_left(self._starts, position)
        gone = bisect_left(self.left, position, key=itemgetter(0))
        if (begun, gone) not in self._digests:
            past = self.schedule.until(position)
            entry = past.as_dict()
            del entry["sample_tokens"]
            facts = {
                "schedule": entry,
                "domains": past.domains,  # in order, which sorted keys would lose
                "sizes": self.sizes[: len(past.domains)].tolist(),
                "left": [[domain, int(self.caps[domain])] for _, domain in self.left[:gone]],
                "shuffle": self.shuffle,
            }
            self._digests[begun, gone] = _digest(json.dumps(facts, sort_keys=True).encode())
        return self._digests[begun, gone]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
