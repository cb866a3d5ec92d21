"""RegMix: mixture files of its TinyLlama code."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from mixfast.mixture import Mixture
from mixfast.readers._document import document, mapping, mixture


def regmix(path: str | PathLike[str]) -> Mixture:
    """Read the ``train`` part of a mixture file of RegMix's TinyLlama code (YAML, 2024-10).

    The names keep their ``train_``, as the columns of RegMix's csv files do.

    Raises
    ------
    MixtureError
        If the file is not of that kind, or its shares are not.
    """
    path = Path(path)
    return mixture(path, mapping(path, document(path), "train").items())
