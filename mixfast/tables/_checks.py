"""The gate of ExpertTable: what came, what was expected, what to do, and which rows or names are to blame."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast._engine.backend import device as _device
from mixfast.errors import BackendError, TableError

# Offenders listed in a message; the rest is counted.
_SHOWN = 5
# Narrow rows are reduced column by column, K passes over a block that must stay in the L2 cache.
_NARROW_BLOCK = 1 << 17
# Wide rows take one pass; a block only has to be large against the cost of a numpy call.
_WIDE_BLOCK = 1 << 22
# Up to here K strided passes beat numpy's reduction along short rows (measured, float32 and float64).
_NARROW = 48
# DLPack device codes of memory the CPU can read: CPU and CUDA pinned host memory.
_CPU_DEVICES = (1, 3)

Scan = tuple[float, int, NDArray[np.int64], int, NDArray[np.int64], float]
# Of those, what may be wrong: how many rows are bad and which first, and how many are dead and which first.
Trouble = tuple[int, NDArray[np.int64], int, NDArray[np.int64]]


def scan(loglik: NDArray[Any]) -> Scan:
    """Find what is wrong with the values in one streaming read.

    Parameters
    ----------
    loglik : (n, K) float16, float32 or float64, C-contiguous, n and K at least 1

    Returns
    -------
    max : float
        Largest value of the rows that are not bad; -inf where there are none.
    n_bad_rows, first_bad_rows : int, (at most 5,) int64
        Rows with NaN or +inf.
    n_dead_rows, first_dead_rows : int, (at most 5,) int64
        Rows that are -inf throughout.
    lowest_row_max : float
        Smallest over the rows that are not bad of the row's largest value; +inf where there are none.
    """
    n, n_domains = loglik.shape
    block_bytes = _NARROW_BLOCK if n_domains <= _NARROW else _WIDE_BLOCK
    step = max(1, block_bytes // (n_domains * loglik.itemsize))
    highest, lowest = -math.inf, math.inf
    n_bad = n_dead = 0
    bad: list[int] = []
    dead: list[int] = []
    # A signalling NaN sets the invalid flag; it is reported as a bad row, not as a warning of numpy.
    with np.errstate(invalid="ignore"):
        for start in range(0, n, step):
            row_max = _row_max(loglik[start : start + step])
            top, low = float(row_max.max()), float(row_max.min())
            # NaN propagates through every maximum, and fails this comparison.
            if not top < math.inf:
                rows = np.flatnonzero(~(row_max < math.inf))
                n_bad += rows.size
                bad.extend((rows[: _SHOWN - len(bad)] + start).tolist())
                row_max = np.where(row_max < math.inf, row_max, np.nan)
                if rows.size == row_max.size:
                    continue
                top, low = float(np.fmax.reduce(row_max)), float(np.fmin.reduce(row_max))
            if low == -math.inf:
                rows = np.flatnonzero(row_max == -math.inf)
                n_dead += rows.size
                dead.extend((rows[: _SHOWN - len(dead)] + start).tolist())
            highest, lowest = max(highest, top), min(lowest, low)
    return highest, n_bad, np.array(bad, dtype=np.int64), n_dead, np.array(dead, dtype=np.int64), lowest


def _row_max(block: NDArray[Any]) -> NDArray[Any]:
    if block.dtype == np.float16:
        # numpy has no vector maximum for float16; converting is cheaper than comparing.
        block = block.astype(np.float32)
    if block.shape[1] > _NARROW:
        row_max: NDArray[Any] = np.maximum.reduce(block, axis=1)
        return row_max
    row_max = block[:, 0].copy()
    for k in range(1, block.shape[1]):
        np.maximum(row_max, block[:, k], out=row_max)
    return row_max


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Return a view that cannot be written through; the array it came from is left as it is."""
    view = array.view()
    view.setflags(write=False)
    return view


