"""Write fits to files and read them: readable JSON, or npz for many trees. Both hold numbers, strings and arrays, never code."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._text.arrays import open_npz
from mixfast._text.atomic import replacing, write_text
from mixfast._text.audience import either
from mixfast._text.json import read_json
from mixfast._text.kinds import kind_of, other_kind
from mixfast._text.names import listing, shown
from mixfast._text.outputs import FIT, check_output
from mixfast.errors import MixfastError
from mixfast.laws import _table
from mixfast.laws._protocol import Law
from mixfast.laws._report import MetricReport

# A law, the columns of its predictions that are used, and the positions of these metrics in the fit.
Stored = tuple[Law, tuple[int, ...], tuple[int, ...]]

_FORMAT = 2
# The key and the words of numbers that strict JSON lacks.
_FLOAT, _NO_NUMBERS = "float", ("inf", "-inf", "nan")
# Laws of more bytes than this, such as those of thousands of domains, are not compressed.
_LARGE = 1 << 26
# Messages of numpy or Python about an invalid file are cut to this many characters.
_SAID = 200
# The fields of a fit that are tuples of strings.
NAMES = ("domains", "metrics", "direction", "unit", "notes")


def save(path: str | os.PathLike[str], facts: dict[str, Any], parts: Sequence[Stored], *, force: bool) -> None:
    """Write the fields and laws of a fit as .npz, or else as JSON. Without ``force``, refuse to replace a file of another kind."""
    path = Path(path)
    check_output(path, FIT, ValueError, force=force)
    arrays: dict[str, Any] = {}
    head = {
        "mixfast_fit": _FORMAT,
        **facts,
        "parts": [
            {"name": law.name, "own": own, "columns": columns, "state": _flat(law.state(), f"part{i}", arrays)}
            for i, (law, own, columns) in enumerate(parts)
        ],
    }
    if path.suffix.lower() == ".npz":
        # Digits of numbers hardly compress, and compressing takes a minute for each 500 MB.
        large = sum(value.nbytes for value in arrays.values()) > _LARGE
        write = np.savez if large else np.savez_compressed
        with replacing(path) as file:
            write(file, head=np.array(json.dumps(_strict(head), allow_nan=False)), **arrays)
        return
    head["arrays"] = {
        key: {"dtype": value.dtype.str, "shape": list(value.shape), "values": value.ravel().tolist()}
        for key, value in arrays.items()
    }
    write_text(path, json.dumps(_strict(head), indent=1, allow_nan=False) + "\n")


def load(path: str | os.PathLike[str], features: Sequence[str]) -> tuple[dict[str, Any], list[Stored]]:
    """Read the fields and laws of a fit that was made with features of these names."""
    path = Path(path)
    if kind_of(path) not in ("fit", "json", "npz", "zip"):
        raise ValueError(other_kind(path, "fitted laws, as `mixfast fit --out` writes them (.json or .npz)"))
    try:
        if path.suffix.lower() == ".npz":
            with open_npz(path, ValueError) as archive:
                if "head" not in archive.keys:
                    raise ValueError(_other(archive.keys))
                arrays = archive.all()
            head = _lenient(read_json(str(arrays.pop("head")), ValueError))
            for key, array in arrays.items():
                _numeric(key, array.dtype)
        else:
            head = _lenient(read_json(path.read_text(encoding="utf-8"), ValueError))
            arrays = {
                key: np.array(value["values"], dtype=_numeric(key, np.dtype(value["dtype"]))).reshape(value["shape"])
                for key, value in head["arrays"].items()
            }
        if head["mixfast_fit"] != _FORMAT:
            raise ValueError(f"the file has format {shown(head['mixfast_fit'])}; this version reads format {_FORMAT}")
        parts = [
            (
                _table.from_state(one["name"], _whole(one["state"], arrays)),
                tuple(one["own"]),
                tuple(one["columns"]),
            )
            for one in head["parts"]
        ]
        facts: dict[str, Any] = {key: tuple(head[key]) for key in NAMES}
        facts["reports"] = tuple(MetricReport(**one) for one in head["reports"])
        facts["largest"], facts["constant"] = np.array(head["largest"], dtype=np.float64), dict(head["constant"])
        # Fits of earlier versions lack these fields.
        facts["misfits"] = tuple(head.get("misfits", ()))
        facts["diverged"] = {name: tuple(runs) for name, runs in head.get("diverged", {}).items()}
        for name in ("rate", "most_epochs", "run_rates"):
            facts[name] = None if head.get(name) is None else np.array(head[name], dtype=np.float64)
        for name in ("spread", "doubted_directions", "noise"):
            facts[name] = dict(head.get(name, {}))
        wanted = tuple(map(str, head["features"]))
    except MixfastError:
        raise
    except Exception as problem:
        # A damaged archive can make the reader seek outside the file.
        if isinstance(problem, OSError) and problem.filename is not None:
            raise
        if kind_of(path) not in ("fit", "json", "npz"):
            raise ValueError(other_kind(path, "a fit that mixfast saved (json or npz)")) from problem
        said = (
            f"there is no {problem} in it" if isinstance(problem, KeyError) else str(problem).removeprefix(f"{path}, ")
        )
        raise ValueError(f"{path} is not a fit that mixfast saved: {said[:_SAID]}") from problem
    if wanted != tuple(features):
        raise ValueError(
            f"{path} was fitted on the features {', '.join(wanted) or 'none'}; got {', '.join(features) or 'none'}. "
            "Load it in Python with the same features: Fit.load(path, features=...)"
        )
    return facts, parts


def _other(keys: Sequence[str]) -> str:
    """Say what kind of npz this is if it is not a fit."""
    if {"loglik", "prediction"} & set(keys):
        return (
            f"it is a table of experts. Laws are fitted to runs, by {either('mixfast.fit', '`mixfast fit`')}; a table is solved, by "
            f"{either('mixfast.solve', '`mixfast solve`')}"
        )
    return f"it has no array named head; its arrays are {listing(keys)}"


def _numeric(key: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Refuse arrays of anything but numbers."""
    if dtype.kind not in "biuf":
        raise ValueError(f"the array {key} is of the type {shown(dtype.str)}, expected numbers")
    return dtype


