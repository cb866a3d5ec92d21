"""A whole run: each expert scores shards of the documents, ranks share the work, and the parts are joined to a table."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mixfast._text.names import listing
from mixfast._text.progress import working
from mixfast.errors import MixfastWarning, ScoreError
from mixfast.ranks import Team
from mixfast.score._join import join
from mixfast.score._part_file import Part
from mixfast.score._plan import Expert, Plan, Settings, make_plan
from mixfast.score._result import Joined, finish, pieces, write_joined
from mixfast.score._run_file import Description
from mixfast.score._scorer import Scorer
from mixfast.score._shards import Folder, Store
from mixfast.score._texts import Document, Texts
from mixfast.tables import ExpertTable

_T = TypeVar("_T")
# A message names at most this many parts.
_NAMED = 8
_NONE = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of this process, and the parts that an earlier run of all processes has finished.

    Attributes
    ----------
    expert : str
        The expert that is scoring.
    part, parts : int
        Number of the current part, from 1, and of all parts of this process over all experts, including those of an earlier run.
    tokens : int
        Tokens scored in this run so far.
    seconds : float
        Seconds since the run began.
    found, found_texts : int
        Parts that an earlier run finished, and the texts in them, over all processes. A text counts once for each expert.
    all_parts, texts : int
        All parts of all processes, and the texts in them.
    joined, to_join : int
        After the scoring: parts of the result that this process has joined, and all that it joins.
    """

    expert: str
    part: int
    parts: int
    tokens: int
    seconds: float
    found: int = 0
    found_texts: int = 0
    all_parts: int = 0
    texts: int = 0
    joined: int = 0
    to_join: int = 0


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Job:
    """What to score, as rank 0 sends it to all ranks: each of them reads texts in files by itself."""

    folders: dict[str, Path]
    texts: Texts | Sequence[Document]
    settings: Settings
    out: Path | None

    @property
    def as_folder(self) -> bool:
        """Whether the table is written as a folder of parts."""
        return self.out is not None and self.out.suffix != ".npz"

    def plan(self) -> Plan:
        """Read the texts and make all choices."""
        documents = self.texts.read() if isinstance(self.texts, Texts) else self.texts
        return make_plan(self.folders, documents, self.settings)


@dataclass(slots=True)
class _Run:
    """A run on one rank.

    `finished` are the parts of this rank that an earlier run finished; `found` is how many parts, and texts in them, those of all ranks
    are, and is known to rank 0 only.
    """

    plan: Plan
    store: Store
    progress: Callable[[Progress], None] | None = None
    finished: set[tuple[int, int]] = field(default_factory=set)
    found: tuple[int, int] = (0, 0)

    @property
    def all(self) -> tuple[int, int]:
        """All parts of all ranks, and the texts in them."""
        return len(self.plan.experts) * len(self.plan.shards), len(self.plan.experts) * len(self.plan.documents)


def run(job: Job, progress: Callable[[Progress], None] | None, team: Team) -> ExpertTable | None:
    """Score what is not scored yet, and join the parts; called on rank 0 while the others serve.

    1. Make all choices (`make_plan`), the same on all ranks.
    2. Open the folder of parts, or refuse the folder of another run, finished or not.
    3. Each rank scores its share of all pairs of expert and shard, except for finished ones (`_work`).
    4. Each rank joins its share of the parts of the result (`_join`), which then becomes the output; a single file is joined by rank 0.

    Returns the table if it was joined in memory.
    """
    if job.out is None and not team.alone:
        raise ScoreError(f"{team.size} ranks join their parts through files: give out")
    plan = job.plan()
    store = plan.store(job.out)
    key = team.key(job)
    here = team.state[key] = _Run(plan, store, progress)
    if not team.alone:
        _check_alike(store, team.each(_prepare, key, job))
    table = None
    with store.opened():
        found = team.each(_find, key)
        here.found = sum(parts for parts, _ in found), sum(texts for _, texts in found)
        team.each(_work, key)
        if job.as_folder and isinstance(store, Folder):
            made = [one for each in team.each(_join, key) for one in each]
            _tell_left_out(plan, store, [document for one in made for document in one.left_out])
            finish(plan, store, made)
        else:
            rows = join(plan, store, range(len(plan.shards)))
            _tell_left_out(plan, store, rows.left_out)
            table = ExpertTable.from_loglik(**rows.arrays)
            if job.out is not None:
                # An existing file was checked before the work.
                table.save(job.out, force=True)
        store.remove()
    return table


def _prepare(state: dict[Any, Any], key: int, job: Job) -> Description | None:
    """Plan the run on this rank, and return what its values depend on."""
    if key not in state:
        with warnings.catch_warnings():
            # Rank 0 has warned.
            warnings.simplefilter("ignore", MixfastWarning)
            plan = job.plan()
        state[key] = _Run(plan, plan.store(job.out))
    store = state[key].store
    return store.description if isinstance(store, Folder) else None


def _check_alike(store: Store, described: Sequence[Description | None]) -> None:
    """Refuse ranks that would compute something else."""
    for rank, found in enumerate(described):
        if isinstance(store, Folder) and found is not None and found != store.description:
            differs = store.description.differences(found, f"rank {rank}:", "rank 0:")
            raise ScoreError(
                f"rank {rank} and rank 0 would not score the same; what differs: {differs}. All machines need the same texts, experts "
                "and kind of device"
            )