def host_array(given: Any, name: str) -> NDArray[Any]:
    """Return a plain numpy array of what was given, without a copy where its memory can be shared."""
    if type(given) is np.ndarray:
        return given
    if isinstance(given, np.ma.MaskedArray):
        if np.ma.is_masked(given):
            raise TableError(f"{name} is a masked array with masked entries; drop those rows or fill them with -inf")
        return np.asarray(given.data)
    if isinstance(given, np.ndarray):
        return np.asarray(given)
    shared = hasattr(given, "__dlpack__") and hasattr(given, "__dlpack_device__")
    if shared and (device := _dlpack_code(given, name)) not in _CPU_DEVICES:
        raise BackendError(
            f"{name} is a {type(given).__name__} outside CPU memory (DLPack device type {device}); copy it to the CPU "
            "first, for a torch tensor with .cpu()"
        )
    try:
        if shared:
            # Gradients are of no use here, and torch refuses to export a tensor that asks for them.
            if getattr(given, "requires_grad", False):
                given = given.detach()
            # Nor does it export the sign of a view of negated numbers, such as the imaginary part of a conjugate.
            if hasattr(given, "resolve_neg"):
                given = given.resolve_neg()
            try:
                return np.from_dlpack(given)
            except (BufferError, RuntimeError, TypeError, ValueError):
                # A type DLPack or numpy does not know (bfloat16) may still have a conversion of its own.
                pass
        return np.asarray(given)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise TableError(
            f"{name} ({type(given).__name__}) cannot be read as a numpy array: {error}; give float16, float32 or "
            "float64 values (for a torch tensor of another type: tensor.float())"
        ) from None


def _dlpack_code(given: Any, name: str) -> int:
    """The DLPack code of where something lies."""
    try:
        return int(given.__dlpack_device__()[0])
    except (BufferError, RuntimeError, ValueError) as error:
        raise BackendError(
            f"{name} is a {type(given).__name__} in no memory that can be read ({error}); copy it to the CPU first"
        ) from None


def _floating(given: Any, name: str) -> NDArray[Any]:
    """Return the array in native float16, float32 or float64, C-contiguous and aligned."""
    array = host_array(given, name)
    dtype = array.dtype
    if dtype.kind != "f" or dtype.itemsize not in (2, 4, 8):
        if dtype.kind in "iub":
            why = "whole numbers are no log-likelihoods; if they are meant, convert with .astype(float)"
        elif dtype.kind == "f":
            why = "convert with .astype(np.float64)"
        else:
            why = "convert it first"
        raise TableError(f"{name} must be float16, float32 or float64, got {dtype}: {why}")
    if not dtype.isnative:
        array = array.astype(dtype.newbyteorder("="))
    flags = array.flags
    if not (flags.c_contiguous and flags.aligned):
        array = np.array(array, order="C")
    return array


def floating_matrix(given: Any, name: str) -> Any:
    """Return a checked (n, K) floating array with at least one row and one domain; a tensor of what is on a CUDA device."""
    there = not isinstance(given, np.ndarray) and hasattr(given, "__dlpack_device__")
    if there and _device.accepts(_dlpack_code(given, name)):
        array = _device.tensor(given, name)
    else:
        array = _floating(given, name)
    if array.ndim != 2:
        hint = "; for a single domain use values[:, None]" if array.ndim == 1 else ""
        raise TableError(f"{name} must have shape (rows, domains), got {tuple(array.shape)}{hint}")
    _refuse_empty(array, name)
    return array


def _refuse_empty(array: Any, name: str) -> None:
    if 0 in array.shape:
        raise TableError(f"{name} is empty: shape {tuple(array.shape)}, expected at least one row and one domain")


