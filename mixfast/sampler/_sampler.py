"""MixtureSampler: map the number of a sample to its domain, its index in the domain and its epoch."""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast._engine.backend import stream
from mixfast._text.frozen import Frozen, locked
from mixfast._text.names import listing, shown
from mixfast.errors import ExhaustedError, MixfastWarning, SamplerError
from mixfast.mixture import Mixture
from mixfast.sampler._checks import POLICIES, domain_sizes, domains_with_shares, sample_limits
from mixfast.sampler._cursor import MixtureCursor
from mixfast.sampler._history import History
from mixfast.sampler._numbers import LONGEST, Integers, whole_number
from mixfast.sampler._plan import Plan
from mixfast.sampler._positions import Positions, end_of
from mixfast.sampler._schedule import MixtureSchedule
from mixfast.sampler._state import Format, State, refuse_other_domains, within

FORMAT = Format(
    "mixfast-sampler-2",
    "the state",
    {"algorithm": "count", "position": "count", "seed": "count", "domains": "names", "history": "text"},
    former="mixfast-sampler-1",
    added=("domains",),
)
# Increase this whenever the same arguments give another stream and a state's history does not show it. A state of another
# version is refused.
ALGORITHM = 1

# Samples found at once when the stream is iterated over.
_BLOCK = 4096


