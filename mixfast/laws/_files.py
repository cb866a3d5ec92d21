"""Fits in files: json for people, npz for many trees. Numbers, strings and arrays; never anything that runs when it is read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixfast._text.names import listing
from mixfast.errors import MixfastError
from mixfast.laws import _table
from mixfast.laws._report import MetricReport

if TYPE_CHECKING:
    from mixfast.laws._fit import Fit

_FORMAT = 2


def save(fit: Fit, path: Any) -> None:
    """Write the fit to .json or .npz."""
    path = Path(path)
    arrays: dict[str, Any] = {}
    head = {
        "mixfast_fit": _FORMAT,
        "domains": list(fit.domains),
        "metrics": list(fit.metrics),
        "direction": list(fit.direction),
        "unit": list(fit.unit),
        "largest": fit.largest.tolist(),
        "constant": fit.constant,
        "features": list(getattr(fit.features, "names", ())),
        "notes": list(fit.notes),
        "reports": [vars(one) for one in fit.reports],
        "parts": [
            {
                "name": part.law.name,
                "own": list(part.own),
                "columns": list(part.columns),
                "state": _flat(part.law.state(), f"part{i}", arrays),
            }
            for i, part in enumerate(fit.parts)
        ],
    }
    if path.suffix == ".json":
        head["arrays"] = {
            key: {"dtype": value.dtype.str, "shape": list(value.shape), "values": value.ravel().tolist()}
            for key, value in arrays.items()
        }
        text = json.dumps(head, indent=1) + "\n"
    elif path.suffix != ".npz":
        raise ValueError(f"{path}: a fit is saved as .json or .npz, not {path.suffix or 'a file without suffix'}")
    # On a full disk a law that is there already stays.
    beside = path.with_name(f".{path.name}.new")
    try:
        with beside.open("wb") as file:
            if path.suffix == ".json":
                file.write(text.encode("utf-8"))
            else:
                np.savez_compressed(file, head=np.array(json.dumps(head)), **arrays)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def load(path: Any, features: Any) -> Fit:
    """Read a fit."""
    from mixfast.laws._fit import Fit, Part

    path = Path(path)
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                if "head" not in file.files:
                    raise ValueError(_other(file.files))
                head = json.loads(str(file["head"]))
                arrays = {key: file[key] for key in file.files if key != "head"}
        else:
            head = json.loads(path.read_text(encoding="utf-8"))
            arrays = {
                key: np.array(value["values"], dtype=np.dtype(value["dtype"])).reshape(value["shape"])
                for key, value in head["arrays"].items()
            }
        if head["mixfast_fit"] != _FORMAT:
            raise ValueError(f"format {head['mixfast_fit']}, and this version reads {_FORMAT}")
        parts = tuple(
            Part(
                _table.from_state({"name": one["name"], "state": _whole(one["state"], arrays)}),
                tuple(one["own"]),
                tuple(one["columns"]),
            )
            for one in head["parts"]
        )
        reports = tuple(MetricReport(**one) for one in head["reports"])
        largest, constant = np.array(head["largest"], dtype=np.float64), dict(head["constant"])
    except MixfastError:
        raise
    except OSError:
        raise
    except Exception as problem:
        said = f"there is no {problem} in it" if isinstance(problem, KeyError) else problem
        raise ValueError(f"{path} is not a fit that mixfast saved: {said}") from problem
    wanted = tuple(head["features"])
    if wanted != tuple(getattr(features, "names", ())):
        raise ValueError(
            f"{path} was fitted on the features {', '.join(wanted) or 'none'}; got {', '.join(getattr(features, 'names', ())) or 'none'}. "
            "Load it in Python and give the same: Fit.load(path, features=...)"
        )
    return Fit(
        tuple(head["domains"]),
        tuple(head["metrics"]),
        tuple(head["direction"]),
        tuple(head["unit"]),
        largest,
        parts,
        features,
        reports,
        tuple(head["notes"]),
        0.0,
        constant,
    )


def _other(keys: list[str]) -> str:
    """What an npz without the head of a fit is instead."""
    if {"loglik", "prediction"} & set(keys):
        return (
            "it is a table of experts. Laws are fitted to runs, by mixfast.fit or `mixfast fit`; a table is solved, by mixfast.solve "
            "or `mixfast solve`"
        )
    return f"there is no head in it, but {listing(keys)}"


def _flat(value: Any, key: str, arrays: dict[str, Any]) -> Any:
    """The state with every array replaced by its name among `arrays`."""
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


def _whole(value: Any, arrays: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return (
            arrays[value["array"]]
            if set(value) == {"array"}
            else {name: _whole(item, arrays) for name, item in value.items()}
        )
    return [_whole(item, arrays) for item in value] if isinstance(value, list) else value
