"""Find the parts of a table in a folder and make one table of their headers: rows, domains aligned by name, groups."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._text.names import listing, places, positions
from mixfast.errors import TableError
from mixfast.tables._group_names import labels_of, ordered_names
from mixfast.tables._made import Made, joined, ordered
from mixfast.tables._names import domain_names, some
from mixfast.tables._opening import read_part
from mixfast.tables._parts import VECTORS, Part, Stamp
from mixfast.tables.formats._folder import PART
from mixfast.tables.formats._manifest import FILE as MANIFEST
from mixfast.tables.formats._manifest import Manifest


class Whole(NamedTuple):
    """A table of parts, as rank 0 knows it and every rank gets it.

    Attributes
    ----------
    path : Path
        The folder.
    parts : tuple of Part
    domains : tuple of K str
    orders : tuple of (K,) int32 or None
        For each part the columns of the domains; None if they have the order of the domains.
    group_names : tuple of G str
    codes : tuple of dict or None
        For each part the table's code of each entry of ``group``; None if there are no groups.
    made : Made or None
        How the values were made.
    token : str
        Names the loading of the folder, at which each rank noted the dates and inodes of the files as it sees them.
    """

    path: Path
    parts: tuple[Part, ...]
    domains: tuple[str, ...]
    orders: tuple[NDArray[np.int32] | None, ...]
    group_names: tuple[str, ...] = ("all",)
    codes: tuple[dict[Any, int] | None, ...] = ()
    made: Made | None = None
    token: str = ""

    @property
    def rows(self) -> NDArray[np.int64]:
        """Rows of each part."""
        return np.array([part.rows for part in self.parts], dtype=np.int64)

    def has(self, key: str) -> bool:
        """Whether the parts have a vector of the rows."""
        return key in self.parts[0].arrays


def listed(folder: Path) -> list[tuple[str, int]]:
    """Return names and sizes of the parts in a folder, in the natural order of their names; refuse what is not a file."""
    return [(name, stamp.size) for name, stamp in stamped(folder).items()]


def stamped(folder: Path) -> dict[str, Stamp]:
    """Return the parts in a folder with their sizes, dates and inodes, in the natural order of their names."""
    with os.scandir(folder) as entries:
        found = {entry.name: _stamp(entry) for entry in entries if PART.fullmatch(entry.name)}
    # part-1 and part-01 have the same number: their order must not depend on the file system.
    return {name: found[name] for name in sorted(found, key=lambda name: (natural(name), name))}


def _stamp(entry: os.DirEntry[str]) -> Stamp:
    try:
        status = entry.stat()
    except FileNotFoundError:
        raise TableError(
            f"{entry.path} is a link to a file that does not exist, or was deleted just now: copy the part, or remove the link"
        ) from None
    # Opening a pipe would wait for ever, and reading a device would never end.
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise TableError(f"{entry.path} is {kind}, but has the name of a part of a table: expected a file")
    return Stamp.of(status)


def is_sharded(folder: Path) -> bool:
    """Whether a folder is a table of parts."""
    return os.path.lexists(folder / MANIFEST) or bool(listed(folder))


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts part-10 after part-2."""
    return [(0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in re.split(r"(\d+)", name)]


def read_whole(folder: Path, files: Sequence[tuple[str, int]]) -> tuple[Whole, Manifest | None]:
    """Read the headers of all parts and check that they make one table; return its table.json too."""
    manifest = Manifest.read(folder)
    suffixes = sorted({Path(name).suffix for name, _ in files})
    if len(suffixes) > 1:
        raise TableError(
            f"{folder} holds parts of several formats ({', '.join(suffixes)}), expected one: move all parts of one format "
            "elsewhere, or write one folder of all rows with mixfast table merge"
        )
    if manifest is not None:
        compare_listed(manifest, folder, files)
    if not files:
        raise TableError(
            f"{folder} holds no parts: expected files part-00000.npz, part-00001.npz, ... (or .npy or .parquet)"
        )
    parts = tuple(read_part(folder / name) for name, _ in files)
    if manifest is not None:
        _compare_parts(manifest, parts)
    _check_alike(parts)
    domains = _domains(parts, None if manifest is None else manifest.domains)
    orders = tuple(_order(part, domains) for part in parts)
    groups = ("all",) if manifest is None else manifest.groups
    if len(groups) > 1 and "group" not in parts[0].arrays:
        raise TableError(
            f"{folder / MANIFEST} names the groups {listing(groups)}, but the parts do not hold group, the group of each row"
        )
    made = made_of_parts(
        manifest, {str(part.path): (part.made, order) for part, order in zip(parts, orders, strict=True)}
    )
    return Whole(folder, parts, domains, orders, groups, (None,) * len(parts), made), manifest


def made_of_parts(manifest: Manifest | None, found: Mapping[str, tuple[Made | None, Any]]) -> Made | None:
    """Return how the values of a folder were made: as table.json says, else as its parts say (each with the order of its columns)."""
    if manifest is not None and manifest.made is not None:
        return manifest.made
    return joined({name: ordered(made, order) for name, (made, order) in found.items()})


def compare_listed(manifest: Manifest, folder: Path, files: Sequence[tuple[str, int]]) -> None:
    """Raise unless the folder has the parts of table.json, with their sizes."""
    here, entries = dict(files), {part.file: part for part in manifest.parts}
    if missing := [name for name in entries if name not in here]:
        raise TableError(
            f"{folder} lacks {listing(missing)}, which {MANIFEST} lists: copy the missing parts, or write the folder again"
        )
    if other := [name for name in here if name not in entries]:
        raise TableError(
            f"{folder} holds {listing(other)}, which {MANIFEST} does not list: move them elsewhere, or remove {MANIFEST}"
        )
    for name, size in files:
        if entries[name].bytes != size:
            raise TableError(
                f"{folder / name} has {size} bytes, but {MANIFEST} lists {entries[name].bytes}: the part is truncated or was "
                "replaced; copy it again"
            )


def _compare_parts(manifest: Manifest, parts: Sequence[Part]) -> None:
    """Raise unless the headers of the parts agree with table.json."""
    rows = {part.file: part.rows for part in manifest.parts}
    for part in parts:
        if part.rows != rows[part.path.name]:
            raise TableError(f"{part.path} has {part.rows} rows, but {MANIFEST} lists {rows[part.path.name]}")
        if part.dtype.name != manifest.dtype:
            raise TableError(
                f"{part.path} holds {part.dtype.name}, but {MANIFEST} says {manifest.dtype}: write the folder again with mixfast table "
                "cast"
            )


def _check_alike(parts: Sequence[Part]) -> None:
    """Raise unless all parts have the type, the number of domains and the vectors of the first."""
    first = parts[0]
    for part in parts[1:]:
        if part.dtype != first.dtype:
            raise TableError(
                f"{part.path} holds {part.dtype}, but {first.path.name} holds {first.dtype}: all parts need one type; write the folder "
                "again with mixfast table cast"
            )
        if part.n_domains != first.n_domains:
            raise TableError(
                f"{part.path} has {part.n_domains} domains, but {first.path.name} has {first.n_domains}: all parts need the same domains"
            )
        for key in VECTORS:
            if (key in part.arrays) != (key in first.arrays):
                has, lacks = (part, first) if key in part.arrays else (first, part)
                raise TableError(f"{has.path} has {key}, but {lacks.path.name} does not: all parts need the same keys")


def _domains(parts: Sequence[Part], given: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the domains of the table: those of table.json, else of the first part."""
    first = parts[0]
    if given is not None:
        return domain_names(given, first.n_domains, str(first.path))
    named = [part for part in parts if part.domains is not None]
    if named and len(named) < len(parts):
        lacks = next(part for part in parts if part.domains is None)
        raise TableError(
            f"{named[0].path} names its domains, but {lacks.path.name} does not: give the names in all parts, or in {MANIFEST}"
        )
    return domain_names(first.domains, first.n_domains, str(first.path))


def _order(part: Part, domains: tuple[str, ...]) -> NDArray[np.int32] | None:
    """Return the columns of a part in the order of the domains; None if they have it."""
    if part.domains is None or part.domains == domains:
        return None
    if set(part.domains) != set(domains):
        ours, its = set(domains), set(part.domains)
        lacking = [name for name in domains if name not in its]
        other = [name for name in part.domains if name not in ours]
        lacks = f"lacks {some(lacking)}" if lacking else ""
        has = f"has {some(other)}, which the table does not have" if other else ""
        raise TableError(
            f"{part.path} has other domains than the table: it {' and '.join(filter(None, (lacks, has)))}; the domains of the table are "
            f"{listing(domains)}"
        )
    return np.array(positions(domains, part.domains), dtype=np.int32)


def with_groups(whole: Whole, entries: Sequence[Sequence[Any]], manifest: Manifest | None) -> Whole:
    """Return the table with the codes of its groups, given the distinct entries of ``group`` of each part."""
    labels = [labels_of(part, found) for part, found in zip(whole.parts, entries, strict=True)]
    names = ordered_names(whole.parts, labels, None if manifest is None else manifest.groups)
    place = places(names)
    for part, found in zip(whole.parts, labels, strict=True):
        if unknown := [name for name in found.values() if name not in place]:
            raise TableError(
                f"{part.path} has the groups {some(unknown)}, which {MANIFEST} does not name; its groups are {listing(names)}"
            )
    codes = tuple({entry: place[name] for entry, name in found.items()} for found in labels)
    return whole._replace(group_names=names, codes=codes)
