"""Files of an ExpertTable: npz, npy and the folders of the MixMin code, read without ever unpickling."""

from __future__ import annotations

import math
import os
import re
import struct
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mixfast._text.atomic import replacing
from mixfast.errors import MixfastWarning, TableError

# Smaller arrays are read: that checks the archive's checksum and leaves no file open.
_MAP_ABOVE = 1 << 26
_ALIGNMENT = 64
# The zip extra field under which archives keep alignment padding (the number is Android zipalign's).
_PADDING_FIELD = 0xD935
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_LOG_PROB = "_log_prob.npy"
_LENGTHS = "_lengths.npy"

_OPTIONAL = ("weight", "group", "group_names", "sequence")
_KEYS = {
    "loglik": ("length", "bytes", "condition", *_OPTIONAL),
    "prediction": ("target", "n_outputs", *_OPTIONAL),
}


def read(path: str | os.PathLike[str], *, task: str | Sequence[str] | None, conditional: bool) -> dict[str, Any]:
    """Return the arrays of a file or folder as arguments of the constructors of ExpertTable."""
    path = Path(path)
    if path.is_dir():
        return _read_folder(path, task, conditional)
    if task is not None or conditional:
        raise TableError(f"{path} is a file: task and conditional are for a folder of experts")
    with path.open("rb") as handle:
        start = handle.read(8)
    if not start:
        raise TableError(f"{path} is empty")
    if start[:4] == b"PK\x03\x04":
        return _read_npz(path)
    if start[:6] == b"\x93NUMPY":
        return {"loglik": _read_npy(path)}
    if start[:1] == b"\x80":
        raise TableError(f"{path} is a pickle, which could run any code and is never loaded; save the table as npz")
    raise TableError(f"{path} is neither npz nor npy: it begins with {start!r}")


def write(path: str | os.PathLike[str], arrays: dict[str, NDArray[Any]]) -> None:
    """Write arrays as npz, or the only one as npy."""
    # The arrays may be mapped from the file that is replaced: it must not be written in place.
    path = Path(path)
    if path.suffix == ".npz":
        with replacing(path) as handle, zipfile.ZipFile(handle, "w", zipfile.ZIP_STORED) as archive:
            for key, array in arrays.items():
                _write_member(archive, handle, f"{key}.npy", array)
    elif path.suffix == ".npy":
        lost = [key for key in arrays if key != "loglik"]
        if lost:
            raise TableError(f"{path}: npy holds log-likelihoods only and would lose {', '.join(lost)}; save as .npz")
        with replacing(path) as handle:
            np.lib.format.write_array(handle, arrays["loglik"], allow_pickle=False)
    else:
        raise TableError(f"{path}: a table is saved as .npz or .npy, not {path.suffix or 'without a suffix'}")


def _write_member(archive: zipfile.ZipFile, handle: IO[bytes], name: str, array: NDArray[Any]) -> None:
    # A fixed date: the same table gives the same bytes.
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    # The header is followed by the name, our 4 bytes and padding, and the 20 bytes of the zip64 sizes.
    header = _LOCAL_HEADER.size + len(name) + 4 + 20
    padding = -(handle.tell() + header) % _ALIGNMENT
    info.extra = struct.pack("<HH", _PADDING_FIELD, padding) + bytes(padding)
    with archive.open(info, "w", force_zip64=True) as member:
        np.lib.format.write_array(member, array, allow_pickle=False)


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            kinds = [key for key in _KEYS if key in members]
            if len(kinds) != 1:
                raise TableError(
                    f"{path} must hold either loglik or prediction (with target), and holds {sorted(members)}"
                )
            if kinds == ["prediction"] and "target" not in members:
                raise TableError(f"{path} holds prediction but no target; its keys are {sorted(members)}")
            naming = next((key for key in ("domains", "experts") if key in members), None)
            wanted = [kinds[0], *_KEYS[kinds[0]], *([naming] if naming else [])]
            unused = sorted(set(members) - set(wanted))
            if unused:
                warnings.warn(f"{path}: keys not used: {', '.join(unused)}", MixfastWarning, stacklevel=4)
            arrays: dict[str, Any] = {
                key: _read_member(path, archive, members[key]) for key in wanted if key in members
            }
    except (TableError, MixfastWarning):
        raise
    except Exception as error:
        # Damage can surface as almost any exception of zipfile, zlib or struct.
        raise TableError(f"{path} is truncated or damaged, or no npz file: {error}") from None
    if naming:
        arrays["domains"] = arrays.pop(naming)
    if "n_outputs" in arrays:
        outputs = arrays["n_outputs"]
        if outputs.ndim or outputs.dtype.kind not in "iu":
            raise TableError(f"{path}: n_outputs must be one integer, got {outputs.dtype} {outputs.shape}")
        arrays["n_outputs"] = int(outputs)
    return arrays


def _read_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    where = f"{path}, key {info.filename.removesuffix('.npy')}"
    with archive.open(info) as member:
        shape, fortran, dtype = _read_header(member, where)
        header = member.tell()
        if header + math.prod(shape) * dtype.itemsize > info.file_size:
            raise TableError(f"{where} is truncated: its header promises {dtype} {shape}")
        if info.compress_type == zipfile.ZIP_STORED and info.file_size >= _MAP_ABOVE:
            mapped = _map(path, _member_offset(path, info) + header, shape, fortran, dtype)
            # A misaligned map would have to be copied whole later: reading is cheaper.
            if mapped.flags.aligned:
                return mapped
    with archive.open(info) as member:
        array: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
    return array


