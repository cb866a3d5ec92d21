"""Folders of the MixMin code: npy files of log-probabilities and lengths, (n,), with the names that `ExpertTable.load` lists."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast.errors import MixfastWarning, TableError
from mixfast.tables.formats._npy import read as read_npy

_LOG_PROB = "_log_prob.npy"
_LENGTHS = "_lengths.npy"


class Columns:
    """A matrix (n, K) whose columns are separate files, mapped into memory; a range of rows is put together when it is asked for."""

    def __init__(self, columns: Sequence[NDArray[Any]]) -> None:
        self._columns = columns
        self.shape = (columns[0].shape[0], len(columns))
        self.dtype: np.dtype[Any] = np.result_type(*columns)

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        first, last, _ = rows.indices(self.shape[0])
        out = np.empty((last - first, self.shape[1]), dtype=self.dtype)
        for k, column in enumerate(self._columns):
            out[:, k] = column[rows]
        return out


def read(folder: Path, task: str | Sequence[str] | None, conditional: bool) -> dict[str, Any]:
    """Return the arrays of a folder, as `ExpertTable.from_loglik` takes them."""
    domains, tasks, found = read_tasks(folder, task, conditional)
    parts = [{key: value[:] for key, value in part.items()} for part in found]
    arrays: dict[str, Any] = {"domains": domains}
    for key in parts[0]:
        arrays[key] = parts[0][key] if len(parts) == 1 else np.concatenate([part[key] for part in parts])
    if len(parts) > 1:
        arrays["group"] = np.repeat(np.arange(len(parts)), [part["loglik"].shape[0] for part in parts])
        arrays["group_names"] = tasks
    return arrays


def read_tasks(
    folder: Path, task: str | Sequence[str] | None, conditional: bool
) -> tuple[list[str], list[str], list[dict[str, Any]]]:
    """Return the domains, the tasks, and for each task its arrays, of which the matrices are `Columns`."""
    experts = {sub.name: sub for sub in sorted(folder.iterdir(), key=_natural) if sub.is_dir() and _tasks(sub)}
    if experts:
        tasks = _choose_tasks(folder, experts, task)
        stems = [{name: sub / chosen for name, sub in experts.items()} for chosen in tasks]
    else:
        found = sorted(_tasks(folder), key=lambda name: _natural(Path(name)))
        if not found:
            raise TableError(
                f"{folder} holds no table: expected one sub-folder per expert with {{task}}{_LOG_PROB}, or one "
                f"{{name}}{_LOG_PROB} per expert, or parts of one table (part-00000.npz, .npy or .parquet)"
            )
        if task is not None:
            raise TableError(f"{folder} has one file per expert ({', '.join(found)}), so there is no task to choose")
        tasks, stems = ["all"], [{name: folder / name for name in found}]
    parts = [_read_task(stem, conditional) for stem in stems]
    for key in parts[0].keys() | parts[-1].keys():
        if any(key not in part for part in parts):
            raise TableError(f"{folder}: some tasks have {key} and some do not ({', '.join(tasks)})")
    return list(stems[0]), tasks, parts


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Return a key that sorts group_10 after group_2."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", path.name)]


def _tasks(folder: Path) -> set[str]:
    found = {file.name.removesuffix(_LOG_PROB) for file in folder.glob(f"*{_LOG_PROB}")}
    # {task}_input holds the prompts of {task}; it is not a separate task.
    return {name for name in found if name.removesuffix("_input") == name or name.removesuffix("_input") not in found}


def _choose_tasks(folder: Path, experts: dict[str, Path], task: str | Sequence[str] | None) -> list[str]:
    by_expert = {name: _tasks(sub) for name, sub in experts.items()}
    found = sorted(set.union(*by_expert.values()))
    if task is None:
        if len(found) > 1:
            raise TableError(f"{folder} has several tasks, {', '.join(found)}: choose with task=, or several as a list")
        chosen = found
    else:
        chosen = [task] if isinstance(task, str) else list(task)
    if not chosen or len(set(chosen)) != len(chosen):
        raise TableError(f"task must name at least one task, each once, got {chosen}")
    for name in chosen:
        lacking = [expert for expert, tasks in by_expert.items() if name not in tasks]
        if lacking:
            raise TableError(
                f"{folder}: no {name}{_LOG_PROB} in {', '.join(lacking)}; the tasks found are {', '.join(found)}"
            )
    return chosen


def _read_task(stems: dict[str, Path], conditional: bool) -> dict[str, Any]:
    arrays: dict[str, Any] = {"loglik": _read_columns(stems, _LOG_PROB)}
    lengths = _read_lengths(stems, _LENGTHS)
    if conditional:
        arrays["condition"] = _read_columns(stems, f"_input{_LOG_PROB}")
        prompt = _read_lengths(stems, f"_input{_LENGTHS}")
        if (lengths is None) != (prompt is None) or (
            lengths is not None and prompt is not None and lengths.shape != prompt.shape
        ):
            raise TableError(f"{next(iter(stems.values()))}: the lengths of the whole and of the prompt do not match")
        if lengths is not None and prompt is not None:
            # Signed: a prompt longer than the whole must come out negative and be refused, not wrap around.
            whole = np.result_type(lengths, prompt).kind in "iu"
            lengths = np.subtract(lengths, prompt, dtype=np.int64 if whole else np.float64, casting="unsafe")
    if lengths is not None:
        arrays["length"] = lengths
    return arrays


def _read_columns(stems: dict[str, Path], suffix: str) -> Columns:
    columns = {}
    for name, stem in stems.items():
        file = stem.with_name(stem.name + suffix)
        column = _read_vector(file)
        if column.dtype.kind != "f":
            raise TableError(f"{file} must hold floating log-probabilities, got {column.dtype}")
        columns[name] = column
    rows = {name: column.shape[0] for name, column in columns.items()}
    if len(set(rows.values())) > 1:
        first = next(iter(stems.values()))
        raise TableError(f"experts differ in the number of rows of {first.name}{suffix} (in {first.parent}): {rows}")
    return Columns(list(columns.values()))


def _read_vector(file: Path) -> NDArray[Any]:
    if not file.is_file():
        raise TableError(f"{file} is missing")
    if not file.stat().st_size:
        raise TableError(f"{file} is empty")
    array = read_npy(file)
    if array.ndim != 1:
        raise TableError(f"{file} must hold one value per row, got shape {array.shape}")
    return array


def _read_lengths(stems: dict[str, Path], suffix: str) -> NDArray[Any] | None:
    """Read the lengths of the first expert, as the MixMin code does, and warn if those of another expert differ."""
    files = {name: stem.with_name(stem.name + suffix) for name, stem in stems.items()}
    first = next(iter(files))
    if not files[first].is_file():
        warnings.warn(f"no {files[first]}: rows are not divided by their length", MixfastWarning, stacklevel=8)
        return None
    lengths = _read_vector(files[first])
    other = [name for name, file in files.items() if file.is_file() and not np.array_equal(_read_vector(file), lengths)]
    if other:
        warnings.warn(
            f"lengths of {', '.join(other)} differ from those of {first}, which are used: were all experts scored on "
            "the same rows with the same tokenizer?",
            MixfastWarning,
            stacklevel=8,
        )
    return np.array(lengths)
