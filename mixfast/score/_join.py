"""Join: the scores of every expert on consecutive shards of documents, as rows of a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._text.names import listing
from mixfast.errors import ScoreError
from mixfast.score._part_file import Part
from mixfast.score._plan import Expert, Plan
from mixfast.score._shards import Store


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a table.

    Attributes
    ----------
    arrays : dict
        The arguments of `ExpertTable.from_loglik`, all of them arrays. ``group_names`` are those of these rows.
    left_out : list of int
        Documents without a scored token.
    """

    arrays: dict[str, Any]
    left_out: list[int]

    @property
    def count(self) -> int:
        """Number of rows."""
        return int(self.arrays["loglik"].shape[0])


def join(plan: Plan, store: Store, shards: range) -> Rows:
    """Return the rows of consecutive shards: the values of every expert; documents and lengths come from the first."""
    documents = range(plan.shards[shards.start].start, plan.shards[shards.stop - 1].stop)
    first = _whole(store, plan.experts[0], shards)
    usable = np.ones(len(documents), dtype=bool)
    token_bytes = first.token_bytes
    values = np.empty((first.loglik.size, len(plan.experts)), dtype=first.loglik.dtype)
    for k, expert in enumerate(plan.experts):
        found = first if k == 0 else _whole(store, expert, shards)
        # Experts may differ in the other unit. A document may have tokens but no bytes, if its tokens continue an earlier character.
        mine, theirs = (found.count, first.count) if plan.settings.per == "token" else (found.n_bytes, first.n_bytes)
        usable &= (found.count > 0) & (mine > 0)
        apart = np.flatnonzero(usable & (mine != theirs)).tolist()
        if apart:
            raise ScoreError(
                f"experts {plan.experts[0].name} and {expert.name} scored different parts of "
                f"{listing(plan.documents[documents[i]].name for i in apart)}"
            )
        if found.loglik.shape != first.loglik.shape:
            raise ScoreError(
                f"experts {plan.experts[0].name} and {expert.name} scored {first.loglik.size:,} and {found.loglik.size:,} tokens "
                "of the same texts"
            )
        values[:, k] = found.loglik
        if expert is plan.measurer:
            token_bytes = found.token_bytes
    left_out = (documents.start + np.flatnonzero(~usable)).tolist()
    code = plan.group_codes[documents.start : documents.stop]
    if plan.settings.level == "sequence":
        length = first.count if plan.settings.per == "token" else first.n_bytes
        facts = {"length": length[usable], "bytes": first.n_bytes[usable]}
        return Rows(_arrays(plan, values[usable], code[usable], facts), left_out)
    document = np.repeat(np.arange(len(documents)), first.count)
    facts = {"sequence": plan.numbers[documents.start : documents.stop][document]}
    if token_bytes.size == document.size:
        facts["bytes"] = token_bytes
    return Rows(_arrays(plan, values, code[document], facts), left_out)


def _arrays(
    plan: Plan, values: NDArray[np.floating], code: NDArray[np.int32], facts: dict[str, NDArray[Any]]
) -> dict[str, Any]:
    # Only groups with rows are named, so that the rows are a table of their own.
    present, local = np.unique(code, return_inverse=True)
    return {
        "loglik": values,
        **facts,
        "group": local.reshape(-1).astype(np.int32),
        "group_names": np.array([plan.groups[group] for group in present.tolist()], dtype=str),
        "domains": np.array([one.name for one in plan.experts], dtype=str),
    }


def _whole(store: Store, expert: Expert, shards: range) -> Part:
    """Return the parts of an expert as one."""
    found = [store.read(expert.name, shard) for shard in shards]
    return Part(
        np.concatenate([part.count for part in found]),
        np.concatenate([part.n_bytes for part in found]),
        np.concatenate([part.loglik for part in found]),
        np.concatenate([part.token_bytes for part in found]),
    )
