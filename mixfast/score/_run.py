"""A whole run: experts one after another over shards of the documents, shared among ranks, and joined to a table."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._text.names import listing
from mixfast.errors import MixfastWarning, ScoreError
from mixfast.score import _experts as loading
from mixfast.score import _shards as parts
from mixfast.score._ranks import Ranks, ranks
from mixfast.score._shards import Folder, Memory, Part
from mixfast.score._texts import Document, encoded
from mixfast.score._tokens import bos_of, fingerprint
from mixfast.score._windows import Scorer, choose_window, longest_window, scorer
from mixfast.tables import ExpertTable

# Characters of a document that nobody means to be one, and the bytes that a tokenizer's answer takes for each (measured).
_LONG, _TOKENIZED = 10_000_000, 200


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of `mixfast.score.score` that say what is computed and where."""

    level: str
    per: str
    window: int | None
    stride: int | None
    bos: str
    device: str
    dtype: str
    batch_tokens: int | None

    def __post_init__(self) -> None:
        if self.level not in ("sequence", "token"):
            raise ScoreError(f'level is {self.level!r}, expected "sequence" or "token"')
        if self.per not in ("auto", "token", "byte"):
            raise ScoreError(f'per is {self.per!r}, expected "auto", "token" or "byte"')
        if self.level == "token" and self.per == "byte":
            raise ScoreError('per "byte" is for level "sequence"; rows that are tokens have no length to divide by')
        if self.batch_tokens is not None and self.batch_tokens < 1:
            raise ScoreError(f"batch_tokens is {self.batch_tokens}, expected at least 1")


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
    """

    expert: str
    part: int
    parts: int
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Expert:
    """An expert that is not loaded yet, and its tokenizer."""

    name: str
    path: Path
    tokenizer: Any


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, every choice made: the same on all ranks."""

    experts: Sequence[Expert]
    documents: Sequence[Document]
    pieces: Sequence[range]
    level: str
    per: str
    device: str
    dtype: str
    window: int
    stride: int
    bos: str
    batch_tokens: int | None

    def store(self, out: Path | None) -> Folder | Memory:
        """Where parts are kept, with all that their values depend on."""
        if out is None:
            return Memory()
        experts = {
            one.name: f"{loading.fingerprint(one.path)}/{fingerprint(one.tokenizer)}/{bos_of(one.tokenizer, self.bos, one.name)}"
            for one in self.experts
        }
        settings = {key: getattr(self, key) for key in ("level", "dtype", "window", "stride", "bos")}
        return Folder(out, {"texts": parts.digest(self.documents), "experts": experts, **settings})

    def load(self, expert: Expert) -> Scorer:
        """An expert ready to score."""
        return scorer(
            loading.load_model(expert.name, expert.path, self.device, self.dtype),
            expert.tokenizer,
            self.documents,
            name=f"expert {expert.name}",
            window=self.window,
            stride=self.stride,
            bos=self.bos,
            batch_tokens=self.batch_tokens,
        )


def run(
    folders: dict[str, Path],
    documents: Sequence[Document],
    settings: Settings,
    out: Path | None,
    progress: Callable[[Progress], None] | None,
) -> ExpertTable:
    """Score what is not scored yet, wait for the other ranks, and join."""
    plan = _plan(folders, documents, settings)
    with ranks() as team:
        if out is None and team.world > 1:
            raise ScoreError(f"{team.world} ranks can only join what they score through a file: give out")
        store = plan.store(out)
        if team.rank == 0:
            store.open()
        team.wait()
        _work(plan, team, store, progress)
        team.wait()
        table = None
        if team.rank == 0:
            table = _join(plan, store)
            if out is not None:
                table.save(out)
                store.remove()
        team.wait()
    # All ranks but the first, which all have a file to read.
    return ExpertTable.load(str(out)) if table is None else table


