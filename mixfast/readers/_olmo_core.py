"""OLMo-core: source mixtures."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path

from mixfast.errors import MixtureError
from mixfast.mixture import Mixture
from mixfast.readers._document import document, mixture, pairs


def olmo_core(path: str | PathLike[str]) -> Mixture:
    """Read the ``target_ratio`` of each of the ``sources`` of an OLMo-core ``SourceMixtureList`` (YAML, version 2.5).

    Raises
    ------
    MixtureError
        If the file is not of that kind, or its shares are not.
    """
    path = Path(path)
    content = document(path)
    sources = content.get("sources") if isinstance(content, Mapping) else None
    if not isinstance(sources, list):
        raise MixtureError(f"{path}: expected a mapping with a list 'sources'")
    return mixture(path, pairs(path, sources, "source_name", "target_ratio"))
