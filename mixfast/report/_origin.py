"""The section on provenance: hashes of the data, versions, the call and the date."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixfast._text.numbers import size
from mixfast.report import _html as html
from mixfast.tables import ExpertTable, ShardedTable

if TYPE_CHECKING:
    from mixfast.report._parts import Parts

Files = Iterable[str | PathLike[str]] | Mapping[str, str]

# The page shows this many digits of a hash, enough to distinguish the files of a project.
_DIGITS = 16
# Bytes: hashing a larger table in memory takes longer than solving it. A file given by name is hashed whatever its size.
_MOST_BYTES = 1 << 30
_PACKAGES = ("matplotlib", "scipy", "numba", "lightgbm", "scikit-learn")


def section(parts: Parts, files: Files, call: str, when: str) -> html.Section:
    """Return the section on provenance."""
    from mixfast._version import __version__

    rows = [_file(path, words) for path, words in _named(files)]
    rows += [[f"{name} (in memory)", shape, _of_arrays(arrays)] for name, shape, arrays in _arrays(parts)]
    if isinstance(parts.table, ShardedTable):
        rows.append(_of_folder(parts.table))
    data = html.table(["data", "shape or size", "sha256"], rows, words=[1, 2]) if rows else html.paragraph("No data.")
    versions = [["mixfast", __version__], ["numpy", np.__version__]]
    versions += [[name, found] for name in _PACKAGES if (found := _version(name))]
    versions += [["python", platform.python_version()], ["platform", platform.platform()]]
    source = None if parts.answer is None else parts.answer.source
    if source is not None and hasattr(source, "backend"):
        versions.append(["backend", source.backend])
    body = html.side_by_side(data, html.table(["software", "version"], versions, words=[1]))
    body += f"<p>Made on {html.text(when)} by</p>{html.verbatim(call)}"
    return html.Section("origin", "Where this comes from", body)


def _named(files: Files) -> list[tuple[Path, str]]:
    if isinstance(files, Mapping):
        return [(Path(path), words) for path, words in files.items()]
    if isinstance(files, (str, PathLike)):
        files = [files]
    return [(Path(fspath(path)), "") for path in files]


def _file(path: Path, words: str) -> list[str]:
    try:
        size, digest = _digest(path)
    except OSError as problem:
        return [str(path), words, f"no longer readable: {problem.strerror}"]
    return [str(path), f"{words}, {size:,} bytes" if words else f"{size:,} bytes", digest[:_DIGITS]]


def _digest(path: Path) -> tuple[int, str]:
    """Return the size and the hash of a file; for a folder, of the names and contents of all its files."""
    if not path.is_dir():
        with path.open("rb") as file:
            return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()
    total, whole = 0, hashlib.sha256()
    for one in sorted(each for each in path.rglob("*") if each.is_file()):
        size, digest = _digest(one)
        total += size
        whole.update(f"{one.relative_to(path).as_posix()} {digest}\n".encode())
    return total, whole.hexdigest()


def _arrays(parts: Parts) -> list[tuple[str, str, list[Any]]]:
    """Return name, shape and arrays of the data in the parts."""
    out: list[tuple[str, str, list[Any]]] = []
    table = parts.table
    if isinstance(table, ExpertTable):
        shape = f"{table.n_rows:,} rows x {table.n_domains:,} domains, {table.n_groups} groups, {table.dtype}"
        own = [table.values, table.row_weight, table.group_offsets] + ([table.target] if table.kind == "mse" else [])
        out.append(("table", shape, own if table.device == "cpu" else []))
    if parts.swarm is not None:
        runs, domains = parts.swarm.ratios.shape
        out.append(("ratios", f"{runs} runs x {domains} domains", [parts.swarm.ratios]))
        out.append(("metrics", f"{runs} runs x {len(parts.swarm.metrics)} metrics", [parts.swarm.values]))
    if parts.ledger is not None:
        text = np.frombuffer(parts.ledger.to_json().encode(), dtype=np.uint8)
        out.append(("ledger", f"{len(parts.ledger.entries)} updates", [text]))
    return out


def _of_folder(table: ShardedTable) -> list[str]:
    """Return the row of a folder of parts: the hash of its table.json, which has the hashes of the parts."""
    shape = f"{table.n_rows:,} rows x {table.n_domains:,} domains, {len(table.parts)} parts, {size(table.nbytes)}"
    manifest = table.path / "table.json"
    digest = "not hashed: the folder has no table.json"
    if manifest.is_file():
        digest = f"{_digest(manifest)[1][:_DIGITS]} (table.json, which has the hashes of the parts)"
    return [str(table.path), shape, digest]


def _of_arrays(arrays: list[Any]) -> str:
    if not arrays:
        return "not hashed: the table is on a GPU"
    if sum(int(array.nbytes) for array in arrays) > _MOST_BYTES:
        return "not hashed: larger than 1 GiB; pass its path in files"
    whole = hashlib.sha256()
    for array in arrays:
        whole.update(np.ascontiguousarray(array).data)
    return whole.hexdigest()[:_DIGITS]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
