"""Load a folder of parts: rank 0 reads the headers and hands them out, and all ranks look for groups in their rows."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mixfast._engine.backend.arrays import Vector
from mixfast._text.names import counted
from mixfast.errors import TableError
from mixfast.ranks import Ranks, Team
from mixfast.tables._blocks import Block, View
from mixfast.tables._names import some
from mixfast.tables._sharded import ShardedTable
from mixfast.tables._whole import Whole, listed, natural, read_whole, stamped, with_groups
from mixfast.tables.formats._manifest import Manifest


def load_parts(folder: str | os.PathLike[str], ranks: Ranks | Team | None, make: Callable[..., Any]) -> ShardedTable:
    """Return the table of a folder of parts. `make` makes the `ExpertTable` of a block.

    With ranks, either all of them call this, or rank 0 does in the work of `mixfast.ranks.run`.
    """
    team = Team.of(ranks)
    if team.leading:
        return _loaded(Path(folder), team, make)
    table: ShardedTable = team.lead(lambda: _loaded(Path(folder), team, make), "load")
    return table


def _loaded(folder: Path, team: Team, make: Callable[..., Any]) -> ShardedTable:
    token = os.urandom(16).hex()
    whole, manifest = read_whole(folder, _agreed(folder, team, token))
    whole = whole._replace(token=token)
    counts = whole.rows.sum()[None]
    if whole.has("group"):
        whole, counts = _grouped(whole, manifest, team, make)
    if (counts == 0).any():
        unused = [name for name, count in zip(whole.group_names, counts.tolist(), strict=True) if not count]
        raise TableError(f"{folder} names the groups {some(unused)}, but no row belongs to them")
    uniform = None
    if not whole.has("weight") and not whole.has("length") and (counts == counts[0]).all():
        uniform = 1.0 / int(counts[0])
    return ShardedTable(whole, View(tuple(map(int, counts)), uniform), make, team)


def _agreed(folder: Path, team: Team, token: str) -> list[tuple[str, int]]:
    """Return names and sizes of the parts; raise if a rank sees others."""
    digests = team.each(_digest, folder, token)
    if len(set(digests)) == 1:
        return listed(folder)
    lists = team.each(_listed, folder)
    rank = next((rank for rank, found in enumerate(lists) if found != lists[0]), 0)
    if not rank:
        return lists[0]
    name = min(set(lists[rank]) ^ set(lists[0]), key=lambda pair: natural(pair[0]))[0]
    sizes = [dict(found).get(name) for found in (lists[0], lists[rank])]
    here, there = ("no such file" if size is None else counted(size, "byte") for size in sizes)
    raise TableError(
        f"rank {rank} sees other parts in {folder} than rank 0: {name} ({there} on rank {rank}, {here} on rank 0); all ranks must read the "
        "same files, for example on a shared file system"
    )


def _grouped(whole: Whole, manifest: Manifest | None, team: Team, make: Callable[..., Any]) -> tuple[Whole, Vector]:
    """Return the table with its groups, and the rows of each."""
    entries: list[list[Any]] = [[] for _ in whole.parts]
    view = View((int(whole.rows.sum()),))
    for number, found in ShardedTable(whole, view, make, team).collect(_entries):
        entries[number].extend(found)
    whole = with_groups(whole, [list(dict.fromkeys(found)) for found in entries], manifest)
    return whole, ShardedTable(whole, view, make, team).reduce(_count_groups, size=len(whole.group_names))


def _digest(state: dict[Any, Any], folder: Path, token: str) -> bytes:
    """Return a hash of names and sizes; note dates and inodes, which may be different on another machine."""
    state["stamps", token] = stamps = stamped(folder)
    return hashlib.sha256(repr([(name, stamp.size) for name, stamp in stamps.items()]).encode()).digest()


def _listed(state: dict[Any, Any], folder: Path) -> list[tuple[str, int]]:
    return listed(folder)


def _entries(block: Block) -> tuple[int, list[Any]]:
    return block.part_number, block.group_entries()


def _count_groups(block: Block) -> Vector:
    codes = block.codes()
    return np.bincount(() if codes is None else codes, minlength=block.n_groups).astype(np.float64)