def _plan(folders: dict[str, Path], documents: Sequence[Document], settings: Settings) -> Plan:
    device = loading.device_of(settings.device)
    for one in documents:
        encoded(one)
    _warn_of_long(documents)
    experts = [Expert(name, path, loading.load_tokenizer(name, path)) for name, path in folders.items()]
    per = _unit(experts, documents, settings)
    # One window for all experts: a longer context would be an advantage of one over another.
    allowed = {f"expert {one.name}": longest_window(loading.load_config(one.name, one.path)) for one in experts}
    window, stride = choose_window(allowed, settings.window, settings.stride)
    return Plan(
        experts,
        documents,
        parts.shards(documents),
        settings.level,
        per,
        device,
        loading.dtype_of(settings.dtype, device),
        window,
        stride,
        settings.bos,
        settings.batch_tokens,
    )


def _warn_of_long(documents: Sequence[Document]) -> None:
    sizes = {one.name: len(one.prompt) + len(one.text) for one in documents}
    long = [name for name, size in sizes.items() if size > _LONG]
    if long:
        warnings.warn(
            f"documents of more than {_LONG / 1e6:.0f} million characters: {listing(long)}; the tokenizer takes about "
            f"{_TOKENIZED * max(sizes.values()) / 1e9:.2g} GB of memory for the longest, and nothing of a document is kept before "
            "its end is scored: cut them up, or give --lines (lines=True) if each line of a .txt file is a document",
            MixfastWarning,
            stacklevel=5,
        )


def _work(plan: Plan, team: Ranks, store: Folder | Memory, progress: Callable[[Progress], None] | None) -> None:
    """Score this rank's share of all pairs of expert and piece, but for those that are there."""
    began = time.perf_counter()
    mine = team.mine(len(plan.experts) * len(plan.pieces))
    done = 0
    ready: tuple[Expert, Scorer] | None = None
    for place, job in enumerate(mine):
        k, shard = divmod(job, len(plan.pieces))
        expert = plan.experts[k]
        if store.has(expert.name, shard):
            continue
        if ready is None or ready[0] is not expert:
            # The last model goes before the next takes its place.
            ready = None
            ready = expert, plan.load(expert)

        def tell(n: int, expert: Expert = expert, place: int = place) -> None:
            nonlocal done
            done += n
            if progress is not None:
                progress(Progress(expert.name, place + 1, len(mine), done, time.perf_counter() - began))

        documents = [plan.documents[i] for i in plan.pieces[shard]]
        store.write(expert.name, shard, _part(ready[1], documents, plan.level, tell))


def _part(ready: Scorer, documents: Sequence[Document], level: str, tell: Callable[[int], None]) -> Part:
    tokens = ready.tokens(documents)
    values = ready.logprob(documents, tokens, tell)
    count = np.array([one.count for one in tokens], dtype=np.int64)
    n_bytes = np.array([one.n_bytes for one in tokens], dtype=np.int64)
    logprob = np.concatenate(values)
    none = np.zeros(0, dtype=np.int64)
    if level == "sequence":
        return Part(count, n_bytes, sums(logprob, count), none)
    known = [one.token_bytes for one in tokens if one.token_bytes is not None]
    return Part(count, n_bytes, logprob, np.concatenate(known) if len(known) == len(tokens) else none)


