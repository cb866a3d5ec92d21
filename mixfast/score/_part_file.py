"""The file of a finished part: an npz archive that is accepted only if all of it is as `write_part` writes it.

Its members are ``run``, the fingerprint of the run; ``digest``, the SHA-256 of run, expert, shard and all arrays; and the arrays of `Part`.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from mixfast._text.atomic import replacing
from mixfast._text.names import listing, named
from mixfast.errors import ScoreError

_ARRAYS = ("count", "n_bytes", "loglik", "token_bytes")
# Largest header of a member in bytes; numpy writes 128.
_MOST_HEADER = 1 << 12
# Characters of an error that a message quotes.
_QUOTED = 120


@dataclass(frozen=True, slots=True)
class Part:
    """The scores of one shard under one expert: scored tokens and bytes of each document, and the log-likelihoods.

    `loglik` has an entry for each scored token (level "token") or each document (level "sequence"). `token_bytes` has an entry for
    each scored token at level "token" if the tokenizer provides them; otherwise it is empty.
    """

    count: NDArray[np.int64]
    n_bytes: NDArray[np.int64]
    loglik: NDArray[np.floating]
    token_bytes: NDArray[np.int64]


class Place(NamedTuple):
    """The run, expert and shard of a part, and what its arrays must match."""

    run: str
    expert: str
    shard: int
    level: str
    documents: int


class _Invalid(Exception):
    """Why a file is not the expected part."""


def write_part(file: Path, place: Place, part: Part) -> None:
    """Write a part atomically."""
    with replacing(file) as handle:
        np.savez(
            handle,
            run=np.array(place.run),
            digest=np.array(_digest(place, part)),
            count=part.count,
            n_bytes=part.n_bytes,
            loglik=part.loglik,
            token_bytes=part.token_bytes,
        )


def read_part(file: Path, place: Place) -> Part:
    """Read a part; raise `ScoreError` unless the file is that part, complete."""
    data = regular_bytes(file)
    try:
        members = _members(data)
        run, digest = (_text(members[key], key) for key in ("run", "digest"))
        if run != place.run:
            raise ScoreError(f"{file} is a part of another run; delete it, or the folder {file.parent}, and run again")
        part = Part(*(_array(members[key], key) for key in _ARRAYS))
        _check(place, part)
        if digest != _digest(place, part):
            raise _Invalid("its digest does not match: it may be of another expert or of other texts")
    except _Invalid as problem:
        raise ScoreError(f"{file} is damaged ({problem}); delete it and run again") from None
    return part


def regular_bytes(file: Path) -> bytes:
    """Return the content of a file of a run; raise `ScoreError` if it cannot be read, or is a folder or a pipe."""
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):
            raise ScoreError(f"{file} is damaged (it is not a regular file); delete it and run again")
        return file.read_bytes()
    except (OSError, MemoryError) as problem:
        reason = getattr(problem, "strerror", None) or "it does not fit in memory"
        raise ScoreError(f"{file} cannot be read: {reason}") from None


def _digest(place: Place, part: Part) -> str:
    found = hashlib.sha256(json.dumps([place.run, place.expert, place.shard]).encode())
    for name in _ARRAYS:
        array = np.ascontiguousarray(getattr(part, name))
        found.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        found.update(array.view(np.uint8).data)
    return found.hexdigest()


def _members(data: bytes) -> dict[str, bytes]:
    """Return the members of an archive after checking their checksums."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            names = [info.filename.removesuffix(".npy") for info in infos]
            wanted = ("run", "digest", *_ARRAYS)
            if sorted(names) != sorted(wanted):
                raise _Invalid(f"it holds {listing(names)}, expected {listing(wanted)}")
            # Uncompressed members cannot be larger than the file.
            if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
                raise _Invalid("it is compressed")
            return {name: archive.read(info) for name, info in zip(names, infos, strict=True)}
    except _Invalid:
        raise
    except Exception as problem:
        # Damage can raise almost any exception of zipfile, zlib or struct.
        raise _Invalid(
            f"it is not a complete npz archive: {named(problem, _QUOTED) or type(problem).__name__}"
        ) from None


def _array(data: bytes, name: str) -> NDArray[Any]:
    """Return an array if its header is as numpy writes it and states as many bytes as follow."""
    try:
        stream = io.BytesIO(data)
        if npy.read_magic(stream) != (1, 0) or int.from_bytes(data[8:10], "little") > _MOST_HEADER:
            raise _Invalid(f"{name} has an unknown header")
        shape, _, dtype = npy.read_array_header_1_0(stream)
        # Object arrays are pickles, which can run any code.
        if dtype.hasobject or len(shape) > 1:
            raise _Invalid(f"{name} is of type {named(dtype)} and shape {named(shape)}")
        size, start = math.prod(shape), stream.tell()
        if min(shape, default=0) < 0 or size * dtype.itemsize != len(data) - start:
            raise _Invalid(
                f"{name} has {len(data) - start} bytes, but its header states {named(shape)} of {named(dtype)}"
            )
        return np.frombuffer(data, dtype, size, start).reshape(shape) if size else np.zeros(shape, dtype)
    except _Invalid:
        raise
    except Exception as problem:
        # A header is parsed as a Python literal, which can raise many exceptions.
        raise _Invalid(f"{name} has a damaged header: {named(problem, _QUOTED) or type(problem).__name__}") from None


def _text(data: bytes, name: str) -> str:
    array = _array(data, name)
    if array.shape != () or array.dtype.kind != "U":
        raise _Invalid(f"{name} is of type {array.dtype} and shape {named(array.shape)}, expected a string")
    try:
        return str(array)
    except ValueError:
        raise _Invalid(f"{name} is not valid text") from None


def _check(place: Place, part: Part) -> None:
    """Refuse arrays whose types and shapes differ from those of this part, and values that scoring cannot produce."""
    by_token = place.level == "token"
    loglik = np.dtype(np.float32 if by_token else np.float64)
    for name in _ARRAYS:
        array, wanted = getattr(part, name), loglik if name == "loglik" else np.dtype(np.int64)
        if array.dtype != wanted or array.ndim != 1:
            raise _Invalid(
                f"{name} is of type {array.dtype} and shape {array.shape}, expected type {wanted} and one axis"
            )
    for name in ("count", "n_bytes"):
        if getattr(part, name).size != place.documents:
            raise _Invalid(f"{name} has {getattr(part, name).size} documents, expected {place.documents}")
    if any(array.size and array.min() < 0 for array in (part.count, part.n_bytes, part.token_bytes)):
        raise _Invalid("a count of tokens or bytes is negative")
    # As integers, sums of damaged counts could overflow.
    entries = float(part.count.sum(dtype=np.float64)) if by_token else float(place.documents)
    if part.loglik.size != entries:
        raise _Invalid(f"loglik has {part.loglik.size} entries, expected {entries:.0f}")
    if part.token_bytes.size not in ((0, part.loglik.size) if by_token else (0,)):
        raise _Invalid(f"token_bytes has {part.token_bytes.size} entries, but loglik has {part.loglik.size}")
    if (np.isnan(part.loglik) | (part.loglik == np.inf)).any():
        raise _Invalid("loglik has NaN or +inf")
