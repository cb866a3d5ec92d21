"""Check the values of a table: which arrays are accepted, and which rows are refused.

Read `checked_loglik` and `checked_predictions` first: each calls the rest in turn.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast._engine.backend import device as _device
from mixfast._engine.backend import rows as _rows
from mixfast._engine.backend import thread_count
from mixfast._text.audience import either
from mixfast._text.numbers import LARGEST
from mixfast.errors import BackendError, MixfastWarning, TableError
from mixfast.tables._mapped import MappedFile
from mixfast.tables._names import SHOWN, counted, domain_names

# A log-likelihood above this is more than a rounding error of log 1: it is a density or a mistake, so a warning is given.
_LOG_ONE_SLACK = 1e-3
# Bytes read at a time to find the rows to refuse: large against the cost of a numpy call, small against the table.
_BLOCK_BYTES = 1 << 22
# A scan of so few values runs on one thread, and asking how many there are takes a sixth of the time to build a small table.
_ONE_THREAD = 1 << 18
# DLPack device codes of memory the CPU can read: CPU and CUDA pinned host memory.
_CPU_DEVICES = (1, 3)

# Smallest value, largest value, smallest of the rows' largest values.
Extremes = tuple[float, float, float]
UNKNOWN: Extremes = (-math.inf, math.inf, -math.inf)


class Checked(NamedTuple):
    """The values of a table (n, K) with the names of their columns; for predictions also targets and number of outputs."""

    values: Any
    domains: tuple[str, ...]
    extremes: Extremes = UNKNOWN
    target: NDArray[np.float64] | None = None
    n_outputs: int = 1
    file: MappedFile | None = None


def checked_loglik(loglik: Any, condition: Any, domains: Any) -> Checked:
    """Check the values of `ExpertTable.from_loglik`; warnings point at its caller."""
    values, label = _floating_matrix(loglik, "loglik"), "loglik"
    names = domain_names(domains, values.shape[1], label)
    if condition is not None:
        label = "loglik - condition"
        values = _conditional(values, _floating_matrix(condition, "condition"), names)
    file = MappedFile.of(values)
    extremes, refused = _scan(values)
    if refused is not None:
        if refused.n_bad:
            _refuse_bad_rows(values, refused, names, label)
        _refuse_dead_rows(values, refused, label)
    _refuse_absurd_rows(values, extremes, label)
    check_above_one(extremes, label, stacklevel=4)
    _warn_if_wide(values, label)
    return Checked(values, names, extremes, file=file)


def check_above_one(extremes: Extremes, label: str, *, stacklevel: int) -> None:
    """Refuse values that are all from 0 to 1, which are probabilities; warn if the largest log-likelihood is that of a density, or a mistake."""
    smallest, largest, _ = extremes
    if largest > _LOG_ONE_SLACK:
        if smallest >= 0.0 and largest <= 1.0:
            advice = either(
                "use ExpertTable.from_probabilities(values, None) or the key proba of an npz file",
                "store them as proba, with the labels as label, or as proba alone if they are those of the true classes",
            )
            raise TableError(
                f"{label} has values from {smallest:.6g} to {largest:.6g}, which look like probabilities, and the log of a probability is at most 0: "
                f"{advice}, or take the logarithm. If they are log densities, subtract 1 from all of them: a constant changes no mixture"
            )
        warnings.warn(
            f"{label} goes up to {largest:.6g}, but the log of a probability is at most 0: fine for "
            "log densities; otherwise check that the values are natural log-probabilities",
            MixfastWarning,
            stacklevel=stacklevel,
        )


def checked_block(
    values: NDArray[Any],
    columns: NDArray[np.int32] | None,
    domains: tuple[str, ...],
    error: Callable[[int, str], TableError],
) -> Extremes:
    """Return the extremes of some rows of a larger table in these columns (None: all); raise `error(row, text)` for a row to refuse."""
    extremes, bad = _extremes(values, columns)
    if not bad and extremes[1] <= LARGEST and extremes[2] >= -LARGEST:
        return extremes
    used = values if columns is None else values[:, columns]
    refused = find_refused(used)
    if refused.n_bad:
        row = int(refused.bad[0])
        k = int(np.flatnonzero(~(used[row] < math.inf))[0])
        name = domains[k if columns is None else int(columns[k])]
        raise error(
            row,
            f"{name} is {used[row, k]}, expected a log-likelihood (a number below infinity): drop the row or score it again",
        )
    if refused.n_dead:
        raise error(int(refused.dead[0]), "-inf for every domain: no mixture gives the row any probability, so drop it")
    top = used.max(axis=1)
    row = int(np.flatnonzero(np.abs(top) > LARGEST)[0])
    raise error(
        row,
        f"{top[row]:g} at most, beyond {LARGEST:g} in size, which no log-likelihood is: drop the row or score it again",
    )


def checked_logs(probability: NDArray[np.float64], domains: tuple[str, ...] | None) -> Checked:
    """Return the logarithms of probabilities (n, K) that are checked already: from 0 to 1, one above 0 in each row."""
    with np.errstate(divide="ignore"):
        values = np.log(probability, order="C")
    return Checked(values, domain_names(domains, values.shape[1], "proba"), _extremes(values, None)[0])


def checked_predictions(prediction: Any, target: ArrayLike, domains: Any, *, may_be_wide: bool = False) -> Checked:
    """Check the values of `ExpertTable.from_predictions`; warnings point at its caller."""
    values, observed, n_outputs = _predictions(prediction, target)
    names = domain_names(domains, values.shape[1], "prediction")
    file = MappedFile.of(values)
    _refuse_not_finite(values, n_outputs, names)
    if not may_be_wide:
        _warn_if_wide(values, "prediction")
    return Checked(values, names, target=observed, n_outputs=n_outputs, file=file)


def selected(values: Any, columns: list[int], kind: str) -> tuple[Any, Extremes]:
    """Return some of the columns and their extremes; refuse log-likelihoods with a row that is -inf in all of them."""
    # `take` copies in C order whatever the index; plain indexing of columns would not.
    values = _device.take(values, columns, 1)
    if kind == "mse":
        return values, UNKNOWN
    extremes, refused = _scan(values)
    if refused is not None:
        _refuse_dead_rows(values, refused, "loglik of the selected domains")
    _refuse_absurd_rows(values, extremes, "loglik of the selected domains")
    return values, extremes


def _warn_if_wide(values: Any, label: str) -> None:
    n, n_domains = values.shape
    if n_domains > n:
        warnings.warn(
            f"{label} has {n} rows and {n_domains} domains (rows first, domains second): transpose it if the "
            "axes are swapped",
            MixfastWarning,
            stacklevel=4,
        )


class Refused(NamedTuple):
    """Rows that make a table invalid: how many, and the numbers of the first few."""

    n_bad: int
    bad: NDArray[np.int64]  # with NaN or +inf
    n_dead: int
    dead: NDArray[np.int64]  # -inf for every domain


def _scan(values: Any) -> tuple[Extremes, Refused | None]:
    """Return the extremes of log-likelihoods (n, K), or the rows to refuse, which need a second sweep."""
    if _device.is_tensor(values):
        extremes, found = _device.scan(values)
        refused = Refused(*found)
        return (UNKNOWN, refused) if refused.n_bad or refused.n_dead else (extremes, None)
    extremes, bad = _extremes(values, None)
    return (UNKNOWN, find_refused(values)) if bad else (extremes, None)


def _extremes(values: NDArray[Any], columns: NDArray[np.int32] | None) -> tuple[Extremes, bool]:
    """Return the extremes of log-likelihoods in these columns (None: all), and whether a row has to be refused."""
    rows = _rows.Rows(values, None, 1.0, False, values.dtype == np.float64, columns)
    largest, smallest, lowest_top, has_nan = _rows.scan(rows, 1 if values.size <= _ONE_THREAD else thread_count(None))
    # The sweep turns half-precision infinities into +-2^16, and NaN of either sign into values beyond.
    limit = 65536.0 if values.dtype == np.float16 else math.inf
    bad = has_nan or largest >= limit or smallest < -limit or lowest_top <= -limit
    return (smallest, largest, lowest_top), bad


def find_refused(values: NDArray[Any]) -> Refused:
    """Return the rows of log-likelihoods (n, K) that make a table invalid."""
    step = max(1, _BLOCK_BYTES // (values.shape[1] * values.itemsize))
    counts, shown = [0, 0], ([], [])  # type: list[int], tuple[list[int], list[int]]
    for start in range(0, values.shape[0], step):
        # A signalling NaN sets the invalid flag; it is reported as a bad row, not as a warning of numpy.
        with np.errstate(invalid="ignore"):
            row_max = values[start : start + step].max(axis=1)
        # NaN propagates through a maximum, and fails this comparison.
        for kind, wrong in enumerate((~(row_max < math.inf), row_max == -math.inf)):
            rows = np.flatnonzero(wrong) + start
            counts[kind] += rows.size
            shown[kind].extend(rows[: SHOWN - len(shown[kind])].tolist())
    bad, dead = (np.array(rows, dtype=np.int64) for rows in shown)
    return Refused(counts[0], bad, counts[1], dead)


def refused_rows(values: NDArray[Any], kind: str, n_outputs: int, domains: tuple[str, ...]) -> str:
    """Return which rows make a table invalid, as its constructors would say it; empty if there are none."""
    try:
        if kind == "mse":
            _refuse_not_finite(values, n_outputs, domains)
        elif (refused := find_refused(values)).n_bad:
            _refuse_bad_rows(values, refused, domains, "loglik")
    except TableError as error:
        return str(error)
    return ""


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Return a read-only view; the array itself is unchanged."""
    view = array.view()
    view.setflags(write=False)
    return view


