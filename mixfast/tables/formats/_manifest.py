"""table.json: the domains, type and groups of a folder of parts, and the rows, bytes and hash of each part."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mixfast._text.atomic import replacing
from mixfast._text.json import read_json
from mixfast._text.names import listing, shown
from mixfast.errors import TableError
from mixfast.tables._made import MADE, Made, popped
from mixfast.tables._names import checked_names

FILE = "table.json"
_FORMAT = "mixfast table 1"
_TYPES = ("float16", "float32", "float64")
_FIELDS = ("format", "kind", "domains", "dtype", "groups", "parts")


class PartEntry(NamedTuple):
    """The name of a part in its folder, its number of rows, and the size and hash of its file."""

    file: str
    rows: int
    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path, rows: int) -> PartEntry:
        """Describe a file that is complete."""
        with path.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
            return cls(path.name, rows, handle.tell(), digest)


class Manifest(NamedTuple):
    """What table.json says of a table of log-likelihoods: `domains` and `groups` in the order of the table, and how the values were made."""

    domains: tuple[str, ...]
    dtype: str
    groups: tuple[str, ...]
    parts: tuple[PartEntry, ...]
    made: Made | None = None

    @property
    def rows(self) -> int:
        """Number of rows of all parts."""
        return sum(part.rows for part in self.parts)

    def write(self, folder: Path) -> None:
        """Write table.json atomically; it comes last, when all parts are complete."""
        head = {"format": _FORMAT, "kind": "ce", "domains": self.domains, "dtype": self.dtype, "groups": self.groups}
        if self.made is not None:
            head |= {key: array.tolist() for key, array in self.made.arrays().items()}
        start = json.dumps(head, ensure_ascii=False).removesuffix("}")
        # A line for each part: people and text tools can read it.
        parts = ",\n".join(json.dumps(part._asdict(), ensure_ascii=False) for part in self.parts)
        with replacing(folder / FILE) as handle:
            handle.write(f'{start}, "parts": [\n{parts}\n]}}\n'.encode())

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """Read the table.json of a folder; None if it has none."""
        path = folder / FILE
        if not os.path.lexists(path):
            return None
        if not path.is_file():
            kind = "a folder" if path.is_dir() else "not a regular file, or a link to none"
            raise TableError(f"{path} is {kind}, expected the description of a table: replace it, or remove it")
        data = path.read_bytes()
        try:
            return cls(**_checked(data))
        except TableError as problem:
            raise TableError(f"{path}: {problem}") from None


def _checked(data: bytes) -> dict[str, Any]:
    """Return the fields of a manifest; refuse missing and unknown ones, and other types."""
    try:
        found = read_json(data.decode("utf-8"), TableError)
    except UnicodeDecodeError as problem:
        raise TableError(f"it is not UTF-8: {problem}") from None
    if not isinstance(found, dict):
        raise TableError(f"it holds {type(found).__name__}, expected an object with {listing(_FIELDS)}")
    version = found.get("format")
    if version != _FORMAT:
        raise TableError(
            f"its format is {shown(version)}, but this version of mixfast reads {shown(_FORMAT)}; was it written by a later version?"
        )
    lacking = [key for key in _FIELDS if key not in found]
    unknown = [key for key in found if key not in (*_FIELDS, *MADE)]
    if lacking or unknown:
        raise TableError(f"missing: {listing(lacking)}; unknown: {listing(unknown)}")
    if found["kind"] != "ce":
        raise TableError(f'kind is {shown(found["kind"])}, expected "ce": a folder of parts holds log-likelihoods')
    if found["dtype"] not in _TYPES:
        raise TableError(f"dtype is {shown(found['dtype'])}, expected {', '.join(_TYPES)}")
    domains = _names(found["domains"], "domains")
    return {
        "domains": domains,
        "dtype": found["dtype"],
        "groups": _names(found["groups"], "groups"),
        "parts": _parts(found["parts"]),
        "made": _made(found, len(domains)),
    }


def _made(found: dict[str, Any], n_domains: int) -> Made | None:
    said = {key: found[key] for key in MADE if key in found}
    if "temperature" in said and not isinstance(said["temperature"], list):
        raise TableError(f"temperature is {shown(said['temperature'])}, expected a list of numbers")
    try:
        arrays = {key: np.array(value) for key, value in said.items()}
    except ValueError:
        raise TableError(f"temperature is {shown(said['temperature'])}, expected a list of numbers") from None
    return popped(arrays, n_domains)


def _names(given: Any, what: str) -> tuple[str, ...]:
    names = checked_names(given, what)
    if not names:
        raise TableError(f"{what} is empty, expected at least one name")
    return names


def _parts(given: Any) -> tuple[PartEntry, ...]:
    if not isinstance(given, list) or not given:
        raise TableError(f"parts is {shown(given)}, expected a list with an entry for each part")
    parts = tuple(_part(place, entry) for place, entry in enumerate(given))
    checked_names([part.file for part in parts], "the files of parts")
    return parts


def _part(place: int, entry: Any) -> PartEntry:
    kinds = {"file": str, "rows": int, "bytes": int, "sha256": str}
    if not isinstance(entry, dict) or {key: type(value) for key, value in entry.items()} != kinds:
        raise TableError(
            f"part {place} is {shown(entry)}, expected an object with the file, rows, bytes and sha256 of a part"
        )
    # A path could lead out of the folder.
    if Path(entry["file"]).name != entry["file"] or min(entry["rows"], entry["bytes"]) < 1:
        raise TableError(f"part {place} is {shown(entry)}, expected the name of a file, and numbers of at least 1")
    return PartEntry(**entry)


def manifest_of(
    domains: Sequence[str], dtype: Any, groups: Sequence[str], parts: Sequence[PartEntry], made: Made | None = None
) -> Manifest:
    """Return the manifest of parts; `dtype` is anything that numpy takes for a type."""
    return Manifest(tuple(domains), np.dtype(dtype).name, tuple(groups), tuple(parts), made)
