"""What the readers share: JSON and YAML documents, and the names and shares in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mixfast._text.json import read_json
from mixfast._text.yaml import read_yaml
from mixfast.errors import MixfastError, MixtureError
from mixfast.mixture import Mixture


def document(path: Path, error: type[MixfastError] = MixtureError) -> Any:
    """Return what a JSON file holds, or a YAML file, as text throughout, if the name does not end in .json."""
    read = read_json if path.suffix.lower() == ".json" else read_yaml
    try:
        return read(path.read_text(encoding="utf-8-sig"), error)
    except (UnicodeDecodeError, error) as problem:
        raise error(f"{path}: {problem}") from problem


def mapping(path: Path, document: Any, key: str) -> Mapping[str, Any]:
    """Return the mapping under a key of the document."""
    found = document.get(key) if isinstance(document, Mapping) else None
    if not isinstance(found, Mapping) or not found:
        raise MixtureError(f"{path}: expected a mapping {key!r} of domain to share")
    return found


def pairs(path: Path, entries: list[Any], name: str, share: str) -> list[tuple[str, Any]]:
    """Return the name and the share of each entry of a list, which are under these keys."""
    for place, entry in enumerate(entries, start=1):
        if not isinstance(entry, Mapping) or name not in entry or share not in entry:
            raise MixtureError(f"{path}: entry {place} must hold {name!r} and {share!r}, got {entry!r}")
    return [(entry[name], entry[share]) for entry in entries]


def mixture(path: Path, pairs: Iterable[tuple[Any, Any]]) -> Mixture:
    """Return the mixture of names and shares; a refusal names the file."""
    numbers = [(str(name), number(path, str(name), share)) for name, share in pairs]
    try:
        return Mixture([name for name, _ in numbers], [share for _, share in numbers])
    except MixtureError as problem:
        raise MixtureError(f"{path}: {problem}") from problem


def number(path: Path, name: str, given: Any) -> float:
    """Return a share as a number."""
    try:
        if not isinstance(given, bool):
            return float(given)
    except (TypeError, ValueError):
        pass
    raise MixtureError(f"{path}: the share of {name!r} must be a number, got {given!r}")
