"""npz: a zip archive with an npy array for each key, as `numpy.savez` writes it.

A table of log-likelihoods has the key ``loglik`` (n, K), and optionally ``length``, ``bytes`` (n,) and ``condition`` (n, K). A table of
predictions has ``prediction`` (n, K) or (n, K, D) and ``target``, and optionally the integer ``n_outputs``. A table of probabilities has
``proba`` (n, C, K) or (n, K) and ``label`` (n,), and optionally ``classes`` (C,). All may have ``weight``,
``group``, ``sequence`` (n,), ``group_names`` (G,), and ``domains`` or ``experts`` (K,). Their meaning is that of the arguments of
`ExpertTable.from_loglik`, `from_predictions` and `from_probabilities`. Other keys are left out with a warning.

`write` stores arrays uncompressed and aligned to 64 bytes, and `read` maps stored arrays of 64 MiB and more, so that a table may exceed
the memory. The checksum of a mapped array is not verified. The same table gives the same bytes.
"""

from __future__ import annotations

import struct
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mixfast._text.arrays import Archive, open_npz
from mixfast._text.atomic import replacing
from mixfast._text.names import listing, named
from mixfast.errors import MixfastWarning, TableError
from mixfast.tables.formats._npy import map_array

# Smaller arrays are read: this checks the checksum of the archive and leaves no file open.
_MAP_ABOVE = 1 << 26
_ALIGNMENT = 64
# The zip extra field under which archives keep alignment padding (the number is Android zipalign's).
_PADDING_FIELD = 0xD935
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")

_OPTIONAL = ("weight", "group", "group_names", "sequence")
_KEYS = {
    "loglik": ("length", "bytes", "condition", "temperature", "clipped", *_OPTIONAL),
    "prediction": ("target", "n_outputs", *_OPTIONAL),
    "proba": ("label", "classes", "clip", *_OPTIONAL),
}


def read(path: Path) -> dict[str, Any]:
    """Return the arrays of an archive, as the constructors of ExpertTable take them."""
    with open_npz(path, TableError) as archive:
        kinds = [key for key in _KEYS if key in archive.keys]
        if len(kinds) != 1:
            raise TableError(
                f"{path} must hold either loglik or prediction (with target) or proba (with label), and holds {listing(sorted(archive.keys))}"
            )
        if kinds == ["prediction"] and "target" not in archive.keys:
            raise TableError(f"{path} holds prediction but no target; its keys are {listing(sorted(archive.keys))}")
        naming = next((key for key in ("domains", "experts") if key in archive.keys), None)
        wanted = [kinds[0], *_KEYS[kinds[0]], *([naming] if naming else [])]
        if unused := sorted(set(archive.keys) - set(wanted)):
            warnings.warn(f"{path}: keys not used: {listing(unused)}", MixfastWarning, stacklevel=4)
        arrays = {key: _mapped(path, archive, key) for key in wanted if key in archive.keys}
    if naming:
        arrays["domains"] = arrays.pop(naming)
    if "n_outputs" in arrays:
        outputs = arrays.pop("n_outputs")
        if outputs.ndim or outputs.dtype.kind not in "iu":
            raise TableError(f"{path}: n_outputs must be one integer, got {outputs.dtype} {outputs.shape}")
        if outputs != 1:
            _fold_outputs(path, arrays, int(outputs))
    return arrays


def _fold_outputs(path: Path, arrays: dict[str, Any], n_outputs: int) -> None:
    """Undo the expansion of D outputs into rows, which `ExpertTable.save` writes."""
    rows = arrays["prediction"].shape[0] if arrays["prediction"].ndim == 2 else -1
    for key in ("prediction", "target", "weight", "group", "sequence"):
        if key not in arrays:
            continue
        array = arrays[key]
        if n_outputs < 1 or rows < 0 or array.shape[:1] != (rows,) or rows % n_outputs:
            raise TableError(
                f"{path}: {key} has shape {array.shape}, which does not hold {n_outputs} outputs for each row"
            )
        if key == "prediction":
            arrays[key] = array.reshape(-1, n_outputs, array.shape[1]).transpose(0, 2, 1)
        else:
            arrays[key] = array.reshape(-1, n_outputs) if key == "target" else array[::n_outputs]


def _mapped(path: Path, archive: Archive, key: str) -> NDArray[Any]:
    """Return the array of a key: mapped into memory if it is large and stored uncompressed, else read."""
    header = archive.header(key)
    if header.nbytes >= _MAP_ABOVE and (start := archive.stored_at(key)) is not None:
        if start + header.nbytes > path.stat().st_size:
            raise TableError(f"{path}, key {named(key)} is truncated: its values continue beyond the end of the file")
        mapped = map_array(path, start, header)
        # A misaligned map would have to be copied later: reading is cheaper.
        if mapped.flags.aligned:
            return mapped
    return archive.read(key)


def write(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write arrays so that `read` can map them."""
    # The arrays may be mapped from the file that is replaced, so it must not be written in place.
    with replacing(path) as handle, zipfile.ZipFile(handle, "w", zipfile.ZIP_STORED) as archive:
        for key, array in arrays.items():
            _write_member(archive, handle, f"{key}.npy", array)


def _write_member(archive: zipfile.ZipFile, handle: IO[bytes], name: str, array: NDArray[Any]) -> None:
    with archive.open(member_info(handle, name), "w", force_zip64=True) as member:
        np.lib.format.write_array(member, array, allow_pickle=False)


def member_info(handle: IO[bytes], name: str) -> zipfile.ZipInfo:
    """Return the entry of the next member of an archive: its values will be aligned, and the same table gives the same bytes."""
    # A fixed date, for the same reason.
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    # The header is followed by the name, our 4 bytes and padding, and the 20 bytes of the zip64 sizes.
    header = _LOCAL_HEADER.size + len(name) + 4 + 20
    padding = -(handle.tell() + header) % _ALIGNMENT
    info.extra = struct.pack("<HH", _PADDING_FIELD, padding) + bytes(padding)
    return info