def _share(jobs: int, state: dict[Any, Any]) -> range:
    """Return the jobs of this rank: consecutive ones, so that each rank loads few experts."""
    rank, size = state["rank"], state["size"]
    return range(jobs * rank // size, jobs * (rank + 1) // size)


def _jobs(here: _Run, state: dict[Any, Any]) -> list[tuple[int, int]]:
    """Return this rank's share of all pairs of expert and shard."""
    shards = len(here.plan.shards)
    return [divmod(job, shards) for job in _share(len(here.plan.experts) * shards, state)]


def _find(state: dict[Any, Any], key: int) -> tuple[int, int]:
    """Find this rank's finished parts, before any rank scores; return how many they are, and the texts in them."""
    here: _Run = state[key]
    here.finished = _finished(here.plan, here.store, _jobs(here, state))
    return len(here.finished), sum(len(here.plan.shards[shard]) for _, shard in here.finished)


def _work(state: dict[Any, Any], key: int) -> None:
    """Score this rank's share of all pairs of expert and shard, except for finished ones."""
    here: _Run = state[key]
    plan, store, progress = here.plan, here.store, here.progress
    began = time.perf_counter()
    mine = _jobs(here, state)
    done = 0

    def tell(place: int, n: int) -> None:
        nonlocal done
        done += n
        if progress is not None:
            name, seconds = plan.experts[mine[place][0]].name, time.perf_counter() - began
            progress(Progress(name, place + 1, len(mine), done, seconds, *here.found, *here.all))

    open_ = [(place, job) for place, job in enumerate(mine) if job not in here.finished]
    if here.found[0] and mine:
        # The first batch may take minutes: report before it that the run continues, and from which part.
        tell(open_[0][0] if open_ else len(mine) - 1, 0)
    ready: tuple[Expert, Scorer] | None = None
    for place, (k, shard) in _tracked(open_, "scoring", here):
        expert = plan.experts[k]
        if ready is None or ready[0] is not expert:
            # Free the last model before the next one takes memory.
            ready = None
            ready = expert, plan.load(expert)
        documents = [plan.documents[i] for i in plan.shards[shard]]
        part = _part(ready[1], documents, plan.settings.level, partial(tell, place))
        if expert is not plan.measurer:
            part = replace(part, token_bytes=_NONE)
        store.write(expert.name, shard, part)


def _finished(plan: Plan, store: Store, jobs: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
    """Return the jobs with finished parts; refuse parts that cannot be used now rather than after scoring all others."""
    found, problems = set(), []
    for k, shard in jobs:
        name = plan.experts[k].name
        if store.has(name, shard):
            try:
                store.read(name, shard)
            except ScoreError as problem:
                problems.append(str(problem))
            found.add((k, shard))
    if len(problems) > 1:
        raise ScoreError(f"{len(problems)} parts of an earlier run cannot be used: {'; '.join(problems[:_NAMED])}")
    if problems:
        raise ScoreError(problems[0])
    return found


def _part(ready: Scorer, documents: Sequence[Document], level: str, tell: Callable[[int], None]) -> Part:
    """Score one shard, and keep what the level needs."""
    found = ready.scores(documents, tell)
    if level == "sequence":
        return Part(found.count, found.n_bytes, found.loglik, _NONE)
    return Part(found.count, found.n_bytes, found.logprob, _NONE if found.token_bytes is None else found.token_bytes)


def _join(state: dict[Any, Any], key: int) -> list[Joined]:
    """Write this rank's share of the parts of the result."""
    here: _Run = state[key]
    plan, store = here.plan, here.store
    began = time.perf_counter()
    all_ = pieces(plan)
    mine = _share(len(all_), state)
    made: list[Joined] = []
    for number in _tracked(mine, "joining", here):
        if isinstance(store, Folder):
            made.append(write_joined(plan, store, number, all_[number]))
        if here.progress is not None:
            name, parts, seconds = plan.experts[-1].name, len(_jobs(here, state)), time.perf_counter() - began
            here.progress(Progress(name, parts, parts, 0, seconds, *here.found, *here.all, len(made), len(mine)))
    return made


def _tracked(items: Sequence[_T], what: str, here: _Run) -> Iterator[_T]:
    """Yield items, and draw a progress bar unless the caller shows the progress."""
    with working(what, len(items), "part") as work:
        if here.progress is not None:
            work.never_draw()
        for item in items:
            yield item
            work.advance()


def _tell_left_out(plan: Plan, store: Store, left_out: Sequence[int]) -> None:
    """Warn about documents without a scored token; refuse texts in which no document has one."""
    if not left_out:
        return
    names = [plan.documents[i].name for i in left_out]
    what = f"without a token to score (the first token of a document is only scored after a BOS): {listing(names)}"
    if len(names) == len(plan.documents):
        # These parts are empty, and because of them a run over other texts would be refused.
        store.remove()
        raise ScoreError(f"no document can be scored; all are {what}")
    warnings.warn(f"{len(names)} of {len(plan.documents)} documents are left out, {what}", MixfastWarning, stacklevel=5)
