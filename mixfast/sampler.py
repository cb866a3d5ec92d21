"""MixtureSampler: from the number of a sample to its domain, its place there and its epoch, for any mixture and schedule."""

from __future__ import annotations

import hashlib
import json
import warnings
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast._backend import core
from mixfast._sampler_plan import Plan
from mixfast._sampler_schedule import LONGEST, MixtureSchedule, whole_number
from mixfast.errors import AlignmentError, ExhaustedError, MixfastWarning, SamplerError, listing
from mixfast.mixture import Mixture

__all__ = ["MixtureCursor", "MixtureSampler", "MixtureSchedule", "Positions"]

Integers = NDArray[np.int64]

FORMAT = "mixfast-sampler-1"
# Counts up whenever the same arguments would give another stream; a state of another version is refused.
ALGORITHM = 1

_POLICIES = ("repeat", "stop", "redistribute")
_ANY = 1 << 62
_BLOCK = 4096


class Positions(NamedTuple):
    """Samples of a stream: number of the domain, index within the domain, and epoch, three int64 arrays of one length."""

    domain: Integers
    index: Integers  # type: ignore[assignment]  # tuple.index is in the way
    epoch: Integers


class MixtureSampler:
    """Say where each sample of a training run comes from: a pure function of the sample's number.

    ``sampler[i]`` is ``(domain, index, epoch)``: the number of the domain in ``domains``, the index of the sample within
    the domain, and how often the domain has been read before. Every prefix of the stream holds each domain within 1.5
    samples of its exact share. Nothing is stored a sample, so that sample 10^15 comes as fast as the first.

    Parameters
    ----------
    mixture : Mixture or MixtureSchedule
        Shares of the samples (of training tokens, where samples have one length).
    sizes : mapping of str to int, or array_like of int, shape (K,), optional
        Samples of each domain; an array is in the order of the domains. Left out, domains have no end: indices count up,
        are not shuffled, and the epoch is 0.
    seed : int
        Picks the order within the domains; the order of the domains does not depend on it.
    on_exhausted : {"repeat", "stop", "redistribute"}
        What happens when a domain has been read ``max_epochs`` times: ``"repeat"`` reads each again as often as it takes,
        and a limit is a promise, checked against ``length`` when the sampler is made; ``"stop"`` ends the stream before
        the first sample that would exceed a limit; ``"redistribute"`` goes on with the others, in proportion to
        their shares.
    max_epochs : float or mapping of str to float, optional
        Most passes over a domain, whole or not, cut to whole samples. Default: any number for ``"repeat"``, else 1.
    shuffle : bool
        Read a domain in a new pseudo-random order in each epoch (default), or from first to last.
    length : int, optional
        Samples of the run. Limits are checked against it, and a domain whose first sample would come later is named.

    Attributes
    ----------
    domains : tuple of str
        Names of the domains by number: in the order of the mixture, or in which a schedule first names them.
    schedule : MixtureSchedule
    length : int or None
        Samples of the stream; None for a stream without an end (2^60 samples).
    seed : int

    Raises
    ------
    SamplerError
        If sizes, limits or seed are malformed, a domain with a share has no samples, or the limits do not last for
        ``length`` samples; the first sample at which they fail is named.
    AlignmentError
        If a domain has no size.

    Notes
    -----
    Shares are rounded to multiples of 2^-62 once; all else is exact in integers of up to 128 bits, alike on all
    machines. A stream may have 2^60 samples. Work and memory are K log K to build, once more for each change of the
    schedule and each domain that leaves, and a few times on a ramp; `positions` costs log K additions a sample, and a
    sample alone log K divisions. No threads, no state: an instance may be shared by threads, forked and pickled.

    After a change of shares the domains go on from where they are, and what has been drawn is held against the exact
    count since the first sample. No stream that does not know its changes in advance can keep 1.5 at every one of many:
    right after a change a domain may be one sample further off, until that has been worked off. A domain that leaves
    keeps what it is ahead or behind, and the others share the difference.

    References
    ----------
    R. Tijdeman, The chairman assignment problem, Discrete Mathematics 32 (1980), for what can be kept at best.
    J. Black and P. Rogaway, Ciphers with arbitrary finite domains, CT-RSA 2002, for the order within a domain.

    Examples
    --------
    >>> from mixfast import Mixture
    >>> mixture = Mixture(["web", "code", "books"], [0.5, 0.3, 0.2])
    >>> sampler = MixtureSampler(mixture, {"web": 1000, "code": 40, "books": 300}, seed=7, shuffle=False)
    >>> sampler.positions(0, 10).domain
    array([0, 1, 0, 2, 0, 1, 0, 2, 0, 1])
    >>> sampler[10**15]
    (0, 0, 500000000000)
    """

    def __init__(
        self,
        mixture: Mixture | MixtureSchedule,
        sizes: Mapping[str, int] | ArrayLike | None = None,
        *,
        seed: int,
        on_exhausted: Literal["repeat", "stop", "redistribute"] = "repeat",
        max_epochs: float | Mapping[str, float] | None = None,
        shuffle: bool = True,
        length: int | None = None,
    ) -> None:
        if isinstance(mixture, Mixture):
            mixture = MixtureSchedule(mixture)
        if not isinstance(mixture, MixtureSchedule):
            raise SamplerError(f"mixture must be a Mixture or a MixtureSchedule, got {type(mixture).__name__}")
        if on_exhausted not in _POLICIES:
            raise SamplerError(f"on_exhausted must be one of {listing(_POLICIES)}, got {on_exhausted!r}")
        self.schedule = mixture
        self.domains = mixture.domains
        self.seed = whole_number("seed", seed, 0)
        if self.seed >= 1 << 64:
            raise SamplerError(f"seed must be below 2^64, got {seed}")
        if length is not None:
            length = whole_number("length", length, 1)
            if length > LONGEST:
                raise SamplerError(f"length must be at most 2^60 samples, got {length}")
        self.on_exhausted = on_exhausted
        self.shuffle = bool(shuffle)
        self._arguments = (mixture, sizes, max_epochs, length)
        self._sizes = _sizes(self.domains, sizes, mixture)
        self._caps = _caps(self.domains, self._sizes, max_epochs, on_exhausted)
        self._table = core.domain_table(self._sizes, self.seed)
        self._plan = Plan(mixture, self._caps, on_exhausted == "redistribute", length)
        self.length = self._plan.end if self._plan.end is not None else length
        if length is not None:
            self._check_length(length)

    # The stream.

    def __getitem__(self, i: int) -> tuple[int, int, int]:
        if not 0 <= i < (LONGEST if self.length is None else self.length):
            raise self._beyond(i)
        plan = self._plan
        stage = plan.stages[bisect_right(plan.starts, i) - 1] if len(plan.starts) > 1 else plan.stages[0]
        found: tuple[int, int, int] = stage.core.at(self._table, self.shuffle, i)
        return found

    def positions(self, start: int, stop: int, step: int = 1, *, out: Positions | None = None) -> Positions:
        """Return samples ``start, start + step, ...`` below ``stop`` as three int64 arrays.

        With ``step`` the number of ranks and ``start`` offset by the rank, this is one rank's part of the global stream.
        ``out`` is written to and returned: for long parts, new memory costs as much as the samples do.

        Raises
        ------
        ExhaustedError
            If the stream ends before ``stop``.
        SamplerError
            If a bound is not a whole number, the step is not positive, or ``out`` is not three contiguous int64 arrays of
            as many elements as there are samples.
        """
        start, stop, step = (
            whole_number("start", start, 0),
            whole_number("stop", stop, 0),
            whole_number("step", step, 1),
        )
        count = len(range(start, stop, step))
        if stop > (LONGEST if self.length is None else self.length) and count:
            raise self._beyond(stop - 1)
        if out is None:
            found = Positions(*(np.empty(count, dtype=np.int64) for _ in range(3)))
        else:
            found = Positions(*out)
            for name, column in zip(Positions._fields, found, strict=True):
                if column.dtype != np.int64 or column.shape != (count,) or not column.flags.c_contiguous:
                    raise SamplerError(
                        f"out.{name} must be a contiguous int64 array of {count} elements, got {column.dtype} {column.shape}"
                    )
        # A way down the tree for a sample costs about as much as ten samples in a row.
        if 1 < step <= 10 and count:
            every = self.positions(start, stop)
            for column, whole in zip(found, every, strict=True):
                column[:] = whole[::step]
            return found
        plan, at = self._plan, 0
        while at < count:
            first = start + at * step
            j = bisect_right(plan.starts, first) - 1
            until = min(stop, plan.starts[j + 1]) if j + 1 < len(plan.starts) else stop
            part = slice(at, at + len(range(first, until, step)))
            plan.stages[j].core.fill(self._table, self.shuffle, first, step, *(column[part] for column in found))
            at = part.stop
        return found

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        at, end = 0, LONGEST if self.length is None else self.length
        while at < end:
            block = self.positions(at, min(at + _BLOCK, end))
            yield from zip(*(column.tolist() for column in block), strict=True)
            at += _BLOCK

    def __len__(self) -> int:
        if self.length is None:
            raise TypeError("this stream has no end; give the sampler a length")
        return self.length

    def counts(self, sample: int) -> Integers:
        """Return how many samples of each domain (K,) come before a sample: exact, in K log K work."""
        sample = whole_number("sample", sample, 0)
        if sample > (LONGEST if self.length is None else self.length):
            raise self._beyond(sample - 1)
        j = max(bisect_right(self._plan.starts, sample) - 1, 0)
        return self._plan.stages[j].counts(sample)

    def first_samples(self) -> dict[str, int | None]:
        """Return the number of each domain's first sample; None where it has none in this stream."""
        plan = self._plan
        end = LONGEST if self.length is None else self.length
        found = np.full(len(self.domains), -1, dtype=np.int64)
        for j, stage in enumerate(plan.stages):
            new = stage.core.domain.astype(np.int64)
            new = new[(found[new] < 0) & (stage.drawn[new] == 0)]
            until = plan.starts[j + 1] if j + 1 < len(plan.starts) else end
            at = stage.when(new, np.ones(len(new), dtype=np.int64))
            found[new[at < until]] = at[at < until]
        return {name: at if at >= 0 else None for name, at in zip(self.domains, found.tolist(), strict=True)}

    # Stopping and going on.

    def cursor(self, position: int = 0) -> MixtureCursor:
        """Return a place in the stream that moves on and can be saved."""
        return MixtureCursor(self, position)

    def state(self, position: int) -> dict[str, Any]:
        """Return what must be kept to go on at sample ``position``: a few strings and integers, for JSON.

        It does not depend on ranks, workers or batches. `check_state` refuses it where the stream before ``position``
        would have been another one.
        """
        position = whole_number("position", position, 0)
        return {
            "format": FORMAT,
            "algorithm": ALGORITHM,
            "position": position,
            "seed": self.seed,
            "history": self._history(position),
        }

    def check_state(self, state: Mapping[str, Any]) -> int:
        """Return the position of a state; `SamplerError` unless this sampler's stream is the same up to there.

        The future may differ: schedules may be extended or changed behind the position, and new domains may be named.
        """
        if not isinstance(state, Mapping) or state.get("format") != FORMAT:
            raise SamplerError(f"a state of a sampler has the format {FORMAT!r}, got {state!r:.200}")
        missing = {"algorithm", "position", "seed", "history"} - set(state)
        if missing:
            raise SamplerError(f"the state lacks {listing(sorted(missing))}")
        if state["algorithm"] != ALGORITHM:
            raise SamplerError(
                f"the state was saved by version {state['algorithm']!r} of the algorithm, this is version {ALGORITHM}, whose "
                "stream is another; go on with the release of mixfast that saved it"
            )
        if state["seed"] != self.seed:
            raise SamplerError(f"the state was saved with seed {state['seed']!r}, this sampler has seed {self.seed}")
        position = whole_number("the state's position", state["position"], 0)
        if self.length is not None and position > self.length:
            raise SamplerError(f"the state is at sample {position}, behind the end of this stream at {self.length}")
        if state["history"] != self._history(position):
            raise SamplerError(
                f"the state is at sample {position} of another stream: up to there the schedule, the sizes of its domains, "
                "limits of repetition and shuffle must be those it was saved with; what follows may be changed"
            )
        return position

    def _history(self, position: int) -> str:
        """Hash of all that decides the stream before a position; of nothing at the start, where all is still open."""
        if position == 0:
            return hashlib.sha256(b"").hexdigest()[:32]
        past = self.schedule.until(position)
        seen = len(past.domains)
        entry = past.as_dict()
        del entry["sample_tokens"]
        facts = {
            "schedule": entry,
            "sizes": self._sizes[:seen].tolist(),
            "caps": self._caps[:seen].tolist() if self.on_exhausted == "redistribute" else None,
            "shuffle": self.shuffle,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (*self._arguments, self.seed, self.on_exhausted, self.shuffle)

    def __repr__(self) -> str:
        end = "no end" if self.length is None else f"{self.length} samples"
        return f"MixtureSampler({len(self.domains)} domains, {end}, seed {self.seed}, algorithm {ALGORITHM})"

    # What is refused.

    def _check_length(self, length: int) -> None:
        plan = self._plan
        if plan.end is not None and plan.end < length and self.on_exhausted != "stop":
            raise SamplerError(f"{self._why()}; the run has {length} samples. Raise max_epochs, or shorten the run")
        late = [name for name, at in self.first_samples().items() if at is None]
        if late:
            warnings.warn(
                f"no sample of these domains comes in the {self.length} samples of the run: {listing(late)}",
                MixfastWarning,
                stacklevel=3,
            )

    def _why(self) -> str:
        plan = self._plan
        if plan.spent < 0:
            return f"at sample {plan.end} all domains with a share have been read max_epochs times"
        name, cap = self.domains[plan.spent], int(self._caps[plan.spent])
        return f"at sample {plan.end} domain {name!r} would be read beyond its limit of {cap} samples"

    def _beyond(self, i: int) -> Exception:
        if i < 0:
            return ExhaustedError(f"samples are counted from 0, got {i}")
        if self.length is None:
            return ExhaustedError(f"sample {i} is beyond the last that can be counted, 2^60 - 1")
        why = f": {self._why()}" if self._plan.end == self.length else ""
        return ExhaustedError(f"sample {i} is behind the end of the stream of {self.length} samples{why}")


class MixtureCursor:
    """A place in a sampler's stream that moves on, and is saved and restored as a few integers.

    Parameters
    ----------
    sampler : MixtureSampler
    position : int
        The next global sample.

    Examples
    --------
    >>> from mixfast import Mixture
    >>> sampler = MixtureSampler(Mixture(["web", "code"], [0.75, 0.25]), seed=0)
    >>> cursor = sampler.cursor()
    >>> cursor.take(8, rank=1, world_size=2).index
    array([1, 2, 4, 5])
    >>> saved = cursor.state_dict()
    >>> again = sampler.cursor()
    >>> again.load_state_dict(saved)
    >>> again.position
    8
    """

    def __init__(self, sampler: MixtureSampler, position: int = 0) -> None:
        self.sampler = sampler
        self.position = whole_number("position", position, 0)

    def take(self, count: int, *, rank: int = 0, world_size: int = 1) -> Positions:
        """Return a rank's part of the next ``count`` global samples, and move behind them.

        Rank r of W gets the r-th of them and each W-th after it, so that all ranks together get each once. At the end of
        the stream there may be fewer, or none.
        """
        count = whole_number("count", count, 0)
        rank, world_size = whole_number("rank", rank, 0), whole_number("world_size", world_size, 1)
        if rank >= world_size:
            raise SamplerError(f"rank must be below world_size, got rank {rank} of {world_size}")
        end = LONGEST if self.sampler.length is None else self.sampler.length
        stop = max(self.position, min(self.position + count, end))
        found = self.sampler.positions(self.position + rank, stop, world_size)
        self.position = stop
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return the sampler's state at this place."""
        return self.sampler.state(self.position)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Move to the place of a state; `SamplerError` unless the stream up to there is this sampler's."""
        self.position = self.sampler.check_state(state)

    def __repr__(self) -> str:
        return f"MixtureCursor(position {self.position} of {self.sampler!r})"


def _rebuild(schedule: Any, sizes: Any, caps: Any, length: Any, seed: Any, policy: Any, shuffle: Any) -> MixtureSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixfastWarning)  # given when it was first made
        return MixtureSampler(
            schedule, sizes, seed=seed, on_exhausted=policy, max_epochs=caps, shuffle=shuffle, length=length
        )