class MixtureSampler(Frozen):
    """Tell from which domain each sample of a training run comes, as a pure function of the sample's number.

    ``sampler[i]`` is ``(domain, index, epoch)``: the number of the domain in ``domains``, the index of the sample within
    the domain, and how often the domain has been read completely before. With constant shares, every prefix of the stream has
    each domain within 1.5 samples of its exact share; the Notes describe changing shares. Nothing is stored for each sample,
    so sample 10^15 is found as fast as the first.

    Parameters
    ----------
    mixture : Mixture or MixtureSchedule
        Shares of the samples (of training tokens, if all samples have the same length).
    sizes : mapping of str to int, or array_like of int, shape (K,), optional
        Samples of each domain; an array is in the order of the domains. Without sizes domains have no end: indices count
        up, are not shuffled, and the epoch is 0.
    seed : int
        Determines the order within the domains; the sequence of domains does not depend on it.
    on_exhausted : {"repeat", "stop", "redistribute"}
        What happens when a domain has been read ``max_epochs`` times. ``"repeat"`` reads each domain as often as the run
        needs. If a limit would be exceeded within ``length``, the sampler is refused; without a length, the stream ends
        there. ``"stop"`` ends the stream before the first sample that would exceed a limit. ``"redistribute"`` continues
        with the other domains in proportion to their shares; on a ramp, their shares move linearly to those at its end.
    max_epochs : float or mapping of str to float, optional
        Maximum number of passes over a domain. It need not be whole: the limit is rounded down to whole samples, 2.3 times 10
        samples are 23. Default, also for domains that a mapping leaves out: no limit for ``"repeat"``, else 1. Infinity,
        or None in a mapping, means no limit.
    shuffle : bool
        Whether to read a domain in a new pseudo-random order in each epoch (default), or from first to last.
    length : int, optional
        Samples of the run. Limits are checked against it, and a warning names domains without a sample in it.

    Attributes
    ----------
    domains : tuple of str
        Names of the domains by number, in the order in which the mixture or the schedule first names them.
    schedule : MixtureSchedule
    length : int or None
        Samples of the stream; None for a stream without an end, which has 2^60 samples.
    seed : int
    sizes : (K,) int64
        Samples of each domain; 0 for all if domains have no end.

    Raises
    ------
    SamplerError
        If sizes, limits or seed are malformed, a domain with a share has no samples, or the limits are reached before
        ``length`` samples; the message names the first sample that would exceed one.
    AlignmentError
        If a domain has no size.

    Notes
    -----
    Shares are rounded once, to multiples of 2^-62. Everything else is exact in integers of up to 128 bits, so the stream
    is the same on all machines. Building costs K log K time and K memory, once for each change of the schedule and each
    domain that leaves, and a few times for a ramp: 0.3 ms for 2419 domains; 1.5 s and 330 MB if all of them leave one after
    the other. `positions` costs log K additions for each sample, ``sampler[i]`` log K divisions. There are no threads and no
    state: an instance may be shared by threads, forked and pickled.

    After a change of shares each domain continues from its count, which is compared with its exact count since the first
    sample. The bound of 1.5 samples is then not proved, and no method can keep it, because the stream before a change does
    not depend on the change. Example: each domain that has just been sampled loses its share to the others. In any order,
    the last of K domains is then H_K - 1 samples behind, with H_K = 1 + 1/2 + ... + 1/K: 1.72 with 8 domains and 6
    changes. Of 300 schedules with 11 random changes, 0.3 % exceeded 1.5 at some sample (7 % with rough shares), the worst
    by 0.7, until the stream had corrected the difference. A domain whose share drops to 0 keeps its surplus or deficit;
    the others absorb it.

    The order within a domain is only pseudo-random: in a domain of fewer than about 50 samples, some orders are more frequent
    than others. Each epoch always reads each sample exactly once.

    References
    ----------
    R. Tijdeman, The chairman assignment problem, Discrete Mathematics 32 (1980), for the best possible bound.
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
        if on_exhausted not in POLICIES:
            raise SamplerError(f"on_exhausted must be one of {listing(POLICIES)}, got {shown(on_exhausted)}")
        self.schedule: MixtureSchedule = mixture
        self.domains: tuple[str, ...] = mixture.domains
        self.seed: int = whole_number("seed", seed, 0)
        if self.seed >= 1 << 64:
            raise SamplerError(f"seed must be below 2^64, got {seed}")
        if length is not None:
            length = whole_number("length", length, 1)
            if length > LONGEST:
                raise SamplerError(f"length must be at most 2^60 samples, got {length}")
        self.on_exhausted = on_exhausted
        self.shuffle: bool = bool(shuffle)
        self._arguments = {
            "mixture": mixture, "sizes": sizes, "seed": self.seed, "on_exhausted": on_exhausted, "max_epochs": max_epochs,
            "shuffle": self.shuffle, "length": length,
        }  # fmt: skip
        named, sampled = domains_with_shares(mixture)
        self.sizes: Integers = locked(domain_sizes(self.domains, sizes, sampled))
        self._caps = locked(sample_limits(self.domains, self.sizes, max_epochs, on_exhausted))
        self._table = stream.domain_table(self.sizes, self.seed)
        self._plan = Plan(mixture, self._caps, on_exhausted == "redistribute", length)
        self.length: int | None = self._plan.end if self._plan.end is not None else length
        self._end = end_of(self.length)
        self._history = History(mixture, self.sizes, self._caps, self._plan.left, self.shuffle)
        self._check_run(length, named, sampled)

    # The stream.

    def __getitem__(self, i: int) -> tuple[int, int, int]:
        if type(i) is not int:
            i = _number(i)
        if not 0 <= i < self._end:
            raise self._beyond(i)
        plan = self._plan
        stage = plan.stages[bisect_right(plan.starts, i) - 1] if len(plan.starts) > 1 else plan.stages[0]
        found: tuple[int, int, int] = stage.tree.at(self._table, self.shuffle, i)
        return found

    def positions(self, start: int, stop: int, step: int = 1, *, out: Positions | None = None) -> Positions:
        """Return samples ``start, start + step, ...`` below ``stop`` as three int64 arrays.

        With ``step`` the number of ranks and ``start`` offset by the rank, this is one rank's part of the global stream.
        ``out`` is filled and returned: for long parts, allocating new arrays costs as much as finding the samples.

        Raises
        ------
        ExhaustedError
            If the stream ends before ``stop``.
        SamplerError
            If a bound is not a whole number, the step is not positive, or ``out`` is not three contiguous int64 arrays of
            as many elements as there are samples.
        """
        start, stop = whole_number("start", start, 0), whole_number("stop", stop, 0)
        step = min(whole_number("step", step, 1), LONGEST)
        if start < stop and stop > self._end:
            raise self._beyond(stop - 1)
        count = len(range(start, min(stop, LONGEST), step))
        found = _columns(count, out)
        # Finding a single sample costs about as much as finding ten consecutive ones.
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
            plan.stages[j].tree.fill(self._table, self.shuffle, first, step, *(column[part] for column in found))
            at = part.stop
        return found

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        for at in range(0, self._end, _BLOCK):
            block = self.positions(at, min(at + _BLOCK, self._end))
            yield from zip(*(column.tolist() for column in block), strict=True)

    def __len__(self) -> int:
        if self.length is None:
            raise TypeError("this stream has no end; give the sampler a length")
        return self.length

    def counts(self, sample: int) -> Integers:
        """Return how many samples of each domain (K,) come before a sample; exact, at a cost of K log K."""
        sample = whole_number("sample", sample, 0)
        if sample > self._end:
            raise self._beyond(sample - 1)
        j = max(bisect_right(self._plan.starts, sample) - 1, 0)
        return self._plan.stages[j].counts(sample)

    def first_samples(self) -> dict[str, int | None]:
        """Return the number of each domain's first sample; None if it has none in this stream."""
        plan = self._plan
        found = np.full(len(self.domains), -1, dtype=np.int64)
        for j, stage in enumerate(plan.stages):
            new = stage.tree.domain.astype(np.int64)
            new = new[(found[new] < 0) & (stage.sampled[new] == 0)]
            until = plan.starts[j + 1] if j + 1 < len(plan.starts) else self._end
            at = stage.when(new, np.ones(len(new), dtype=np.int64))
            found[new[at < until]] = at[at < until]
        return {name: at if at >= 0 else None for name, at in zip(self.domains, found.tolist(), strict=True)}

    # Stopping and resuming.

    def cursor(self, position: int = 0) -> MixtureCursor:
        """Return a `MixtureCursor`: a position in the stream that advances and can be saved."""
        return MixtureCursor(self, position)

    def state(self, position: int) -> State:
        """Return the state to resume from at sample ``position``, for JSON: a few integers, and the names of the domains.

        It does not depend on ranks, workers or batches. `check_state` of a stream that differs before ``position`` refuses
        it. A position past the end of the stream, as after an incomplete last batch, is saved as the end.
        """
        position = min(whole_number("position", position, 0), self._end)
        return FORMAT.save(
            algorithm=ALGORITHM,
            position=position,
            seed=self.seed,
            domains=list(self._history.domains(position)),
            history=self._history.before(position),
        )

    def check_state(self, state: State) -> int:
        """Return the position of a state; `SamplerError` unless this sampler's stream is the same up to there.

        What follows may differ: schedules may be extended or changed after the position, and new domains may be named.
        The same domains in another order give another stream: `reordered` returns the saved one. A state with a field that is
        missing, unknown, altered or of another kind is refused, and the message names the field.
        """
        saved = FORMAT.read(state)
        if saved["algorithm"] != ALGORITHM:
            raise SamplerError(
                f"the state was saved by version {saved['algorithm']} of the algorithm, and this is version {ALGORITHM}, which "
                "gives another stream; resume with the release of mixfast that saved it"
            )
        if saved["seed"] != self.seed:
            raise SamplerError(f"the state was saved with seed {saved['seed']}, and this sampler has seed {self.seed}")
        position = within(saved["position"], self.length)
        refuse_other_domains(saved["domains"], self._history.domains(position), position)
        if saved["history"] != self._history.before(position):
            raise SamplerError(
                f"the state is at sample {position} of another stream: up to there the schedule, the order and the sizes of its "
                "domains, limits of repetition and shuffle must be those it was saved with; what follows may be changed"
            )
        return position

    def reordered(self, domains: Sequence[str]) -> MixtureSampler:
        """Return the sampler with the same shares and its domains in the order of ``domains``; other domains come last.

        The order determines the samples: ties between equal shares are broken by number, and the number selects the order
        within a domain. ``sampler.reordered(state["domains"])`` is the stream of a saved state.
        """
        sizes = self._arguments["sizes"]
        if sizes is not None:
            sizes = dict(zip(self.domains, self.sizes.tolist(), strict=True))
        return _rebuild({**self._arguments, "mixture": self.schedule.reordered(domains), "sizes": sizes})

    def _compared(self) -> dict[str, Any]:
        facts = ("schedule", "sizes", "seed", "on_exhausted", "shuffle", "length")
        return {"caps": self._caps, **{name: getattr(self, name) for name in facts}}

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self._arguments,)

    def __repr__(self) -> str:
        end = "no end" if self.length is None else f"{self.length} samples"
        return f"MixtureSampler({len(self.domains)} domains, {end}, seed {self.seed}, algorithm {ALGORITHM})"

    # Refusals.

    def _check_run(self, length: int | None, named: NDArray[np.bool_], sampled: NDArray[np.bool_]) -> None:
        """Refuse a run that is longer than its limits allow; warn of domains that have a share but no sample."""
        plan = self._plan
        if length is not None and plan.end is not None and plan.end < length and self.on_exhausted != "stop":
            raise SamplerError(f"{self._why()}; the run has {length} samples. Raise max_epochs, or shorten the run")
        late = named & ~sampled
        if self.length is not None:
            late = named & (self.counts(self.length) == 0)
        if late.any():
            run = "2^60 samples that can be counted" if self.length is None else f"{self.length} samples of the run"
            warnings.warn(
                f"the {run} contain no sample of these domains: {listing(self.domains[k] for k in np.flatnonzero(late))}",
                MixfastWarning,
                stacklevel=3,
            )

    def _why(self) -> str:
        """Describe the limit that ends the stream."""
        plan = self._plan
        if plan.spent < 0:
            return f"at sample {plan.end} all domains with a share have been read max_epochs times"
        name, cap = self.domains[plan.spent], int(self._caps[plan.spent])
        return f"at sample {plan.end} domain {shown(name)} would be read beyond its limit of {cap} samples"

    def _beyond(self, i: int) -> ExhaustedError:
        """Return the error for a sample outside the stream."""
        if i < 0:
            return ExhaustedError(f"samples are counted from 0, got {i}")
        if self.length is None:
            return ExhaustedError(f"sample {i} is beyond the last that can be counted, 2^60 - 1")
        why = f": {self._why()}" if self._plan.end == self.length else ""
        return ExhaustedError(f"sample {i} is past the end of the stream of {self.length} samples{why}")


