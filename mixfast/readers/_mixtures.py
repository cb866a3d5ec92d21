"""Mixtures out of the files of other projects: Olmix, OLMo-core, RegMix, DoReMi.

Shares that were printed with few digits are divided by their sum, with a warning; see `Mixture`. Names stay as they
are in the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from mixfast._text import yaml
from mixfast._text.flat_yaml import _unique
from mixfast.errors import MixtureError
from mixfast.mixture import Mixture

__all__ = ["doremi", "olmix", "olmo_core", "regmix"]

_OLMIX_PROPERTIES = ("weight", "repetition_factor")


def olmix(path: str | PathLike[str]) -> Mixture:
    """Read a proposal of Olmix (``*_optimal.json``) or the ``mix`` of its launch file (YAML, flat or nested).

    Of nested domains the share is the product of the weights on the way, and the name is joined by colons
    (allenai/olmix of 2026-03, ``flatten_mix``).

    Parameters
    ----------
    path : path
        ``.json``: a list of ``{"domain": name, "weight": share}``; else YAML with a mapping ``mix``.

    Returns
    -------
    Mixture

    Raises
    ------
    MixtureError
        If the file is not of that kind, or its shares are not.
    BackendError
        If pyyaml is missing, for YAML.
    """
    path = Path(path)
    document = _document(path)
    if isinstance(document, list):
        return _mixture(path, _pairs(path, document, "domain", "weight"))
    pairs: list[tuple[str, Any]] = []
    for name, node in _mapping(path, document, "mix").items():
        _olmix_leaves(path, str(name), node, 1.0, pairs)
    return _mixture(path, pairs)


def olmo_core(path: str | PathLike[str]) -> Mixture:
    """Read the ``target_ratio`` of each of the ``sources`` of an OLMo-core ``SourceMixtureList`` (YAML, version 2.5).

    Raises
    ------
    MixtureError
        If the file is not of that kind, or its shares are not.
    BackendError
        If pyyaml is missing.
    """
    path = Path(path)
    document = _document(path)
    sources = document.get("sources") if isinstance(document, Mapping) else None
    if not isinstance(sources, list):
        raise MixtureError(f"{path}: expected a mapping with a list 'sources'")
    return _mixture(path, _pairs(path, sources, "source_name", "target_ratio"))


def regmix(path: str | PathLike[str]) -> Mixture:
    """Read the ``train`` part of a mixture file of RegMix's TinyLlama code (YAML, 2024-10).

    The names keep their ``train_``, as the columns of RegMix's csv files do.

    Raises
    ------
    MixtureError
        If the file is not of that kind, or its shares are not.
    BackendError
        If pyyaml is missing.
    """
    path = Path(path)
    return _mixture(path, _mapping(path, _document(path), "train").items())


def doremi(path: str | PathLike[str]) -> Mixture:
    """Read the ``train_domain_weights`` of a domain configuration of DoReMi (JSON).

    Raises
    ------
    MixtureError
        If the file is not of that kind, or its shares are not.
    """
    path = Path(path)
    return _mixture(path, _mapping(path, _document(path), "train_domain_weights").items())


def _document(path: Path) -> Any:
    if path.suffix.lower() != ".json":
        return yaml.load(path, MixtureError)
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_unique)
    except (json.JSONDecodeError, UnicodeDecodeError, MixtureError) as problem:
        raise MixtureError(f"{path} is not JSON: {problem}") from problem


def _mapping(path: Path, document: Any, key: str) -> Mapping[str, Any]:
    found = document.get(key) if isinstance(document, Mapping) else None
    if not isinstance(found, Mapping) or not found:
        raise MixtureError(f"{path}: expected a mapping {key!r} of domain to share")
    return found


def _pairs(path: Path, entries: list[Any], name: str, share: str) -> list[tuple[str, Any]]:
    for place, entry in enumerate(entries, start=1):
        if not isinstance(entry, Mapping) or name not in entry or share not in entry:
            raise MixtureError(f"{path}: entry {place} must hold {name!r} and {share!r}, got {entry!r}")
    return [(entry[name], entry[share]) for entry in entries]


def _olmix_leaves(path: Path, name: str, node: Any, weight: float, leaves: list[tuple[str, Any]]) -> None:
    """Append the leaves below a node; a bare number is a weight."""
    if not isinstance(node, Mapping):
        leaves.append((name, weight * _number(path, name, node)))
        return
    weight *= _number(path, name, node.get("weight", 1.0))
    children = {key: child for key, child in node.items() if key not in _OLMIX_PROPERTIES}
    if not children:
        leaves.append((name, weight))
    for key, child in children.items():
        _olmix_leaves(path, f"{name}:{key}", child, weight, leaves)


def _mixture(path: Path, pairs: Iterable[tuple[Any, Any]]) -> Mixture:
    numbers = [(str(name), _number(path, str(name), share)) for name, share in pairs]
    try:
        return Mixture([name for name, _ in numbers], [share for _, share in numbers])
    except MixtureError as problem:
        raise MixtureError(f"{path}: {problem}") from problem


def _number(path: Path, name: str, given: Any) -> float:
    # YAML 1.1 takes 1e-05 for a text.
    try:
        if not isinstance(given, bool):
            return float(given)
    except (TypeError, ValueError):
        pass
    raise MixtureError(f"{path}: the share of {name!r} must be a number, got {given!r}")