def _member_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Return where in the file the stored bytes of a member begin."""
    with path.open("rb") as handle:
        handle.seek(info.header_offset)
        fields = _LOCAL_HEADER.unpack(handle.read(_LOCAL_HEADER.size))
    name_bytes, extra_bytes = fields[-2:]
    return info.header_offset + _LOCAL_HEADER.size + int(name_bytes) + int(extra_bytes)


def _read_npy(path: Path) -> NDArray[Any]:
    with path.open("rb") as handle:
        shape, fortran, dtype = _read_header(handle, str(path))
        offset = handle.tell()
    if offset + math.prod(shape) * dtype.itemsize > path.stat().st_size:
        raise TableError(f"{path} is truncated: its header promises {dtype} {shape}")
    if 0 in shape:
        raise TableError(f"{path} holds an empty array of shape {shape}")
    return _map(path, offset, shape, fortran, dtype)


def _map(path: Path, offset: int, shape: tuple[int, ...], fortran: bool, dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape, order="F" if fortran else "C")


def _read_header(handle: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(handle)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(handle)
        elif version == (2, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(handle)
        else:
            raise ValueError(f"npy format {version} is for structured arrays")
        if any(size < 0 for size in shape):
            raise ValueError(f"shape {shape}")
    except Exception as error:
        # The header is a literal that is parsed: damage can surface as almost any exception.
        raise TableError(f"{where} is no readable npy array: {error}") from None
    if dtype.hasobject:
        raise TableError(
            f"{where} holds pickled Python objects, which could run any code and are never loaded; save numbers as "
            "floats and names as np.array(names, dtype=str)"
        )
    return shape, fortran, dtype


def _read_folder(folder: Path, task: str | Sequence[str] | None, conditional: bool) -> dict[str, Any]:
    """Read what the MixMin code writes: an array of log-probabilities and one of lengths per expert and task."""
    experts = {sub.name: sub for sub in sorted(folder.iterdir(), key=_natural) if sub.is_dir() and _tasks(sub)}
    if experts:
        tasks = _choose_tasks(folder, experts, task)
        stems = [{name: sub / chosen for name, sub in experts.items()} for chosen in tasks]
    else:
        found = sorted(_tasks(folder), key=lambda name: _natural(Path(name)))
        if not found:
            raise TableError(
                f"{folder} holds no table: expected one sub-folder per expert with {{task}}{_LOG_PROB}, or one "
                f"{{name}}{_LOG_PROB} per expert"
            )
        if task is not None:
            raise TableError(f"{folder} has one file per expert ({', '.join(found)}), so there is no task to choose")
        tasks, stems = ["all"], [{name: folder / name for name in found}]
    parts = [_read_task(stem, conditional) for stem in stems]
    arrays: dict[str, Any] = {"domains": list(stems[0])}
    for key in parts[0].keys() | parts[-1].keys():
        if any(key not in part for part in parts):
            raise TableError(f"{folder}: some tasks have {key} and some do not ({', '.join(tasks)})")
        arrays[key] = parts[0][key] if len(parts) == 1 else np.concatenate([part[key] for part in parts])
    if len(parts) > 1:
        arrays["group"] = np.repeat(np.arange(len(parts)), [part["loglik"].shape[0] for part in parts])
        arrays["group_names"] = tasks
    return arrays


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Sort group_10 after group_2."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", path.name)]


def _tasks(folder: Path) -> set[str]:
    found = {file.name.removesuffix(_LOG_PROB) for file in folder.glob(f"*{_LOG_PROB}")}
    # {task}_input is the prompt of {task}, not a task of its own.
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


def _read_task(stems: dict[str, Path], conditional: bool) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {"loglik": _read_columns(stems, _LOG_PROB)}
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


def _read_columns(stems: dict[str, Path], suffix: str) -> NDArray[Any]:
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
    table = np.empty((next(iter(rows.values())), len(rows)), dtype=np.result_type(*columns.values()))
    for k, column in enumerate(columns.values()):
        table[:, k] = column
    return table


def _read_vector(file: Path) -> NDArray[Any]:
    if not file.is_file():
        raise TableError(f"{file} is missing")
    if not file.stat().st_size:
        raise TableError(f"{file} is empty")
    array = _read_npy(file)
    if array.ndim != 1:
        raise TableError(f"{file} must hold one value per row, got shape {array.shape}")
    return array


def _read_lengths(stems: dict[str, Path], suffix: str) -> NDArray[Any] | None:
    """Read the lengths of the first expert, as the MixMin code does, and say where another expert's differ."""
    files = {name: stem.with_name(stem.name + suffix) for name, stem in stems.items()}
    first = next(iter(files))
    if not files[first].is_file():
        warnings.warn(f"no {files[first]}: rows are not divided by their length", MixfastWarning, stacklevel=7)
        return None
    lengths = _read_vector(files[first])
    other = [name for name, file in files.items() if file.is_file() and not np.array_equal(_read_vector(file), lengths)]
    if other:
        warnings.warn(
            f"lengths of {', '.join(other)} differ from those of {first}, which are used: were all experts scored on "
            "the same rows with the same tokenizer?",
            MixfastWarning,
            stacklevel=7,
        )
    return np.array(lengths)