def _columns(count: int, out: Positions | None) -> Positions:
    """Return the arrays to fill: new ones, or ``out`` if it fits."""
    if out is None:
        return Positions(*(np.empty(count, dtype=np.int64) for _ in range(3)))
    try:
        found = Positions(*out)
    except TypeError:
        raise SamplerError(f"out must be three arrays of {count} int64, got {shown(out)}") from None
    for name, column in zip(Positions._fields, found, strict=True):
        if not isinstance(column, np.ndarray):
            raise SamplerError(f"out.{name} must be an array of {count} int64, got a {type(column).__name__}")
        fits = column.dtype == np.int64 and column.shape == (count,)
        if not (fits and column.flags.c_contiguous and column.flags.writeable):
            raise SamplerError(
                f"out.{name} must be a contiguous int64 array of {count} elements that may be written to, got {column.dtype} "
                f"{column.shape}{'' if column.flags.writeable else ', read-only'}"
            )
    return found


def _number(i: object) -> int:
    """Return the number of a sample as an int: whole numbers of Python and numpy, but not True, 5.0 or slices."""
    if isinstance(i, (bool, np.bool_)) or not isinstance(i, (int, np.integer)):
        raise SamplerError(f"a sample is asked for by its number, got {shown(i)}; positions(start, stop) gives many")
    return int(i)


def _rebuild(arguments: Mapping[str, Any]) -> MixtureSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixfastWarning)  # given when it was first made
        return MixtureSampler(**arguments)
