"""The file of a ledger, format "mixfast-reuse-1": JSON, or the same names and values as YAML.

The document is a mapping of

- ``format``: "mixfast-reuse-1",
- ``checksum``: the first sixteen hexadecimal digits of the SHA-256 of the rest as compact JSON with sorted names,
- ``updates``: a list with the fields of each `Entry`; ``tokens``, ``budget`` and ``max_epochs`` only if they are known,
- ``pending``: the fields of the `Pending` plan, only if one is open.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import AbstractContextManager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from mixfast._text.locks import locked
from mixfast._text.names import listing, shown
from mixfast.errors import MixfastError
from mixfast.mixture import Mixture
from mixfast.reuse._changes import ReuseError
from mixfast.reuse._entries import Entry, Pending
from mixfast.reuse._fields import check_fields

FORMAT = "mixfast-reuse-1"

# Fields with a default: older files and files without counts lack them.
_OPTIONAL = ("tokens", "budget", "max_epochs")

# Seconds to wait for another process that writes the ledger; a write takes milliseconds.
_PATIENCE = 30.0

_Part = TypeVar("_Part", Entry, Pending)


def document_of(entries: tuple[Entry, ...], pending: Pending | None) -> dict[str, Any]:
    """Return the document of a ledger's file."""
    content: dict[str, Any] = {"updates": [_plain(entry) for entry in entries]}
    if pending is not None:
        content["pending"] = _plain(pending)
    return {"format": FORMAT, "checksum": checksum(content), **content}


def contents(document: Any) -> tuple[tuple[Entry, ...], Pending | None]:
    """Return the entries and the open plan of a document; raise `ReuseError` if it is malformed."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        found = document.get("format") if isinstance(document, dict) else type(document).__name__
        raise ReuseError(f"the ledger's format is {shown(found)}; this version of mixfast reads {FORMAT!r}")
    updates = document.get("updates")
    if not isinstance(updates, list) or not updates:
        raise ReuseError("the ledger holds no updates; begin one with Ledger.start")
    if unknown := [name for name in document if name not in ("format", "checksum", "updates", "pending")]:
        raise ReuseError(
            f"the ledger has unknown entries, which would be lost when it is saved: {listing(unknown)}; remove them"
        )
    content = {name: document[name] for name in ("updates", "pending") if name in document}
    if document.get("checksum") != (wanted := checksum(content)):
        raise ReuseError(
            f"the ledger was edited after it was written: its checksum is {shown(document.get('checksum'))}, that of its content is "
            f"{shown(wanted)}. Undo the edit; if it is intended, write the second checksum into the file"
        )
    entries = tuple(_entry(update, f"update {place}") for place, update in enumerate(updates, start=1))
    pending = _read(Pending, content["pending"], "the open plan") if "pending" in content else None
    return entries, pending


def _entry(update: Any, where: str) -> Entry:
    entry = _read(Entry, update, where)
    try:
        Mixture.from_dict(entry.mixture)
    except MixfastError as problem:
        raise ReuseError(f"the mixture of {where} of the ledger: {problem}") from problem
    return entry


def _read(kind: type[_Part], document: Any, where: str) -> _Part:
    """Return an entry or a plan from its fields in a file."""
    if not isinstance(document, dict):
        raise ReuseError(f"{where} of the ledger is {shown(document)}, expected names with values")
    known = [each.name for each in fields(kind)]
    lacking = [name for name in known if name not in document and name not in _OPTIONAL]
    unknown = [name for name in document if name not in known]
    if lacking or unknown:
        raise ReuseError(
            f"{where} of the ledger: missing fields: {listing(lacking)}; unknown fields: {listing(unknown)}"
        )
    lists = ("changes", "reopened", "warnings", "objective")
    if wrong := [name for name in lists if name in document and not isinstance(document[name], list)]:
        raise ReuseError(f"{where} of the ledger: {listing(wrong)} must be lists")
    check_fields(document, where)
    given: dict[str, Any] = {name: tuple(value) if name in lists else value for name, value in document.items()}
    return kind(**given)


def _plain(entry: Entry | Pending) -> dict[str, Any]:
    """Return the fields as lists, dicts, numbers and strings; tokens, budget and epochs only if they are known."""
    fields = json.loads(json.dumps(asdict(entry)))
    return {name: value for name, value in fields.items() if name not in _OPTIONAL or value}


def checksum(content: dict[str, Any]) -> str:
    """Return the checksum of a document's updates and open plan."""
    # A ledger without a plan has the checksum of its updates alone.
    checked = content if "pending" in content else content["updates"]
    text = json.dumps(checked, sort_keys=True, separators=(",", ":"))
    # The checksum detects accidental edits, not forgery: sixteen digits are enough.
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def held(path: Path) -> AbstractContextManager[None]:
    """Lock a ledger's file, which may not exist yet, against other processes and threads inside the block.

    See `mixfast._text.locks` for the method, and for systems without `flock`.
    """
    return locked(
        path,
        ReuseError,
        patience=_PATIENCE,
        advice=f"it was not free for {_PATIENCE:.0f} seconds. Nothing was written; end that process, or repeat this later",
    )
