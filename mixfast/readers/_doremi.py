"""DoReMi: domain configurations."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from mixfast.mixture import Mixture
from mixfast.readers._document import document, mapping, mixture


def doremi(path: str | PathLike[str]) -> Mixture:
    """Read the ``train_domain_weights`` of a domain configuration of DoReMi (JSON).

    Raises
    ------
    MixtureError
        If the file is not of that kind, or its shares are not.
    """
    path = Path(path)
    return mixture(path, mapping(path, document(path), "train_domain_weights").items())