def _sizes(domains: tuple[str, ...], sizes: Any, schedule: MixtureSchedule) -> Integers:
    """Samples of each domain (K,), 0 for all where domains have no end."""
    if sizes is None:
        return np.zeros(len(domains), dtype=np.int64)
    if isinstance(sizes, Mapping):
        try:
            sizes = [sizes[name] for name in domains]
        except KeyError:
            raise AlignmentError.between("the mixture", domains, "sizes", sizes) from None
    try:
        given = np.asarray(sizes)
    except (ValueError, OverflowError) as problem:
        raise SamplerError(f"sizes must be whole numbers, one for each domain: {problem}") from problem
    if given.shape != (len(domains),):
        raise SamplerError(
            f"sizes must have one number for each of the {len(domains)} domains, got shape {given.shape}"
        )
    if given.dtype.kind not in "iu":
        raise SamplerError(f"sizes must be whole numbers of samples, got {given.dtype} ({listing(given.tolist())})")
    wrong = (given < 0) | (given > LONGEST)
    if wrong.any():
        named = [f"{domains[k]}={given[k]}" for k in np.flatnonzero(wrong)]
        raise SamplerError(f"sizes must be between 1 and 2^60 samples, got {listing(named)}")
    drawn = np.zeros(len(domains), dtype=bool)
    for change in schedule.changes:
        drawn |= schedule.shares(change) > 0
    empty = [domains[k] for k in np.flatnonzero(drawn & (given == 0))]
    if empty:
        raise SamplerError(f"these domains have a share but no samples: {listing(empty)}; drop them from the mixture")
    return np.ascontiguousarray(given, dtype=np.int64)


