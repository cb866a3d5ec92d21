"""Allowed names of an output file, and which existing files it may replace: its own kind, empty files, plain text."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from mixfast._text.atomic import is_stream
from mixfast._text.audience import either
from mixfast._text.kinds import WORDS, content_of, kind_of_text

_YAML = (".yaml", ".yml")
# Endings that show the content. Files with other endings, or none, may hold any text.
_TELLING = frozenset(
    (
        *(".arrow", ".bin", ".bz2", ".csv", ".db", ".feather", ".gguf", ".gz", ".h5", ".hdf5", ".htm", ".html", ".ipynb", ".jpg", ".json"),
        *(".jsonl", ".npy", ".npz", ".parquet", ".pdf", ".pickle", ".pkl", ".png", ".pt", ".pth", ".py", ".safetensors", ".sqlite", ".svg"),
        *(".tar", ".toml", ".tsv", ".txt", ".xls", ".xlsx", ".xml", ".xz", *_YAML, ".zip", ".zst"),
    )
)  # fmt: skip
# Replacing these kinds loses nothing of another kind.
_ALWAYS_REPLACED = ("empty", "text")


class Output(NamedTuple):
    """A kind of output file.

    Attributes
    ----------
    what : str
        Name of the kind in a message.
    endings : tuple of str
        Allowed endings, the usual one first.
    replaces : tuple of str
        Kinds of existing files (`content_of`) that it may replace.
    free : bool
        Whether an ending without meaning, or no ending, is also allowed.
    """

    what: str
    endings: tuple[str, ...]
    replaces: tuple[str, ...]
    free: bool = False


MIXTURE = Output("a mixture", (*_YAML, ".json"), ("mixture", "shares"))
FIT = Output("a file of laws", (".json", ".npz"), ("fit",))
TABLE = Output("a table of experts", (".npz", ".npy"), ("table", "npy"))
ROWS = Output("a table of experts", (".npz", ".npy", ".parquet"), ("table", "npy", "parquet"))
RUNS = Output("a csv file of runs", (".csv",), ("csv",), free=True)
PAGE = Output("a report", (".html", ".htm"), ("html",), free=True)
COUNTS = Output("a file of token counts", _YAML, ("yaml",))
WEAR = Output("a file of wear", _YAML, ("yaml",))


def names_a_file(path: str | os.PathLike[str]) -> bool:
    """Whether the ending of a path shows the content of a file, so that it is no name for a folder."""
    return Path(path).suffix.lower() in _TELLING


def loader_file(format: str, suffix: str, text: str) -> Output:
    """Return the kind of a mixture file for a loader; it may replace earlier exports and texts of the same form."""
    # JSON is also YAML.
    endings = {".yaml": _YAML, ".json": (".json", *_YAML)}.get(suffix, (suffix,))
    form = kind_of_text(text)
    shares = ("shares",) * (form in ("json", "yaml"))
    return Output(f"a mixture for {format}", (*endings, ".txt"), ("export", form, *shares), free=True)


def check_output(
    path: str | os.PathLike[str], output: Output, error: type[Exception], *, force: bool = False, where: str = ""
) -> None:
    """Refuse an ending of another kind, and, without ``force``, replacing a file of another kind. Streams may hold anything.

    ``where`` is the name of the path in messages.
    """
    if is_stream(path):
        return
    path, where = Path(path), where or os.fspath(path)
    ending = path.suffix.lower()
    if ending not in output.endings and not (output.free and ending not in _TELLING):
        *rest, last = output.endings
        endings = f"{', '.join(rest)} or {last}" if rest else last
        # In table.npz.gz only the last ending is wrong.
        meant = path.stem if Path(path.stem).suffix in output.endings else path.stem + output.endings[0]
        raise error(f"{where}: {output.what} ends in {endings}; name it {meant}")
    if force or not path.is_file():
        return
    content = content_of(path)
    if content not in (*output.replaces, *_ALWAYS_REPLACED):
        raise error(
            f"{where} is {WORDS[content]}, which {output.what} would replace: choose another name, or "
            f"{either('pass force=True', 'give --force')} to lose it"
        )
