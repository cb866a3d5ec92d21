"""A whole run: each expert scores shards of the documents, ranks share the work, and the parts are joined to a table."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mixfast._text.names import listing
from mixfast._text.progress import tracked
from mixfast.errors import MixfastWarning, ScoreError
from mixfast.score._part_file import Part
from mixfast.score._plan import Expert, Plan, Settings, make_plan
from mixfast.score._ranks import Ranks, ranks
from mixfast.score._scorer import Scorer
from mixfast.score._shards import Store
from mixfast.score._texts import Document
from mixfast.tables import ExpertTable

# A message names at most this many parts.
_NAMED = 8


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of this process.

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
    found, found_texts, texts : int
        Parts of this process that an earlier run finished, the texts in them, and the texts in all parts of this process. A text counts
        once for each expert.
    """

    expert: str
    part: int
    parts: int
    tokens: int
    seconds: float
    found: int = 0
    found_texts: int = 0
    texts: int = 0


def run(
    folders: dict[str, Path],
    documents: Sequence[Document],
    settings: Settings,
    out: Path | None,
    progress: Callable[[Progress], None] | None,
) -> ExpertTable:
    """Score what is not scored yet, wait for the other ranks, and join the parts.

    1. Make all choices (`make_plan`), the same on all ranks.
    2. Rank 0 opens the folder of parts, or refuses the folder of another run, finished or not.
    3. Each rank scores its share of all pairs of expert and shard, except for finished ones (`_work`).
    4. Rank 0 joins the parts and writes the table; the other ranks read it.
    """
    plan = make_plan(folders, documents, settings)
    with ranks() as team:
        if out is None and team.world > 1:
            raise ScoreError(f"{team.world} ranks join their parts through a file: give out")
        store = plan.store(out)
        with store.opened() if team.rank == 0 else nullcontext():
            team.wait()
            _work(plan, team, store, progress)
            team.wait()
            table = None
            if team.rank == 0:
                table = _join(plan, store)
                if out is not None:
                    # An existing file was checked before the work.
                    table.save(out, force=True)
                    store.remove()
        team.wait()
    # Ranks other than 0 have no table and read the file.
    return ExpertTable.load(str(out)) if table is None else table


def _work(plan: Plan, team: Ranks, store: Store, progress: Callable[[Progress], None] | None) -> None:
    """Score this rank's share of all pairs of expert and shard, except for finished ones."""
    began = time.perf_counter()
    mine = [divmod(job, len(plan.shards)) for job in team.mine(len(plan.experts) * len(plan.shards))]
    found = _found(plan, store, mine)
    texts = [sum(len(plan.shards[shard]) for _, shard in jobs) for jobs in (found, mine)]
    done = 0

    def tell(place: int, n: int) -> None:
        nonlocal done
        done += n
        if progress is not None:
            name, seconds = plan.experts[mine[place][0]].name, time.perf_counter() - began
            progress(Progress(name, place + 1, len(mine), done, seconds, len(found), *texts))

    if found:
        # The first batch may take minutes: report before it that the run continues, and from which part.
        tell(next((place for place, job in enumerate(mine) if job not in found), len(mine) - 1), 0)
    ready: tuple[Expert, Scorer] | None = None
    open_ = [(place, job) for place, job in enumerate(mine) if job not in found]
    for place, (k, shard) in tracked(open_, "scoring", len(open_), "part"):
        expert = plan.experts[k]
        if ready is None or ready[0] is not expert:
            # Free the last model before the next one takes memory.
            ready = None
            ready = expert, plan.load(expert)
        documents = [plan.documents[i] for i in plan.shards[shard]]
        store.write(expert.name, shard, _part(ready[1], documents, plan.settings.level, partial(tell, place)))


def _found(plan: Plan, store: Store, jobs: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
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
    none = np.zeros(0, dtype=np.int64)
    if level == "sequence":
        return Part(found.count, found.n_bytes, found.loglik, none)
    return Part(found.count, found.n_bytes, found.logprob, none if found.token_bytes is None else found.token_bytes)


def _join(plan: Plan, store: Store) -> ExpertTable:
    """Return the table of all parts: the values of every expert; documents, lengths and bytes come from the first."""
    first = _whole(store, plan.experts[0], len(plan.shards))
    usable = np.ones(len(plan.documents), dtype=bool)
    values = np.empty((first.loglik.size, len(plan.experts)), dtype=first.loglik.dtype)
    for k, expert in enumerate(plan.experts):
        found = first if k == 0 else _whole(store, expert, len(plan.shards))
        # Experts may differ in the other unit. A document may have tokens but no bytes, if its tokens continue an earlier character.
        mine, theirs = (found.count, first.count) if plan.settings.per == "token" else (found.n_bytes, first.n_bytes)
        usable &= (found.count > 0) & (mine > 0)
        apart = np.flatnonzero(usable & (mine != theirs)).tolist()
        if apart:
            raise ScoreError(
                f"experts {plan.experts[0].name} and {expert.name} scored different parts of "
                f"{listing(plan.documents[i].name for i in apart)}"
            )
        if found.loglik.shape != first.loglik.shape:
            raise ScoreError(
                f"experts {plan.experts[0].name} and {expert.name} scored {first.loglik.size:,} and {found.loglik.size:,} tokens "
                "of the same texts"
            )
        values[:, k] = found.loglik
    if not usable.any():
        # These parts are empty, and because of them a run over other texts would be refused.
        store.remove()
    if not usable.all():
        _tell_left_out([plan.documents[i].name for i in np.flatnonzero(~usable).tolist()], len(plan.documents))
    group = np.array([one.group for one in plan.documents], dtype=str)
    domains = [one.name for one in plan.experts]
    if plan.settings.level == "sequence":
        length = first.count if plan.settings.per == "token" else first.n_bytes
        return ExpertTable.from_loglik(
            values[usable],
            domains=domains,
            group=group[usable],
            length=length[usable],
            bytes=first.n_bytes[usable],
        )
    document = np.repeat(np.arange(len(plan.documents)), first.count)
    sizes = first.token_bytes if first.token_bytes.size == document.size else None
    return ExpertTable.from_loglik(values, domains=domains, group=group[document], sequence=document, bytes=sizes)


def _whole(store: Store, expert: Expert, n_shards: int) -> Part:
    """Return all parts of an expert as one."""
    found = [store.read(expert.name, shard) for shard in range(n_shards)]
    return Part(
        np.concatenate([part.count for part in found]),
        np.concatenate([part.n_bytes for part in found]),
        np.concatenate([part.loglik for part in found]),
        np.concatenate([part.token_bytes for part in found]),
    )


def _tell_left_out(names: Sequence[str], n_documents: int) -> None:
    """Warn about documents without a scored token; refuse texts in which no document has one."""
    what = f"without a token to score (the first token of a document is only scored after a BOS): {listing(names)}"
    if len(names) == n_documents:
        raise ScoreError(f"no document can be scored; all are {what}")
    warnings.warn(f"{len(names)} of {n_documents} documents are left out, {what}", MixfastWarning, stacklevel=5)
