"""History: digests of all that decided a stream before a position, by which a saved state is recognised."""

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
        Samples of each domain, and the most it may give.
    left : list of (int, int)
        From which sample on a domain has left, and which, in this order.
    """

    def __init__(
        self, schedule: MixtureSchedule, sizes: Integers, caps: Integers, left: list[tuple[int, int]], shuffle: bool
    ) -> None:
        self.schedule, self.sizes, self.caps, self.left, self.shuffle = schedule, sizes, caps, left, shuffle
        self._starts = [change.start for change in schedule.changes]
        self._digests: dict[tuple[int, int], str] = {}
        self._domains: dict[int, tuple[str, ...]] = {0: ()}

    def domains(self, position: int) -> tuple[str, ...]:
        """Return the domains that were named before a position, by number; none at the start, where all is still open."""
        begun = bisect_left(self._starts, position)
        if begun not in self._domains:
            self._domains[begun] = self.schedule.until(position).domains
        return self._domains[begun]

    def before(self, position: int) -> str:
        """Return the digest of the past at a position; of nothing at the start, where all is still open."""
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
                "domains": past.domains,  # in their order, which the sorted keys do not tell
                "sizes": self.sizes[: len(past.domains)].tolist(),
                "left": [[domain, int(self.caps[domain])] for _, domain in self.left[:gone]],
                "shuffle": self.shuffle,
            }
            self._digests[begun, gone] = _digest(json.dumps(facts, sort_keys=True).encode())
        return self._digests[begun, gone]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
