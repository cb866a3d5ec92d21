"""Olmix: proposals, and the mix of a launch file."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from mixfast.mixture import Mixture
from mixfast.readers._document import document, mapping, mixture, number, pairs

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

    Returns
    -------
    Mixture

    Raises
    ------
    MixtureError
        If the file is not of that kind, or its shares are not.
    """
    path = Path(path)
    content = document(path)
    if isinstance(content, list):
        return mixture(path, pairs(path, content, "domain", "weight"))
    found: list[tuple[str, Any]] = []
    for name, node in mapping(path, content, "mix").items():
        _add_leaves(path, str(name), node, 1.0, found)
    return mixture(path, found)


def _add_leaves(path: Path, name: str, node: Any, weight: float, leaves: list[tuple[str, Any]]) -> None:
    """Append the leaves below a node; a bare number is a weight."""
    if not isinstance(node, Mapping):
        leaves.append((name, weight * number(path, name, node)))
        return
    weight *= number(path, name, node.get("weight", 1.0))
    children = {key: child for key, child in node.items() if key not in _PROPERTIES}
    if not children:
        leaves.append((name, weight))
    for key, child in children.items():
        _add_leaves(path, f"{name}:{key}", child, weight, leaves)
