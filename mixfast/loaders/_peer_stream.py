"""PeerStream: the base of streams that follow another loader; readers use them like a `MixtureSampler`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np

from mixfast._text.names import domain_names, places, shown
from mixfast.errors import AlignmentError, ExhaustedError, SamplerError
from mixfast.sampler import (
    Format,
    Integers,
    MixtureSchedule,
    Positions,
    State,
    end_of,
    positive_numbers,
    refuse_other_domains,
    whole_number,
    within,
)


class PeerStream:
    """A `Stream` that follows another loader. Subclasses set `length` and find samples."""

    FORMAT: Format

    def __init__(self, weights: Mapping[str, float], sizes: Mapping[str, int] | None) -> None:
        if isinstance(weights, MixtureSchedule):
            raise SamplerError(
                "the loader that this stream follows has one blend for the whole run; MixtureSampler takes a schedule"
            )
        if not isinstance(weights, Mapping):
            raise SamplerError(f"weights must be a mapping from domain to number, got {type(weights).__name__}")
        self.domains: tuple[str, ...] = domain_names(weights, SamplerError)
        self.weights: list[float] = positive_numbers(weights, "weights", "; leave such domains out")
        self.sizes: Integers = _sizes(self.domains, sizes)
        self.length: int | None = None
        self._exhaustive = False

    def _find(self, sample: Integers) -> tuple[Integers, Integers]:
        """Return the domains of evenly spaced samples (m,), and how many samples each domain had before."""
        raise NotImplementedError

    def positions(self, start: int, stop: int, step: int = 1) -> Positions:
        """Return samples ``start, start + step, ...`` below ``stop`` as three int64 arrays, as a `MixtureSampler` does."""
        start, stop = whole_number("start", start, 0), whole_number("stop", stop, 0)
        step = whole_number("step", step, 1)
        end = end_of(self.length)
        if start < stop and stop > end:
            raise ExhaustedError(f"sample {stop - 1} is past the end of the stream of {end} samples")
        domain, had = self._find(np.arange(start, stop, step, dtype=np.int64))
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

    def state(self, position: int) -> State:
        """Return the state to resume from at sample ``position``, for JSON; one past the end is saved as the end."""
        return self.FORMAT.save(
            position=min(whole_number("position", position, 0), end_of(self.length)),
            domains=list(self.domains),
            history=self._history(),
        )

    def check_state(self, state: State) -> int:
        """Return the position of a state; `SamplerError` unless this stream saved it."""
        saved = self.FORMAT.read(state)
        position = within(saved["position"], self.length)
        refuse_other_domains(saved["domains"], self.domains, position)
        if saved["history"] != self._history():
            raise SamplerError("the state is of a stream with other domains, weights or sizes")
        return position

    def reordered(self, domains: Sequence[str]) -> PeerStream:
        """Return the stream with the same weights and its domains in the order of ``domains``; other domains come last.

        The order determines the samples: ``stream.reordered(state["domains"])`` is the stream of a saved state.
        """
        place = places(domains)
        names = sorted(self.domains, key=lambda name: place.get(name, len(place)))
        weights = dict(zip(self.domains, self.weights, strict=True))
        sizes = dict(zip(self.domains, self.sizes.tolist(), strict=True)) if self.sizes.any() else None
        return self._again({name: weights[name] for name in names}, sizes)

    def _again(self, weights: dict[str, float], sizes: dict[str, int] | None) -> PeerStream:
        """Return this stream with its weights in another order."""
        raise NotImplementedError

    def _history(self) -> str:
        facts = [self.domains, [w.hex() for w in self.weights], self.sizes.tolist(), self._exhaustive]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]

    def __repr__(self) -> str:
        end = "no end" if self.length is None else f"{self.length} samples"
        return f"{type(self).__name__}({len(self.domains)} domains, {end})"


def peer_format(name: str) -> Format:
    """Return the format of the states of a stream that follows the loader of this name."""
    return Format(
        f"mixfast-{name}-2",
        "the state",
        {"position": "count", "domains": "names", "history": "text"},
        former=f"mixfast-{name}-1",
        added=("domains",),
    )


def _sizes(domains: tuple[str, ...], sizes: Mapping[str, int] | None) -> Integers:
    """Return the samples of each domain (K,); 0 for all if sizes are None."""
    if sizes is None:
        return np.zeros(len(domains), dtype=np.int64)
    if not isinstance(sizes, Mapping) or any(name not in sizes for name in domains):
        raise AlignmentError.between("the weights", domains, "sizes", sizes)
    return np.array(
        [whole_number(f"the size of domain {shown(name)}", sizes[name], 1) for name in domains], dtype=np.int64
    )
