"""Folders of experts: their names, whether each holds a complete model, and a fingerprint of its weights."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from mixfast._text.audience import either
from mixfast._text.names import domain_names, listing, shown
from mixfast.errors import ScoreError
from mixfast.score._not_models import what_it_is

# A file of weights is recognised by this many pieces of this many bytes, evenly spaced: training changes all weights.
_PIECES, _PIECE = 64, 1 << 14


def folders(experts: object) -> dict[str, Path]:
    """Return folders by name of the expert, from such a mapping or from a list of folders; the latter are named by their last part."""
    if isinstance(experts, str | os.PathLike):
        raise ScoreError(
            f"experts is the single path {shown(os.fspath(experts))}; give a list of folders, one for each expert"
        )
    if isinstance(experts, Mapping):
        named = [(str(name), Path(path)) for name, path in experts.items()]
    elif isinstance(experts, Sequence):
        named = [(Path(path).resolve().name, Path(path)) for path in experts]
    else:
        raise ScoreError(f"experts must be folders, or a mapping of name to folder, got {type(experts).__name__}")
    if not named:
        raise ScoreError("experts is empty; give the folders of one or more models")
    names = [name for name, _ in named]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ScoreError(
            f"several experts are called {listing(twice)}: {listing(path for name, path in named if name in twice)}; give each "
            f"a different name: {either('a mapping of name to folder', 'NAME=FOLDER')}"
        )
    domain_names(names, ScoreError)
    for name, path in named:
        _check_folder(name, path)
    return dict(named)


def _check_folder(name: str, path: Path) -> None:
    """Refuse a folder that does not hold a complete model."""
    if not (path / "config.json").is_file():
        raise ScoreError(f"expert {name}: {what_it_is(path)}")
    for index in path.glob("*.index.json"):
        try:
            wanted = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise ScoreError(f"expert {name}: {index} is damaged: {shown(problem)}") from None
        lacking = sorted(file for file in wanted if not (path / file).is_file())
        if lacking:
            raise ScoreError(
                f"expert {name}: {index} names {listing(lacking)}, but {path} lacks them; was the checkpoint written completely?"
            )
    for file in sorted(path.glob("*.safetensors")):
        _check_safetensors(name, file)


def _check_safetensors(name: str, file: Path) -> None:
    """Compare the size of a file of weights with the size that its header states."""
    size = file.stat().st_size
    with file.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        try:
            header = json.loads(handle.read(length)) if 0 < length <= size - 8 else None
            ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]  # type: ignore[union-attr]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ScoreError(
                f"expert {name}: {file} ({size} bytes) has no readable header; was it written completely?"
            ) from None
    stated = 8 + length + max(ends, default=0)
    if size != stated:
        raise ScoreError(
            f"expert {name}: {file} has {size} bytes, but its header states {stated}; was it written completely?"
        )


def model_fingerprint(path: Path) -> str:
    """Return a digest of pieces of a model's files. Paths and times do not enter it, so the folder may be moved."""
    digest = hashlib.sha256()
    files = [path / "config.json", *sorted(path.glob("*.safetensors")), *sorted(path.glob("*.bin"))]
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name}\0{size}\0".encode())
        with file.open("rb") as handle:
            for piece in range(_PIECES + 1):
                handle.seek(max(size - _PIECE, 0) * piece // _PIECES)
                digest.update(handle.read(_PIECE))
    return digest.hexdigest()