def host_array(given: Any, name: str) -> NDArray[Any]:
    """Return the given values as a plain numpy array, without a copy if the memory can be shared."""
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
            # torch refuses to export a tensor that requires gradients, which are not needed here.
            if getattr(given, "requires_grad", False):
                given = given.detach()
            # It also drops the sign of a view of negated numbers, such as the imaginary part of a conjugate.
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
    """Return the DLPack code of the device that holds an array."""
    try:
        return int(given.__dlpack_device__()[0])
    except (BufferError, RuntimeError, ValueError) as error:
        raise BackendError(
            f"{name} is a {type(given).__name__} in memory that cannot be read ({error}); copy it to the CPU first"
        ) from None


def _floating(given: Any, name: str) -> NDArray[Any]:
    """Return the array in native float16, float32 or float64, C-contiguous and aligned."""
    array = host_array(given, name)
    dtype = array.dtype
    if dtype.kind != "f" or dtype.itemsize not in (2, 4, 8):
        if dtype.kind in "iub":
            why = "log-likelihoods are not whole numbers; if they are here, convert with .astype(float)"
        elif dtype.kind == "f":
            why = "convert with .astype(np.float64)"
        else:
            why = "convert it to one of these first"
        raise TableError(f"{name} must be float16, float32 or float64, got {dtype}: {why}")
    if not dtype.isnative:
        array = array.astype(dtype.newbyteorder("="))
    flags = array.flags
    if not (flags.c_contiguous and flags.aligned):
        array = np.array(array, order="C")
    return array