def sums(logprob: NDArray[np.float32], count: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums of the values of each document, in float64; 0 for one that has none."""
    document = np.repeat(np.arange(count.size), count)
    found: NDArray[np.float64] = np.bincount(document, weights=logprob, minlength=count.size).astype(np.float64)
    return found


def _unit(experts: Sequence[Expert], documents: Sequence[Document], settings: Settings) -> str:
    """What lengths count, "token" or "byte"; refuse experts whose rows would not be about the same text."""
    start = {one.name: bos_of(one.tokenizer, settings.bos, f"expert {one.name}") for one in experts}
    without = [name for name, bos in start.items() if bos is None]
    if without and len(without) < len(experts):
        raise ScoreError(
            f"the tokenizers of {listing(without)} have no BOS and the others have one: the first token of a document would be "
            'scored by some experts only; give bos "none", or a token that all have, such as "<|endoftext|>"'
        )
    digests = [fingerprint(one.tokenizer) for one in experts]
    if len(set(digests)) == 1:
        return "token" if settings.per == "auto" else settings.per
    alike: dict[str, list[str]] = {}
    for one, digest in zip(experts, digests, strict=True):
        alike.setdefault(digest, []).append(one.name)
    shown = "; ".join(listing(names) for names in alike.values())
    if settings.level == "token":
        raise ScoreError(
            f"experts have different tokenizers ({shown}), so their tokens are not the same rows; score them at level "
            '"sequence", where losses are per byte'
        )
    if settings.per == "token":
        raise ScoreError(
            f'experts have different tokenizers ({shown}), so a document has no one length in tokens; give per "byte"'
        )
    if without and any(not one.prompt for one in documents):
        raise ScoreError(
            f"experts have different tokenizers ({shown}) and no BOS, so each leaves another first token unscored and they "
            "score different text; give a bos that all have"
        )
    if settings.per == "auto":
        warnings.warn(
            f"experts have different tokenizers ({shown}): lengths are UTF-8 bytes, and losses nats per byte",
            MixfastWarning,
            stacklevel=4,
        )
    return "byte"


def _join(plan: Plan, store: Folder | Memory) -> ExpertTable:
    """Put the parts together: a column for each expert, and what they have in common from the first."""
    first = _whole(store, plan.experts[0], len(plan.pieces))
    usable = np.ones(len(plan.documents), dtype=bool)
    values = np.empty((first.loglik.size, len(plan.experts)), dtype=first.loglik.dtype)
    for k, expert in enumerate(plan.experts):
        found = first if k == 0 else _whole(store, expert, len(plan.pieces))
        # In the other unit experts may differ. A document may have tokens and no bytes: those of a character begun before.
        mine, theirs = (found.count, first.count) if plan.per == "token" else (found.n_bytes, first.n_bytes)
        usable &= (found.count > 0) & (mine > 0)
        apart = np.flatnonzero(usable & (mine != theirs)).tolist()
        if apart:
            raise ScoreError(
                f"experts {plan.experts[0].name} and {expert.name} scored different parts of {listing(plan.documents[i].name for i in apart)}"
            )
        values[:, k] = found.loglik
    if not usable.any():
        # Nothing is lost, and these parts would stand in the way of better texts.
        store.remove()
    if not usable.all():
        _tell_left_out([plan.documents[i].name for i in np.flatnonzero(~usable).tolist()], len(plan.documents))
    group = np.array([one.group for one in plan.documents], dtype=str)
    options: dict[str, Any] = {"domains": [one.name for one in plan.experts]}
    if plan.level == "sequence":
        length = first.count if plan.per == "token" else first.n_bytes
        options |= {"group": group[usable], "length": length[usable], "bytes": first.n_bytes[usable]}
        return ExpertTable.from_loglik(values[usable], **options)
    document = np.repeat(np.arange(len(plan.documents)), first.count)
    sizes = first.token_bytes if first.token_bytes.size else None
    return ExpertTable.from_loglik(values, group=group[document], sequence=document, bytes=sizes, **options)


def _whole(store: Folder | Memory, expert: Expert, n_pieces: int) -> Part:
    """All that an expert says."""
    found = [store.read(expert.name, shard) for shard in range(n_pieces)]
    return Part(
        np.concatenate([part.count for part in found]),
        np.concatenate([part.n_bytes for part in found]),
        np.concatenate([part.loglik for part in found]),
        np.concatenate([part.token_bytes for part in found]),
    )


def _tell_left_out(names: Sequence[str], n_documents: int) -> None:
    what = f"without a token to score (the first token of a document is scored after a BOS only): {listing(names)}"
    if len(names) == n_documents:
        raise ScoreError(f"no document can be scored; all are {what}")
    warnings.warn(f"{len(names)} of {n_documents} documents are left out, {what}", MixfastWarning, stacklevel=6)
