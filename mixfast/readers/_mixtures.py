"""Mixtures in the files of Olmix, OLMo-core, RegMix and DoReMi."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from mixfast._text.json import read_json
from mixfast._text.yaml import read_yaml
from mixfast.errors import MixfastError, MixtureError
from mixfast.mixture import Mixture

# Keys of a domain that are not the names of its parts.
_PROPERTIES = ("weight", "repetition_factor")


def olmix(path: str | PathLike[str]) -> Mixture:
    """Read a proposal of Olmix (``*_optimal.json``) or the ``mix`` of its launch file (YAML, flat or nested).

    Of nested domains the share is the product of the weights on the way, and the name is joined by colons
    (allenai/olmix of 2026-03, ``flatten_mix``).

    Parameters
    ----------
    path : path
        ``.json``: a list of ``{"domain": name, "weight": share}``; else YAML with a mapping ``mix``.

    Raises
    ------
    MixtureError
        If the file is not of that kind, or its shares are not.
    """
    path = Path(path)
    content = document(path)
    if isinstance(content, list):
        return _mixture(path, _pairs(path, content, "domain", "weight"))
    found: list[tuple[str, Any]] = []
    for name, node in _mapping(path, content, "mix").items():
        _add_leaves(path, str(name), node, 1.0, found)
    return _mixture(path, found)


def _add_leaves(path: Path, name: str, node: Any, weight: float, leaves: list[tuple[str, Any]]) -> None:
    """Append the leaves below a node; a bare number is a weight."""
    if not isinstance(node, Mapping):
        leaves.append((name, weight * _number(path, name, node)))
        return
    weight *= _number(path, name, node.get("weight", 1.0))
    children = {key: child for key, child in node.items() if key not in _PROPERTIES}
    if not children:
        leaves.append((name, weight))
    for key, child in children.items():
        _add_leaves(path, f"{name}:{key}", child, weight, leaves)


def olmo_core(path: str | PathLike[str]) -> Mixture:
    """Read the ``target_ratio`` of each of the ``sources`` of an OLMo-core ``SourceMixtureList`` (YAML, version 2.5).

    A file of another kind is refused as in `olmix`.
    """
    path = Path(path)
    content = document(path)
    sources = content.get("sources") if isinstance(content, Mapping) else None
    if not isinstance(sources, list):
        raise MixtureError(f"{path}: expected a mapping with a list 'sources'")
    return _mixture(path, _pairs(path, sources, "source_name", "target_ratio"))


def regmix(path: str | PathLike[str]) -> Mixture:
    """Read the ``train`` part of a mixture file of RegMix's TinyLlama code (YAML, 2024-10).

    The names keep their ``train_``, as the columns of RegMix's csv files do.

    A file of another kind is refused as in `olmix`.
    """
    path = Path(path)
    return _mixture(path, _mapping(path, document(path), "train").items())


def doremi(path: str | PathLike[str]) -> Mixture:
    """Read the ``train_domain_weights`` of a domain configuration of DoReMi (JSON).

    A file of another kind is refused as in `olmix`.
    """
    path = Path(path)
    return _mixture(path, _mapping(path, document(path), "train_domain_weights").items())


def document(path: Path, error: type[MixfastError] = MixtureError) -> Any:
    """Return what a JSON file holds, or a YAML file, as text throughout, if the name does not end in .json."""
    read = read_json if path.suffix.lower() == ".json" else read_yaml
    try:
        return read(path.read_text(encoding="utf-8-sig"), error)
    except (UnicodeDecodeError, error) as problem:
        raise error(f"{path}: {problem}") from problem


def _mapping(path: Path, document: Any, key: str) -> Mapping[str, Any]:
    """Return the mapping under a key of the document."""
    found = document.get(key) if isinstance(document, Mapping) else None
    if not isinstance(found, Mapping) or not found:
        raise MixtureError(f"{path}: expected a mapping {key!r} of domain to share")
    return found


def _pairs(path: Path, entries: list[Any], name: str, share: str) -> list[tuple[str, Any]]:
    """Return the name and the share of each entry of a list, which are under these keys."""
    for place, entry in enumerate(entries, start=1):
        if not isinstance(entry, Mapping) or name not in entry or share not in entry:
            raise MixtureError(f"{path}: entry {place} must hold {name!r} and {share!r}, got {entry!r}")
    return [(entry[name], entry[share]) for entry in entries]


def _mixture(path: Path, pairs: Iterable[tuple[Any, Any]]) -> Mixture:
    """Return the mixture of names and shares; a refusal names the file."""
    numbers = [(str(name), _number(path, str(name), share)) for name, share in pairs]
    try:
        return Mixture([name for name, _ in numbers], [share for _, share in numbers])
    except MixtureError as problem:
        raise MixtureError(f"{path}: {problem}") from problem


def _number(path: Path, name: str, given: Any) -> float:
    """Return a share as a number."""
    try:
        if not isinstance(given, bool):
            return float(given)
    except (TypeError, ValueError):
        pass
    raise MixtureError(f"{path}: the share of {name!r} must be a number, got {given!r}")
