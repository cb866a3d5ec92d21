"""Put the parts of a run together: a table with a column for each expert."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from mixfast._text.names import listing
from mixfast.errors import MixfastWarning, ScoreError
from mixfast.score._plan import Expert, Plan
from mixfast.score._shards import Part, Store
from mixfast.tables import ExpertTable


def join(plan: Plan, store: Store) -> ExpertTable:
    """Return the table of all parts: the values of each expert, and what experts have in common from the first."""
    first = _whole(store, plan.experts[0], len(plan.shards))
    usable = np.ones(len(plan.documents), dtype=bool)
    values = np.empty((first.loglik.size, len(plan.experts)), dtype=first.loglik.dtype)
    for k, expert in enumerate(plan.experts):
        found = first if k == 0 else _whole(store, expert, len(plan.shards))
        # Experts may differ in the other unit. A document may have tokens and no bytes: those of a character begun before.
        mine, theirs = (found.count, first.count) if plan.per == "token" else (found.n_bytes, first.n_bytes)
        usable &= (found.count > 0) & (mine > 0)
        apart = np.flatnonzero(usable & (mine != theirs)).tolist()
        if apart:
            raise ScoreError(
                f"experts {plan.experts[0].name} and {expert.name} scored different parts of "
                f"{listing(plan.documents[i].name for i in apart)}"
            )
        values[:, k] = found.loglik
    if not usable.any():
        # These parts hold nothing, and a run over better texts would be refused because of them.
        store.remove()
    if not usable.all():
        _tell_left_out([plan.documents[i].name for i in np.flatnonzero(~usable).tolist()], len(plan.documents))
    group = np.array([one.group for one in plan.documents], dtype=str)
    domains = [one.name for one in plan.experts]
    if plan.level == "sequence":
        length = first.count if plan.per == "token" else first.n_bytes
        return ExpertTable.from_loglik(
            values[usable],
            domains=domains,
            group=group[usable],
            length=length[usable],
            bytes=first.n_bytes[usable],
        )
    document = np.repeat(np.arange(len(plan.documents)), first.count)
    sizes = first.token_bytes if first.token_bytes.size else None
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
