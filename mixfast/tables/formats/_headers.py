"""Read the header of a part of a table: where its arrays are in the file, without reading them."""

from __future__ import annotations

import os
from pathlib import Path

from mixfast._text.arrays import Archive, Header, open_npz, read_header
from mixfast._text.names import listing, named
from mixfast._text.visible import quote
from mixfast.errors import TableError
from mixfast.tables._made import MADE, popped
from mixfast.tables._names import checked_names
from mixfast.tables._parts import VECTORS, Part, Stamp, Stored


def read_npy_part(path: Path) -> Part:
    """Return the header of an npy part: log-likelihoods only."""
    with path.open("rb") as handle:
        stamp = Stamp.of(os.fstat(handle.fileno()))
        header = read_header(handle, str(path), TableError)
    header.check_size(stamp.size - header.start, str(path), TableError)
    stored = _stored(path, header, header.start, str(path))
    _check_loglik(stored, str(path))
    return Part(path, stored.shape[0], stored.dtype, stamp, {"loglik": stored})


def read_npz_part(path: Path) -> Part:
    """Return the header of an npz part, with the keys that tables have."""
    stamp = Stamp.of(os.stat(path))
    with open_npz(path, TableError) as archive:
        if "loglik" not in archive.keys:
            raise TableError(f"{path} must hold loglik, and holds {listing(sorted(archive.keys))}")
        if "condition" in archive.keys:
            raise TableError(
                f"{path} holds condition, which parts of a table cannot have: store loglik - condition as loglik"
            )
        arrays = {key: _located(path, archive, key) for key in ("loglik", *VECTORS) if key in archive.keys}
        naming = next((key for key in ("domains", "experts") if key in archive.keys), None)
        domains = None if naming is None else checked_names(archive.read(naming), "domains")
        groups = checked_names(archive.read("group_names"), "group_names") if "group_names" in archive.keys else None
        said = {key: archive.read(key) for key in MADE if key in archive.keys}
    _check_loglik(arrays["loglik"], f"{path}, key loglik")
    rows = arrays["loglik"].shape[0]
    for key, stored in arrays.items():
        if key != "loglik" and stored.shape != (rows,):
            raise TableError(
                f"{path}, key {key} has shape {stored.shape}, expected ({rows},): one entry for each row of loglik"
            )
    made = popped(said, arrays["loglik"].shape[1], f"{path}: ")
    return Part(path, rows, arrays["loglik"].dtype, stamp, arrays, domains, groups, made)


def _located(path: Path, archive: Archive, key: str) -> Stored:
    where = f"{path}, key {named(key)}"
    start = archive.stored_at(key)
    if start is None:
        raise TableError(f"{where} is compressed, so that it cannot be mapped: {_how_to_write(path)}")
    header = archive.header(key)
    if start + header.nbytes > os.stat(path).st_size:
        raise TableError(f"{where} is truncated: its values continue beyond the end of the file")
    return _stored(path, header, start, where)


def _stored(path: Path, header: Header, start: int, where: str) -> Stored:
    if not header.dtype.isnative or (header.fortran and len(header.shape) > 1 and min(header.shape) > 1):
        kind = "in Fortran order" if header.dtype.isnative else "in the byte order of other machines"
        raise TableError(f"{where} is {kind}, so that it cannot be mapped: {_how_to_write(path)}")
    return Stored(header.dtype, header.shape, start)


def _how_to_write(path: Path) -> str:
    """Return what to do with a part that cannot be mapped."""
    command = f"mixfast table pack {quote(str(path.parent))} --parts N --out NEW"
    return f"write the folder again with {command}, or the part with numpy.savez or numpy.save (C order, the byte order of this machine)"


def _check_loglik(stored: Stored, where: str) -> None:
    if stored.dtype.kind != "f" or stored.dtype.itemsize not in (2, 4, 8):
        raise TableError(f"{where} must be float16, float32 or float64, got {stored.dtype}")
    if len(stored.shape) != 2 or 0 in stored.shape:
        raise TableError(f"{where} has shape {stored.shape}, expected (rows, domains), at least one of each")
