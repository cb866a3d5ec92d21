"""A whole run: experts one after another over shards of the documents, shared among ranks, and joined to a table."""

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

# Most parts that one message names.
_NAMED = 8


@dataclass(frozen=True, slots=True)
class Progress:
    """Tell how far this process is.

    Attributes
    ----------
    expert : str
        The expert at work.
    part, parts : int
        The part at work, from 1, and how many are this process's, over all experts; those of an earlier run count.
    tokens : int
        Tokens scored in this run so far.
    seconds : float
        Since the run began.
    found, found_texts, texts : int
        Of this process's parts those that an earlier run has finished, the texts in them, and the texts of all its parts. A text counts
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
    """Score what is not scored yet, wait for the other ranks, and join.

    1. Make every choice (`make_plan`), the same on all ranks.
    2. Rank 0 opens the folder of parts, or refuses one that another run has left or is at work in.
    3. Each rank scores its share of all pairs of expert and shard, except for those that are there (`_work`).
    4. Rank 0 joins the parts and writes the table; the others read it.
    """
    plan = make_plan(folders, documents, settings)
    with ranks() as team:
        if out is None and team.world > 1:
            raise ScoreError(f"{team.world} ranks can only join what they score through a file: give out")
        store = plan.store(out)
        with store.opened() if team.rank == 0 else nullcontext():
            team.wait()
            _work(plan, team, store, progress)
            team.wait()
            table = None
            if team.rank == 0:
                table = _join(plan, store)
                if out is not None:
                    # What stands there was checked before the work.
                    table.save(out, force=True)
                    store.remove()
        team.wait()
    # Without a table this is not rank 0, so there is a file.
    return ExpertTable.load(str(out)) if table is None else table


def _work(plan: Plan, team: Ranks, store: Store, progress: Callable[[Progress], None] | None) -> None:
    """Score this rank's share of all pairs of expert and shard, except for those that are there."""
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
        # Before the first batch, which may be minutes away: the run goes on, and where.
        tell(next((place for place, job in enumerate(mine) if job not in found), len(mine) - 1), 0)
    ready: tuple[Expert, Scorer] | None = None
    open_ = [(place, job) for place, job in enumerate(mine) if job not in found]
    for place, (k, shard) in tracked(open_, "scoring", len(open_), "part"):
        expert = plan.experts[k]
        if ready is None or ready[0] is not expert:
            # Let go of the last model before the next one takes memory.
            ready = None
            ready = expert, plan.load(expert)
        documents = [plan.documents[i] for i in plan.shards[shard]]
        store.write(expert.name, shard, _part(ready[1], documents, plan.settings.level, partial(tell, place)))


def _found(plan: Plan, store: Store, jobs: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
    """Return the jobs whose parts are there; parts that cannot be used are refused now, not when all others are scored."""
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
    """Score one shard, and keep what the level asks for."""
    found = ready.scores(documents, tell)
    none = np.zeros(0, dtype=np.int64)
    if level == "sequence":
        return Part(found.count, found.n_bytes, found.loglik, none)
    return Part(found.count, found.n_bytes, found.logprob, none if found.token_bytes is None else found.token_bytes)


def _join(plan: Plan, store: Store) -> ExpertTable:
    """Return the table of all parts: the values of each expert, and what experts have in common from the first."""
    first = _whole(store, plan.experts[0], len(plan.shards))
    usable = np.ones(len(plan.documents), dtype=bool)
    values = np.empty((first.loglik.size, len(plan.experts)), dtype=first.loglik.dtype)
    for k, expert in enumerate(plan.experts):
        found = first if k == 0 else _whole(store, expert, len(plan.shards))
        # Experts may differ in the other unit. A document may have tokens and no bytes: those of a character begun before.
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
        # These parts hold nothing, and a run over better texts would be refused because of them.
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
    """Return all that an expert says."""
    found = [store.read(expert.name, shard) for shard in range(n_shards)]
    return Part(
        np.concatenate([part.count for part in found]),
        np.concatenate([part.n_bytes for part in found]),
        np.concatenate([part.loglik for part in found]),
        np.concatenate([part.token_bytes for part in found]),
    )


def _tell_left_out(names: Sequence[str], n_documents: int) -> None:
    """Warn of documents that no expert scores any token of; refuse texts that hold no others."""
    what = f"without a token to score (the first token of a document is scored after a BOS only): {listing(names)}"
    if len(names) == n_documents:
        raise ScoreError(f"no document can be scored; all are {what}")
    warnings.warn(f"{len(names)} of {n_documents} documents are left out, {what}", MixfastWarning, stacklevel=5)
