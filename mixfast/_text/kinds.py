"""Find the kind of a file from its first bytes, not its name, and say what to do with it if another kind is expected."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path

from mixfast._text.json import read_json
from mixfast._text.names import shown
from mixfast._text.visible import quote
from mixfast._text.yaml import read_yaml

# Number of bytes read to recognise the kind of a file.
_START = 65536
# A message shows at most this many characters of a file's first line.
_LINE_SHOWN = 60
# The format key of mixfast's documents, and the first line of its exports in formats with comments.
_FORMAT = re.compile(rb"(?m)^[\s{]*\"?format\"?:\s*\"?mixfast-(mixture|reuse|schedule)-")
_EXPORTED = re.compile(rb"# mixture for \S+, written by mixfast")
_NAMED = {"reuse": "ledger"}
# Documents larger than this are not parsed to see whether they hold shares.
_MOST_SHARES = 1 << 24
# Published shares are rounded: their sum must be 1 within a hundredth.
_SUM_WITHIN = 1e-2

_MAGIC = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow"),
    (b"\x93NUMPY", "npy"),
    (b"\x89HDF", "hdf5"),
    (b"GGUF", "gguf"),
    (b"SQLite format 3\x00", "sqlite"),
    (b"%PDF", "pdf"),
    (b"\x80", "pickle"),
    (b"\xd0\xcf\x11\xe0", "xls"),
)

WORDS = {
    "arrow": "an Arrow file",
    "binary": "a binary file",
    "bzip2": "a bzip2 file",
    "csv": "a csv file",
    "empty": "an empty file",
    "fit": "a file of fitted laws",
    "folder": "a folder",
    "gguf": "a GGUF model",
    "gzip": "a gzip file",
    "hdf5": "an HDF5 file",
    "html": "an HTML page",
    "json": "a JSON file",
    "jsonl": "a file of JSON lines",
    "npy": "an npy file",
    "npz": "an npz file",
    "parquet": "a parquet file",
    "pdf": "a PDF file",
    "pickle": "a pickle",
    "safetensors": "a safetensors file",
    "sqlite": "an SQLite file",
    "tar": "a tar archive",
    "text": "a text file",
    "torch": "a checkpoint of PyTorch",
    "tsv": "a file of tab-separated columns",
    "xls": "a spreadsheet (xls)",
    "xlsx": "a spreadsheet (xlsx)",
    "xz": "an xz file",
    "yaml": "a YAML file",
    "zip": "a zip archive",
    "zstd": "a zstd file",
    # Kinds that only `content_of` returns.
    "export": "a mixture that mixfast exported",
    "ledger": "a ledger",
    "mixture": "a mixture file",
    "schedule": "a schedule",
    "shares": "a mixture file",
    "table": "a table of experts",
}
"""Name of each kind in a message."""


def kind_of(path: str | os.PathLike[str]) -> str:
    """Return the kind of a file, a key of `WORDS`, from its first bytes; its name is ignored.

    Text is classified by its form: JSON and JSON lines, csv and tsv, YAML, HTML, other text.
    """
    path = Path(path)
    if path.is_dir():
        return "folder"
    with path.open("rb") as handle:
        start = handle.read(_START)
    if not start:
        return "empty"
    # The second pattern is an archive without members.
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _zip(path)
    for magic, kind in _MAGIC:
        if start.startswith(magic):
            return kind
    if start[257:262] == b"ustar":
        return "tar"
    if start[8:9] == b"{" and 2 <= int.from_bytes(start[:8], "little") < 1 << 32:
        return "safetensors"
    return _text(start)


def content_of(path: str | os.PathLike[str]) -> str:
    """Return the kind of a file like `kind_of`, with more detail for files that mixfast writes and reads.

    These are its own ``mixfast`` documents ``mixture``, ``ledger`` and ``schedule``, an ``export`` with comments, a ``table`` in an npz, and ``shares``: a
    YAML or JSON mapping from names to numbers that sum to 1.
    """
    path, kind = Path(path), kind_of(path)
    if kind == "npz":
        return "table" if {"loglik.npy", "prediction.npy"} & set(_members(path)) else kind
    if kind not in ("csv", "json", "jsonl", "text", "yaml"):
        return kind
    with path.open("rb") as handle:
        start = handle.read(_START)
    if found := _FORMAT.search(start):
        name = found[1].decode()
        return _NAMED.get(name, name)
    if _EXPORTED.match(start):
        return "export"
    return "shares" if kind in ("json", "yaml") and _holds_shares(path, kind) else kind


def kind_of_text(text: str) -> str:
    """Return the kind that `kind_of` would give for a file with this text."""
    return _text(text[:_START].encode("utf-8")[:_START])


def _holds_shares(path: Path, kind: str) -> bool:
    if path.stat().st_size > _MOST_SHARES:
        return False
    read = read_json if kind == "json" else read_yaml
    try:
        found = read(path.read_text(encoding="utf-8-sig"), ValueError)
        found = found.get("mixture", found)
        return bool(found) and abs(math.fsum(map(float, found.values())) - 1.0) < _SUM_WITHIN
    except (AttributeError, OverflowError, RecursionError, TypeError, ValueError):
        return False


def described(path: str | os.PathLike[str]) -> str:
    """Describe a file for a message: ``a csv file ('run,web,code')``; for text, with its first line."""
    kind = kind_of(path)
    if kind not in ("csv", "text", "tsv"):
        return WORDS[kind]
    with Path(path).open("rb") as handle:
        first = handle.read(_START).decode("utf-8-sig", "replace").lstrip().split("\n", 1)[0].strip()
    return f"{WORDS[kind]} ({shown(first[:_LINE_SHOWN])}{'...' * (len(first) > _LINE_SHOWN)})"


def other_kind(path: str | os.PathLike[str], expected: str) -> str:
    """Write the refusal of a file of another kind than expected: its kind, the expected kind, and advice.

    Parameters
    ----------
    path : path
    expected : str
        The expected kind, such as ``a table of experts (npz, npy, a folder of parts, or a folder of the MixMin code)``. If it contains the word
        ``csv``, the advice is how to convert the file to csv.
    """
    advice = _advice(Path(path), kind_of(path), to_csv="csv" in expected)
    return f"{path} is {described(path)}, expected {expected}" + (f"; {advice}" if advice else "")


def _advice(path: Path, kind: str, *, to_csv: bool) -> str:
    """Say what to do with a file of a kind that is not read here."""
    file = quote(str(path))
    if kind in ("gzip", "zstd", "bzip2", "xz"):
        command = {"gzip": "gunzip --keep", "zstd": "unzstd", "bzip2": "bunzip2 --keep", "xz": "unxz --keep"}[kind]
        return f"decompress it: {command} {file}"
    if kind == "zip" and to_csv:
        return f"unpack it: unzip {file}"
    if kind in ("xlsx", "xls"):
        written = path.with_suffix(".csv") if path.suffix != ".csv" else path.with_name(f"{path.stem}-sheet.csv")
        code = (
            f"import pandas; pandas.read_excel({json.dumps(str(path))}).to_csv({json.dumps(str(written))}, index=False)"
        )
        return (
            f"save its sheet as csv in the spreadsheet program, or with pandas and {'openpyxl' if kind == 'xlsx' else 'xlrd'}: "
            f"python -c {quote(code)}"
        )
    if kind in ("parquet", "arrow"):
        words = "if its columns are the log-likelihoods of one expert each, write it as npz"
        if kind == "parquet" and not to_csv:
            return f"{words}: mixfast table pack {file} --out {quote(str(path.with_suffix('.npz')))}"
        read = "read_parquet" if kind == "parquet" else "read_feather"
        source = f"pandas.{read}({json.dumps(str(path))})"
        made = json.dumps(str(path.with_suffix(".csv" if to_csv else ".npz")))
        if to_csv:
            return f"write it as csv: python -c {quote(f'import pandas; {source}.to_csv({made}, index=False)')}"
        saved = f"numpy.savez({made}, loglik=t.to_numpy(), domains=list(t.columns))"
        return f"{words}: python -c {quote(f'import numpy, pandas; t = {source}; {saved}')}"
    if kind == "tsv" and to_csv:
        return "save it with commas between the columns"
    if to_csv and kind == "folder":
        return f"results of evaluations in a folder become a csv file by: mixfast collect {file} --out metrics.csv"
    if to_csv and (kind in ("json", "jsonl") or "tfevents" in path.name):
        return _COLLECT
    return "" if to_csv and kind == "csv" else _USES.get(kind, "")


_COLLECT = "results of evaluations and trackers become a csv file by: mixfast collect RUNS --out metrics.csv, with the files or folders of all runs"
_USES = {
    "csv": "csv files hold proxy runs: mixfast fit RATIOS.csv METRICS.csv, and mixfast propose for a mixture",
    "fit": "fitted laws are read by: mixfast propose LAW",
    "json": f"mixfast export and mixfast reuse start take mixtures; {_COLLECT}",
    "jsonl": "texts are scored by: mixfast score --experts DIR DIR --texts FILE --out table.npz",
    "npz": "tables of experts are read by: mixfast info TABLE and mixfast solve TABLE",
    "npy": "tables of experts are read by: mixfast info TABLE and mixfast solve TABLE",
    "pickle": "a pickle could run any code and is never loaded; save numbers as npz, or runs as csv",
    "torch": "it is a pickle inside, which is never loaded; models are scored by: mixfast score --experts DIR DIR",
    "safetensors": "the folder of a model, with its config.json, is scored by: mixfast score --experts DIR DIR",
    "yaml": "mixfast export and mixfast reuse start take mixtures",
}


def _zip(path: Path) -> str:
    """Return what a zip archive holds, judged by the names of its members."""
    names = _members(path)
    if "[Content_Types].xml" in names:
        return "xlsx"
    if any(name.endswith("data.pkl") for name in names):
        return "torch"
    if "head.npy" in names:
        return "fit"
    return "npz" if names and all(name.endswith(".npy") for name in names) else "zip"


def _members(path: Path) -> list[str]:
    """Return the names in a zip archive; none if it is damaged."""
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except Exception:  # a damaged archive can raise almost any exception of zipfile and struct
        return []


def _text(start: bytes) -> str:
    """Return the kind of a text from its form; ``binary`` if it is not text."""
    whole = len(start) < _START
    # The last character may be incomplete.
    text = start.decode("utf-8-sig", "strict" if whole else "ignore") if _is_text(start, whole) else None
    if text is None:
        return "binary"
    bare = text.strip()
    if not bare:
        return "empty"
    if bare[0] in "{[":
        return _json(bare, whole)
    if bare[:9].lower().startswith(("<!doctype", "<html")):
        return "html"
    plain = [line for line in bare.split("\n") if line.strip() and not line.lstrip().startswith("#")]
    if plain and re.match(r"- \S|[^\s:,;][^:,;\t]*:(\s|$)", plain[0].strip()):
        return "yaml"
    lines = [line for line in bare.split("\n")[:5] if line.strip()]
    for mark, kind in (("\t", "tsv"), (",", "csv"), (";", "csv")):
        found = {line.count(mark) for line in lines}
        if min(found) > 0 and (len(lines) > 1 or mark != ";") and not lines[0].startswith("#"):
            return kind
    return "text"


def _is_text(start: bytes, whole: bool) -> bool:
    if b"\x00" in start:
        return False
    try:
        start.decode("utf-8")
    except UnicodeDecodeError as problem:
        return not whole and problem.start > len(start) - 4
    return True


def _json(text: str, whole: bool) -> str:
    first, _, rest = text.partition("\n")
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        if text[0] == "{" and '"mixfast_fit"' in text[:200]:
            return "fit"
        # A YAML flow mapping begins like JSON. A truncated file counts as JSON by its first character.
        if whole and not re.match(r"[{\[]\s*([\"\[{\]}\d-]|true|false|null)", text):
            return "yaml"
        return "json"
    return "jsonl" if rest.strip() else "json"
