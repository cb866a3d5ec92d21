"""MixtureSchedule: a mixture that changes during training, in steps and along straight lines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend import stream
from mixfast._text.json import read_json
from mixfast._text.names import listing, misspelt, places, shown
from mixfast.errors import MixtureError, SamplerError
from mixfast.mixture import Mixture
from mixfast.sampler._numbers import LONGEST, SHARE_BITS, Integers, whole_number

SCHEDULE_FORMAT = "mixfast-schedule-1"
# On longer ramps the rounding of the slopes would move a domain by more than 1/128 of a sample.
_LONGEST_RAMP = 1 << 36


@dataclass(frozen=True)
class Change:
    """A change to ``mixture`` at sample ``start``; with ``stop``, shares move linearly and reach ``mixture`` at ``stop``."""

    start: int
    mixture: Mixture
    stop: int | None = None


class MixtureSchedule:
    """Define the mixture at every sample of a run: constant at first, then changed at once or along straight lines.

    Parameters
    ----------
    mixture : Mixture
        The shares from the first sample on.
    sample_tokens : int, optional
        Tokens of one sample. If given, all positions of `then` and `ramp` are in tokens, and a change takes effect at the
        first sample that begins at or after its token. Otherwise positions are in samples.

    Attributes
    ----------
    changes : tuple
        Each has ``start`` (in samples), ``mixture`` and ``stop`` (the end of a ramp, else None).
    domains : tuple of str
        All domains, in the order in which the changes first name them.

    Raises
    ------
    SamplerError
        If a change does not come after the one before it, or a ramp is empty, too long or begins inside another one.

    Examples
    --------
    >>> from mixfast import Mixture
    >>> web, code = Mixture(["web", "code"], [0.9, 0.1]), Mixture(["web", "code"], [0.5, 0.5])
    >>> schedule = MixtureSchedule(web).ramp(code, start=1000, stop=3000)
    >>> schedule.at(2000)
    Mixture(web 0.7, code 0.3)
    """

    def __init__(self, mixture: Mixture, *, sample_tokens: int | None = None) -> None:
        if not isinstance(mixture, Mixture):
            raise SamplerError(f"a schedule begins with a Mixture, got {type(mixture).__name__}")
        if sample_tokens is not None:
            sample_tokens = whole_number("sample_tokens", sample_tokens, 1)
        self.sample_tokens = sample_tokens
        self.changes: tuple[Change, ...] = (Change(0, mixture),)
        self.domains: tuple[str, ...] = mixture.domains

    def then(self, mixture: Mixture, *, at: int) -> MixtureSchedule:
        """Return the schedule with the shares of ``mixture`` from ``at`` on; a ramp that has not ended by then ends there."""
        return self._with(Change(self._sample("at", at), mixture))

    def ramp(self, mixture: Mixture, *, start: int, stop: int) -> MixtureSchedule:
        """Return the schedule with shares that change linearly from those at ``start`` to ``mixture`` at ``stop``."""
        change = Change(self._sample("start", start), mixture, self._sample("stop", stop))
        last = self.changes[-1]
        if last.stop is not None and change.start < last.stop:
            raise SamplerError(
                f"a ramp begins at sample {change.start}, inside the ramp of samples {last.start} to {last.stop}; "
                f"begin it at sample {last.stop} or later"
            )
        if not 0 < (change.stop or 0) - change.start <= _LONGEST_RAMP:
            raise SamplerError(
                f"a ramp goes from sample {change.start} to {change.stop}; its length must be between 1 and 2^36 samples"
            )
        return self._with(change)

    def until(self, sample: int) -> MixtureSchedule:
        """Return the schedule without the changes at and after ``sample``."""
        return self._of(tuple(change for change in self.changes if change.start < max(sample, 1)))

    def reordered(self, domains: Sequence[str]) -> MixtureSchedule:
        """Return the same schedule with the domains of each mixture in the order of ``domains``; other domains come last."""
        place = places(domains)
        changes = []
        for change in self.changes:
            names = sorted(change.mixture.domains, key=lambda name: place.get(name, len(place)))
            changes.append(replace(change, mixture=change.mixture.align(names)))
        return self._of(tuple(changes))

    def at(self, sample: int) -> Mixture:
        """Return the mixture at a sample, over all domains of the schedule (rounded to float64)."""
        sample = whole_number("sample", sample, 0)
        done = [change for change in self.changes if change.start <= sample]
        shares = self.vector(done[-1].mixture)
        stop = done[-1].stop
        if stop is not None and sample < stop:
            passed = (sample - done[-1].start) / (stop - done[-1].start)
            shares = passed * shares + (1 - passed) * self.vector(done[-2].mixture)
        return Mixture(self.domains, shares / shares.sum())

    def shares(self, change: Change) -> Integers:
        """Return the shares (K,) of a change's mixture in units of 2^-62, with the sum 2^62.

        A share below 2^-62 becomes 0: it would give no sample in any run.
        """
        return stream.blend_shares(np.floor(np.ldexp(self.vector(change.mixture), SHARE_BITS)).astype(np.int64))

    def as_dict(self) -> dict[str, Any]:
        """Return the schedule as plain lists, dicts, strings and numbers; `from_dict` restores it exactly."""
        changes = []
        for change in self.changes:
            entry: dict[str, Any] = {"start": change.start, "mixture": change.mixture.as_dict()}
            changes.append(entry if change.stop is None else {**entry, "stop": change.stop})
        return {"format": SCHEDULE_FORMAT, "sample_tokens": self.sample_tokens, "changes": changes}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> MixtureSchedule:
        """Build a schedule from what `as_dict` gives; `SamplerError` if a field is missing, unknown or of the wrong kind."""
        changes = (
            entry.get("changes") if isinstance(entry, Mapping) and entry.get("format") == SCHEDULE_FORMAT else None
        )
        if not isinstance(changes, list) or not changes:
            raise SamplerError(
                f"a schedule is a mapping with format {SCHEDULE_FORMAT!r} and its changes, got {shown(entry)}"
            )
        _refuse_unknown(entry, "a schedule", ("format", "sample_tokens", "changes"))
        for change in changes:
            if not isinstance(change, Mapping) or not {"start", "mixture"} <= set(change):
                raise SamplerError(f"a change of a schedule has a start and a mixture, got {shown(change)}")
            _refuse_unknown(change, "a change of a schedule", ("start", "stop", "mixture"))
        first, *later = changes
        if whole_number("start of the first change", first["start"], 0) != 0 or first.get("stop") is not None:
            raise SamplerError(f"a schedule starts with constant shares at sample 0, got {shown(first)}")
        found = cls(_mixture(first))
        for change in later:
            mixture, start, stop = _mixture(change), change["start"], change.get("stop")
            found = found.then(mixture, at=start) if stop is None else found.ramp(mixture, start=start, stop=stop)
        if entry.get("sample_tokens") is not None:
            found.sample_tokens = whole_number("sample_tokens", entry["sample_tokens"], 1)
        return found

    def to_json(self) -> str:
        """Return the schedule as JSON."""
        return json.dumps(self.as_dict())

    @classmethod
    def from_json(cls, text: str) -> MixtureSchedule:
        """Read what `to_json` writes."""
        try:
            entry = read_json(text, SamplerError)
        except SamplerError as problem:
            raise SamplerError(f"a schedule is written as JSON, and this is {problem}: {shown(text)}") from problem
        return cls.from_dict(entry)

    def __eq__(self, other: object) -> bool:
        # Mixtures are equal in any order of domains; streams are not, because they number the domains.
        return (
            isinstance(other, MixtureSchedule) and self.domains == other.domains and self.as_dict() == other.as_dict()
        )

    def __hash__(self) -> int:
        return hash(self.changes)

    def __repr__(self) -> str:
        words = [
            f"{change.mixture!r} from {change.start}" + (f" to {change.stop}" if change.stop is not None else "")
            for change in self.changes
        ]
        return f"MixtureSchedule({'; '.join(words)})"

    def _with(self, change: Change) -> MixtureSchedule:
        if not isinstance(change.mixture, Mixture):
            raise SamplerError(f"a schedule changes to a Mixture, got {type(change.mixture).__name__}")
        last = self.changes[-1]
        # A ramp may begin at the sample at which its first mixture does, for instance at sample 0.
        if change.start < last.start + (change.stop is None):
            raise SamplerError(
                f"a change at sample {change.start} must come after the one before it, which is at sample {last.start}"
            )
        return self._of((*self.changes, change))

    def _of(self, changes: tuple[Change, ...]) -> MixtureSchedule:
        found = MixtureSchedule(changes[0].mixture, sample_tokens=self.sample_tokens)
        found.changes = changes
        found.domains = tuple(dict.fromkeys(name for change in changes for name in change.mixture.domains))
        return found

    def _sample(self, what: str, position: int) -> int:
        position = whole_number(what, position, 0)
        sample = -(-position // (self.sample_tokens or 1))
        if sample > LONGEST:
            raise SamplerError(f"{what} is sample {sample}, beyond the last that can be counted, 2^60")
        return sample

    def vector(self, mixture: Mixture) -> NDArray[np.float64]:
        """Return the shares (K,) of a mixture in the order of ``domains``."""
        if mixture.domains == self.domains:
            return mixture.weights
        return np.array([mixture.get(name, 0.0) for name in self.domains])


def _refuse_unknown(entry: Mapping[str, Any], what: str, known: tuple[str, ...]) -> None:
    """Refuse unknown fields, which may be misspelt."""
    if unknown := [name for name in entry if name not in known]:
        raise SamplerError(f"{what} has no field {misspelt(unknown, known)}; its fields are {listing(known)}")


def _mixture(change: Mapping[str, Any]) -> Mixture:
    try:
        return Mixture.from_dict(change["mixture"])
    except MixtureError as problem:
        raise SamplerError(f"the mixture of the change at {shown(change['start'])}: {problem}") from problem
