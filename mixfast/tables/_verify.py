"""Compare the parts of a folder with the sizes and hashes in its table.json."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from mixfast._text.names import listing
from mixfast._text.progress import advance, working
from mixfast._text.visible import quote
from mixfast.errors import TableError
from mixfast.tables._whole import compare_listed, listed, read_whole
from mixfast.tables.formats._manifest import FILE, Manifest

_PIECE = 1 << 23


def verify(folder: str | os.PathLike[str]) -> Manifest:
    """Read every byte of a folder of parts, and return its table.json.

    Raises
    ------
    TableError
        If there is no table.json, or if parts are missing, are not listed, have another size or another hash, or hold other rows, domains
        or types than it says.
    """
    folder = Path(folder)
    manifest = Manifest.read(folder)
    if manifest is None:
        raise TableError(
            f"{folder} has no {FILE}, which holds the hashes of its parts; `mixfast table pack {quote(str(folder))} --parts N --out NEW` writes a folder that has one"
        )
    found = listed(folder)
    compare_listed(manifest, folder, found)
    with working(f"reading {folder}", sum(part.bytes for part in manifest.parts), "B"):
        wrong = [part.file for part in manifest.parts if _hash(folder / part.file) != part.sha256]
    if wrong:
        raise TableError(
            f"{len(wrong)} of {len(manifest.parts)} parts of {folder} differ from the hashes in {FILE}: {listing(wrong)}; copy them again, or "
            "write them again from their sources"
        )
    read_whole(folder, found)
    return manifest


def _hash(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as handle:
        while data := handle.read(_PIECE):
            found.update(data)
            advance(len(data))
    return found.hexdigest()