def _floating_matrix(given: Any, name: str) -> Any:
    """Return a checked (n, K) floating array with at least one row and one domain; a tensor if it is on a CUDA device."""
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


def _conditional(loglik: Any, condition: Any, domains: tuple[str, ...]) -> Any:
    """Return loglik - condition, after checking the log-probabilities of the prompts."""
    if condition.shape != loglik.shape:
        raise TableError(
            f"condition has shape {tuple(condition.shape)}, loglik {tuple(loglik.shape)}: they must be equal"
        )
    if _device.is_tensor(loglik) != _device.is_tensor(condition):
        raise TableError("loglik and condition must be on the same device: one is on the CPU and the other is not")
    # A prompt may be impossible for every expert.
    refused = _scan(condition)[1]
    if refused is not None and refused.n_bad:
        _refuse_bad_rows(condition, refused, domains, "condition")
    # -inf - -inf is NaN (the prompt is impossible, so the answer is undefined): it is refused with its row.
    with np.errstate(invalid="ignore", over="ignore"):
        return loglik - condition


def _refuse_absurd_rows(values: Any, extremes: Extremes, name: str) -> None:
    """Refuse rows with a largest value that no log-likelihood can have, and name the first; smaller values may be -inf."""
    if extremes[1] <= LARGEST and extremes[2] >= -LARGEST:
        return
    count, first = 0, ""
    step = max(1, _BLOCK_BYTES // (values.shape[1] * values.itemsize))
    for start in range(0, values.shape[0], step):
        top = _device.host(values[start : start + step]).max(axis=1)
        rows = np.flatnonzero(np.abs(top) > LARGEST)
        if rows.size and not count:
            first = f"row {rows[0] + start} has {top[rows[0]]:g} at most"
        count += rows.size
    raise TableError(
        f"{name} is beyond {LARGEST:g} in size for every domain in {count} of {values.shape[0]} rows ({first}), which no log-likelihood is; "
        "drop those rows or score them again"
    )


def _refuse_bad_rows(values: Any, refused: Refused, domains: tuple[str, ...], name: str) -> NoReturn:
    """Name the rows with NaN or +inf, and the domain and value of each."""
    shown = []
    for row in refused.bad.tolist():
        here = _device.host(values[row])
        k = int(np.flatnonzero(~(here < math.inf))[0])
        shown.append(f"row {row} ({domains[k]} = {here[k]})")
    hint = " (-inf in condition makes the answer undefined)" if "condition" in name else ""
    raise TableError(
        f"{name} has NaN or +inf in {refused.n_bad} of {values.shape[0]} rows: {counted(shown, refused.n_bad)}{hint}; "
        "drop those rows or score them again"
    )


def _refuse_dead_rows(values: Any, refused: Refused, name: str) -> NoReturn:
    """Name the rows to which no expert gives any probability: the loss of every mixture would be infinite."""
    shown = [f"row {row}" for row in refused.dead.tolist()]
    raise TableError(
        f"{name} is -inf for every domain in {refused.n_dead} of {values.shape[0]} rows: {counted(shown, refused.n_dead)}; "
        "no mixture gives them any probability, so drop those rows"
    )


def _predictions(prediction: Any, target: ArrayLike) -> tuple[NDArray[Any], NDArray[np.float64], int]:
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
        shown = [f"row {i // n_outputs} ({observed[i]})" for i in wrong[:SHOWN].tolist()]
        raise TableError(f"target is not finite in {wrong.size} entries: {counted(shown, wrong.size)}; drop those rows")
    return values, observed, n_outputs


def _refuse_not_finite(values: NDArray[Any], n_outputs: int, domains: tuple[str, ...]) -> None:
    """Refuse predictions with NaN or an infinity, naming rows (observations), domains and values."""
    step = max(1, _BLOCK_BYTES // (values.shape[1] * values.itemsize))
    shown: list[str] = []
    count = 0
    for start in range(0, values.shape[0], step):
        block = values[start : start + step]
        # NaN propagates through both: they are finite exactly if every value is.
        if math.isfinite(block.max()) and math.isfinite(block.min()):
            continue
        wrong = ~np.isfinite(block)
        rows = np.flatnonzero(wrong.any(axis=1))
        count += rows.size
        for row in rows[: SHOWN - len(shown)].tolist():
            k = int(np.argmax(wrong[row]))
            shown.append(f"row {(start + row) // n_outputs} ({domains[k]} = {block[row, k]})")
    if count:
        raise TableError(f"prediction is not finite in {count} rows: {counted(shown, count)}; drop those rows")


def is_mapped(array: Any) -> bool:
    """Return whether an array is mapped from a file."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            return True
        base = base.base
    return False