def _strict(value: Any) -> Any:
    """Replace infinity and NaN, for which strict JSON has no numbers, by objects such as ``{"float": "inf"}``."""
    if isinstance(value, dict):
        return {name: _strict(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    return {_FLOAT: repr(value)} if isinstance(value, float) and not math.isfinite(value) else value


def _lenient(value: Any) -> Any:
    """Undo `_strict`. Earlier versions wrote the words NaN and Infinity, which Python reads as numbers."""
    if isinstance(value, dict):
        if len(value) == 1 and value.get(_FLOAT) in _NO_NUMBERS:
            return float(value[_FLOAT])
        return {name: _lenient(item) for name, item in value.items()}
    if not isinstance(value, list):
        return value
    # Long arrays hold numbers alone.
    return [_lenient(item) if isinstance(item, (dict, list)) else item for item in value]


def _flat(value: Any, key: str, arrays: dict[str, NDArray[Any]]) -> Any:
    """Replace every array in the state by a reference, and put the array into `arrays`."""
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise ValueError(f"the state {key} of a law holds objects")
        arrays[key] = value
        return {"array": key}
    if isinstance(value, dict):
        return {name: _flat(item, f"{key}.{name}", arrays) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_flat(item, f"{key}.{i}", arrays) for i, item in enumerate(value)]
    return value.item() if isinstance(value, np.generic) else value


def _whole(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    """Replace every reference in the state by its array."""
    if isinstance(value, dict):
        return (
            arrays[value["array"]]
            if set(value) == {"array"}
            else {name: _whole(item, arrays) for name, item in value.items()}
        )
    return [_whole(item, arrays) for item in value] if isinstance(value, list) else value