def conditional(loglik: Any, condition: Any, domains: tuple[str, ...]) -> Any:
    """Return loglik - condition after checking that the prompt's log-probabilities are such."""
    if condition.shape != loglik.shape:
        raise TableError(
            f"condition has shape {tuple(condition.shape)}, loglik {tuple(loglik.shape)}: they must be equal"
        )
    if _device.is_tensor(loglik) != _device.is_tensor(condition):
        raise TableError("loglik and condition must be on the same device: one is on the CPU and the other is not")
    n_bad, bad = _device.scan(condition)[1][:2] if _device.is_tensor(condition) else scan(condition)[1:3]
    if n_bad:
        refuse_bad_rows(condition, n_bad, bad, domains, "condition")
    # -inf - -inf is NaN (the prompt is impossible, so the answer is undefined): it is refused with its row.
    with np.errstate(invalid="ignore", over="ignore"):
        return loglik - condition


def refuse_bad_rows(values: Any, count: int, rows: NDArray[np.int64], domains: tuple[str, ...], name: str) -> NoReturn:
    """Name the rows with NaN or +inf, and the domain and value of each."""
    shown = []
    for row in rows[:_SHOWN].tolist():
        here = _device.host(values[row])
        k = int(np.flatnonzero(~(here < math.inf))[0])
        shown.append(f"row {row} ({domains[k]} = {here[k]})")
    hint = " (-inf in condition makes the answer undefined)" if "condition" in name else ""
    raise TableError(
        f"{name} has NaN or +inf in {count} of {values.shape[0]} rows: {_list(shown, count)}{hint}; "
        "drop those rows or score them again"
    )


def refuse_dead_rows(values: Any, count: int, rows: NDArray[np.int64], name: str) -> NoReturn:
    """Name the rows no expert gives any probability: every mixture's loss would be infinite."""
    raise TableError(
        f"{name} is -inf for every domain in {count} of {values.shape[0]} rows: "
        f"{_list([f'row {row}' for row in rows[:_SHOWN].tolist()], count)}; no mixture gives them any probability, so "
        "drop those rows"
    )


def predictions(prediction: Any, target: ArrayLike) -> tuple[NDArray[Any], NDArray[np.float64], int]:
    """Return (n * D, K) predictions, (n * D,) float64 targets, and D."""
    array = host_array(prediction, "prediction")
    if array.ndim not in (2, 3):
        raise TableError(f"prediction must have shape (rows, domains) or (rows, domains, outputs), got {array.shape}")
    n, n_domains = array.shape[:2]
    n_outputs = array.shape[2] if array.ndim == 3 else 1
    _refuse_empty(array, "prediction")
    if array.ndim == 3:
        array = array.transpose(0, 2, 1)
    values = _floating(array, "prediction").reshape(n * n_outputs, n_domains)
    observed = host_array(target, "target")
    if observed.dtype.kind not in "iuf":
        raise TableError(f"target must be numbers, got {observed.dtype}")
    allowed = [(n, n_outputs)] + [(n,)] * (n_outputs == 1)
    if observed.shape not in allowed:
        raise TableError(f"target has shape {observed.shape}, expected {allowed[-1]} for prediction {array.shape[:2]}")
    observed = np.ascontiguousarray(observed, dtype=np.float64).reshape(-1)
    wrong = np.flatnonzero(~np.isfinite(observed))
    if wrong.size:
        shown = [f"row {i // n_outputs} ({observed[i]})" for i in wrong[:_SHOWN].tolist()]
        raise TableError(f"target is not finite in {wrong.size} entries: {_list(shown, wrong.size)}; drop those rows")
    return values, observed, n_outputs


