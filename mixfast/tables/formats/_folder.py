"""A folder of parts as a table: the names of its files, which folders it may replace, and how parts are written.

Each part is a table of its own, as npz, npy or parquet. A part of a table with groups names the groups of its own rows.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mixfast._text.names import listing
from mixfast._text.outputs import names_a_file
from mixfast.tables.formats import _npz
from mixfast.tables.formats._manifest import FILE, PartEntry

# Names of parts.
PART = re.compile(r"part-.*\.(npz|npy|parquet)", re.DOTALL)


def part_name(index: int, suffix: str = ".npz") -> str:
    """Return the name of a part, such as ``part-00012.npz``."""
    return f"part-{index:05d}{suffix}"


def write_part(path: Path, arrays: Mapping[str, NDArray[Any]]) -> PartEntry:
    """Write the arrays of a part atomically as npz, and return its entry in table.json."""
    _npz.write(path, dict(arrays))
    return PartEntry.of(path, arrays["loglik"].shape[0])


def check_folder_output(path: str | os.PathLike[str], error: type[Exception], *, where: str = "") -> None:
    """Refuse a place for a folder of parts that holds anything but such a folder, or where none can be made.

    ``where`` is the name of the path in messages.
    """
    path, where = Path(path), where or os.fspath(path)
    if names_a_file(path):
        raise error(
            f"{where}: a table is written as a folder, whose name has no such ending, or as a single file, which ends in .npz; name it "
            f"{path.stem} or {path.stem}.npz"
        )
    parent = Path(os.path.realpath(path)).parent
    if not parent.is_dir():
        raise error(f"{where}: there is no folder {parent}")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise error(f"{where}: the folder {parent} does not allow writing")
    if not path.is_dir():
        if os.path.lexists(path):
            raise error(
                f"{where} is a file, but a table of parts is a folder: choose another name, end it in .npz for a single file, or "
                "delete the file"
            )
        return
    if path.is_mount():
        raise error(f"{where} is the root of a file system, which cannot be replaced: name a folder in it")
    others = sorted(
        each.name for each in path.iterdir() if not (each.name == FILE or PART.fullmatch(each.name)) or each.is_dir()
    )
    if others:
        raise error(
            f"{where} is a folder with other files than those of a table ({listing(others)}), which would be lost: choose another "
            "name, or move them"
        )
    if any(path.iterdir()) and not (path / FILE).is_file():
        # Other programs write parts with such names, too.
        raise error(
            f"{where} is a folder of parts without {FILE}, so it may not be a table: choose another name, or move the parts"
        )