def _caps(domains: tuple[str, ...], sizes: Integers, max_epochs: Any, policy: str) -> Integers:
    """Most samples of each domain (K,); 2^62 for any number."""
    caps = np.full(len(domains), _ANY, dtype=np.int64)
    if max_epochs is None:
        if policy == "repeat":
            return caps
        max_epochs = 1
    if not sizes.any():
        raise SamplerError(f"on_exhausted={policy!r} and max_epochs count passes over domains: give their sizes")
    if isinstance(max_epochs, Mapping):
        unknown = set(max_epochs) - set(domains)
        if unknown:
            raise AlignmentError.between("max_epochs", max_epochs, "the mixture", domains)
        wishes = [max_epochs.get(name) for name in domains]
    else:
        wishes = [max_epochs] * len(domains)
    for k, (name, wish) in enumerate(zip(domains, wishes, strict=True)):
        if wish is None or (isinstance(wish, float) and wish == float("inf")):
            continue
        if isinstance(wish, bool) or not isinstance(wish, (int, float, np.integer, np.floating)) or not wish > 0:
            raise SamplerError(f"max_epochs must be positive numbers, got {wish!r} for domain {name!r}")
        cap = int(Fraction(float(wish)) * int(sizes[k]))
        if cap == 0 and sizes[k] > 0:
            raise SamplerError(f"max_epochs {wish!r} leaves no sample of domain {name!r}, which has {sizes[k]}")
        caps[k] = min(cap, _ANY)
    return caps