def refuse_not_finite(values: NDArray[Any], n_outputs: int, domains: tuple[str, ...]) -> None:
    """Refuse predictions with NaN or an infinity, naming rows (observations), domains and values."""
    step = max(1, _WIDE_BLOCK // (values.shape[1] * values.itemsize))
    shown: list[str] = []
    count = 0
    for start in range(0, values.shape[0], step):
        block = values[start : start + step]
        # Both are finite exactly when every value is: NaN propagates through either.
        if math.isfinite(block.max()) and math.isfinite(block.min()):
            continue
        wrong = ~np.isfinite(block)
        rows = np.flatnonzero(wrong.any(axis=1))
        count += rows.size
        for row in rows[: _SHOWN - len(shown)].tolist():
            k = int(np.argmax(wrong[row]))
            shown.append(f"row {(start + row) // n_outputs} ({domains[k]} = {block[row, k]})")
    if count:
        raise TableError(f"prediction is not finite in {count} rows: {_list(shown, count)}; drop those rows")


def fold_outputs(arrays: dict[str, Any], n_outputs: int) -> dict[str, Any]:
    """Undo the expansion of D outputs to rows that `ExpertTable.save` writes as it is kept."""
    rows = arrays["prediction"].shape[0] if arrays["prediction"].ndim == 2 else -1
    folded = dict(arrays)
    for key in ("prediction", "target", "weight", "group", "sequence"):
        if key not in arrays:
            continue
        array = arrays[key]
        if n_outputs < 1 or rows < 0 or array.shape[:1] != (rows,) or rows % n_outputs:
            raise TableError(f"{key} has shape {array.shape}, which does not hold {n_outputs} outputs for each row")
        if key == "prediction":
            folded[key] = array.reshape(-1, n_outputs, array.shape[1]).transpose(0, 2, 1)
        else:
            folded[key] = array.reshape(-1, n_outputs) if key == "target" else array[::n_outputs]
    return folded


def names(given: Any, what: str) -> tuple[str, ...]:
    """Return distinct, non-empty names as plain str."""
    if isinstance(given, np.ndarray):
        given = _decoded(given, what).tolist()
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TableError(f"{what} must be a sequence of names, got {given!r}")
    listed = list(given)
    for name in listed:
        if not isinstance(name, str):
            raise TableError(f"{what} must be names (str), got {name!r} of type {type(name).__name__}")
        # NUL cannot be stored in a numpy string array, nor shown.
        if not name or "\0" in name:
            raise TableError(f"{what} must not be empty or contain NUL, got {name!r}")
    if len(set(listed)) != len(listed):
        twice = [f"{name!r} ({count} times)" for name, count in Counter(listed).items() if count > 1]
        raise TableError(f"{what} must be distinct; duplicated: {_list(twice, len(twice))}")
    return tuple(str(name) for name in listed)


def _decoded(array: NDArray[Any], what: str) -> NDArray[Any]:
    if array.dtype.kind != "S":
        return array
    try:
        return np.char.decode(array, "utf-8")
    except UnicodeDecodeError as error:
        raise TableError(f"{what} are bytes that are not UTF-8: {error}") from None


def count_names(domains: tuple[str, ...], n_domains: int, label: str) -> None:
    """Refuse a number of names other than the number of columns."""
    if len(domains) != n_domains:
        raise TableError(
            f"{len(domains)} domains are named ({some(domains)}), but {label} has {n_domains} columns; "
            "rows come first, domains second"
        )


def _vector(given: Any, name: str, n: int, kinds: str) -> NDArray[Any]:
    array = host_array(given, name)
    if array.shape != (n,):
        raise TableError(f"{name} has shape {array.shape}, expected ({n},): one entry for each of the {n} rows")
    if array.dtype.kind not in kinds:
        expected = "integers" if "f" not in kinds else "numbers"
        raise TableError(f"{name} must be {expected}, got {array.dtype}")
    return array


def _refuse_entries(array: NDArray[Any], wrong: NDArray[np.bool_], what: str) -> None:
    rows = np.flatnonzero(wrong)
    if rows.size:
        shown = [f"row {row} ({array[row]})" for row in rows[:_SHOWN].tolist()]
        raise TableError(f"{what} in {rows.size} of {array.size} rows: {_list(shown, rows.size)}")


def weights(given: Any, n: int) -> NDArray[np.float64]:
    """Return finite, non-negative weights with a positive sum."""
    array = np.ascontiguousarray(_vector(given, "weight", n, "iuf"), dtype=np.float64)
    if not (array.min() >= 0.0 and array.max() < math.inf):
        _refuse_entries(array, ~((array >= 0.0) & (array < math.inf)), "weight is negative or not finite")
    if not array.any():
        raise TableError("weight is 0 in every row: the loss would be 0 for every mixture")
    return array


def lengths(given: Any, n: int) -> NDArray[Any]:
    """Return finite, positive lengths, in the type given."""
    array = np.ascontiguousarray(_vector(given, "length", n, "iuf"))
    if not (array.min() > 0 and array.max() < math.inf):
        _refuse_entries(array, ~((array > 0) & (array < math.inf)), "length is not a positive number")
    return array


def byte_counts(given: Any, n: int) -> NDArray[Any]:
    """Return bytes of rows, integers of at least 0, in the type given."""
    array = np.ascontiguousarray(_vector(given, "bytes", n, "iu"))
    if array.min() < 0:
        _refuse_entries(array, array < 0, "bytes is negative")
    return array


def sequence_ids(given: Any, n: int) -> NDArray[Any]:
    """Return integer ids of sequences, in the type given."""
    return np.ascontiguousarray(_vector(given, "sequence", n, "iu"))


def groups(
    given: ArrayLike | None, group_names: Sequence[str] | Mapping[int, str] | None, n: int
) -> tuple[NDArray[np.int32] | None, tuple[str, ...]]:
    """Return the code of each row and the names of the codes; (None, ("all",)) without groups."""
    if given is None:
        if group_names is not None:
            raise TableError("group_names are given but group is not: give the group of each row too")
        return None, ("all",)
    array = _decoded(_vector(given, "group", n, "iubUSTO"), "group")
    if array.dtype.kind == "b":
        array = array.astype(np.int8)
    # Rows of a group usually stand together: names are looked up once for each run of equal entries.
    starts = np.concatenate(([0], np.flatnonzero(array[1:] != array[:-1]) + 1))
    values = array[starts].tolist()
    if all(isinstance(value, str) for value in values):
        found = tuple(dict.fromkeys(values))
        if isinstance(group_names, Mapping):
            raise TableError("group_names maps integer codes to names, but group already holds names")
        universe = names(found if group_names is None else group_names, "group_names")
        position: dict[Any, int] = {name: code for code, name in enumerate(universe)}
    elif all(isinstance(value, int) for value in values):
        if group_names is None:
            position = {value: code for code, value in enumerate(sorted(set(values)))}
            universe = tuple(f"group_{value}" for value in position)
        elif isinstance(group_names, Mapping):
            position = {value: code for code, value in enumerate(group_names)}
            universe = names(list(group_names.values()), "group_names")
        else:
            universe = names(group_names, "group_names")
            position = {code: code for code in range(len(universe))}
    else:
        raise TableError("group must be integer codes or names (str), one for each row, all of one type")
    unknown = [value for value in dict.fromkeys(values) if value not in position]
    if unknown:
        raise TableError(f"group holds {some(unknown)}, which group_names {list(universe)} do not cover")
    codes = np.array([position[value] for value in values], dtype=np.int32)
    unused = sorted(set(range(len(universe))) - set(codes.tolist()))
    if unused:
        raise TableError(f"group_names has {some([universe[code] for code in unused])}, but no row belongs to it")
    return np.repeat(codes, np.diff(starts, append=n)), universe


def row_weights(
    raw: NDArray[np.float64] | None, length: NDArray[Any] | None, offsets: NDArray[np.int64], n_outputs: int
) -> tuple[float | None, NDArray[np.float64] | None]:
    """Return c as one number where all rows share it, else as an array; (weight or 1/n_g), over the length if given."""
    if raw is None and length is None and offsets.size == 2:
        # The common case, kept free of numpy calls: small tables are built in a loop.
        return n_outputs / int(offsets[1]), None
    counts = np.diff(offsets)
    size: Any  # what 1 or the raw weight is divided by
    if raw is not None:
        size = 1.0
    elif (counts == counts[0]).all():
        size = float(counts[0]) / n_outputs
    else:
        size = np.repeat(counts / n_outputs, counts)
    if length is not None:
        first = length[0]
        size = size * (float(first) if (length == first).all() else length.astype(np.float64))
    with np.errstate(over="ignore", divide="ignore"):
        if raw is None:
            weight: Any = np.divide(1.0, size)
        else:
            weight = raw if isinstance(size, float) and size == 1.0 else raw / size
        total = weight.sum()
    if not 0.0 < total < math.inf:
        raise TableError(f"the row weights (weight over length) sum to {total}, expected a positive finite number")
    if weight.ndim == 0:
        return float(weight), None
    if (weight == weight[0]).all():
        return float(weight[0]), None
    return None, weight


def row_index(index: ArrayLike | slice, n: int) -> NDArray[np.intp] | slice:
    """Return positions of rows from a mask, positions or a slice."""
    if isinstance(index, slice):
        start, stop, step = index.indices(n)
        if not range(start, stop, step):
            raise TableError(f"{index} selects none of the {n} rows")
        # A step would give a view that is not C-contiguous.
        return slice(start, stop) if step == 1 else np.arange(start, stop, step)
    array = np.asarray(index)
    if array.dtype.kind == "b":
        if array.shape != (n,):
            raise TableError(f"the mask has shape {array.shape}, expected ({n},)")
        array = np.flatnonzero(array)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise TableError(
            f"rows are selected by a mask ({n},), integers (m,) or a slice, got {array.dtype} {array.shape}"
        )
    if not array.size:
        raise TableError(f"none of the {n} rows is selected")
    if array.min() < -n or array.max() >= n:
        raise TableError(f"row numbers go from {array.min()} to {array.max()}, but the table has {n} rows")
    return array.astype(np.intp)


def expand_outputs(chosen: NDArray[np.intp] | slice, n_outputs: int, n_rows: int) -> NDArray[np.intp]:
    """Return the rows of all outputs of the chosen observations."""
    positions = np.arange(n_rows // n_outputs)[chosen]
    return (positions[:, None] * n_outputs + np.arange(n_outputs)).ravel()


def split_mask(
    sequence: NDArray[Any] | None, offsets: NDArray[np.int64], share: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Return which rows go to the first part: a share of the sequences of each group, drawn whole."""
    n = int(offsets[-1])
    if sequence is None:
        first_row, unit = np.arange(n), np.arange(n)
    else:
        _, first_row, unit = np.unique(sequence, return_index=True, return_inverse=True)
    # A sequence is drawn with the group of its first row.
    stratum = np.searchsorted(offsets, first_row, side="right") - 1
    taken = np.zeros(first_row.size, dtype=bool)
    for code in range(offsets.size - 1):
        members = np.flatnonzero(stratum == code)
        count = min(max(round(share * members.size), 1), max(members.size - 1, 0))
        taken[rng.permutation(members)[:count]] = True
    mask: NDArray[np.bool_] = taken[unit]
    return mask


def is_mapped(array: Any) -> bool:
    """Say whether the memory of an array is a file's."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            return True
        base = base.base
    return False


def bytes_text(count: int) -> str:
    """Write a number of bytes for people."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def some(items: Sequence[Any], *, quote: bool = True) -> str:
    """Write the first few of some things, and how many there are."""
    return _list([repr(item) if quote else str(item) for item in items[:_SHOWN]], len(items))


def _list(shown: Sequence[str], count: int) -> str:
    more = f", ... ({count} in all)" if count > len(shown) else ""
    return ", ".join(shown) + more
