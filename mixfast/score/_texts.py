"""Documents to score: from Python, or from .txt, .jsonl and .parquet files and folders; each has a name and a group."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mixfast._text.names import listing
from mixfast._text.optional import needed
from mixfast.errors import MixfastWarning, ScoreError

_SUFFIXES = (".txt", ".jsonl", ".parquet")


@dataclass(frozen=True, slots=True)
class Document:
    """One text to score, after a prompt if there is one.

    Attributes
    ----------
    text : str
        What is scored: a document, or the answer to the prompt.
    prompt : str
        What the text follows: the log-likelihood is log p(text | prompt). Empty by default.
    name : str
        Where it comes from, for messages, such as ``news.jsonl:12``.
    group : str
        The validation set it belongs to.
    """

    text: str
    prompt: str = ""
    name: str = "document"
    group: str = "all"


@dataclass(frozen=True, slots=True)
class Format:
    """How files hold documents: whether each line of a .txt file is one, and which fields of .jsonl and .parquet."""

    lines: bool = False
    field: str = "text"
    prompt: str | None = None


def read_documents(path: str | os.PathLike[str], form: Format) -> list[Document]:
    """Read the documents of a file or folder; a group is a file, or a folder inside the folder with all that is in it."""
    root = Path(path)
    if root.is_dir():
        documents = [
            document for file, name, group in list(_files(root)) for document in _read_file(file, name, group, form)
        ]
    elif root.exists():
        if root.suffix not in _SUFFIXES:
            raise ScoreError(
                f"{root}: texts are read from {', '.join(_SUFFIXES)} or a folder of such, not {root.suffix or 'this'}"
            )
        documents = list(_read_file(root, root.name, root.stem, form))
    else:
        raise ScoreError(f"{root}: there is no such file or folder of texts")
    if not documents:
        raise ScoreError(f"{root} holds no document")
    return documents


def listed_documents(texts: object) -> list[Document]:
    """Return documents given in Python: a sequence of Document, or a mapping of group to texts or (prompt, answer) pairs."""
    if isinstance(texts, Mapping):
        documents = [
            _document(item, group, place) for group, items in texts.items() for place, item in enumerate(items)
        ]
    elif isinstance(texts, Sequence) and all(isinstance(item, Document) for item in texts):
        documents = list(texts)
    else:
        raise ScoreError(
            "texts must be the path of a file or folder, a mapping of group to texts, or a sequence of Document, got "
            f"{type(texts).__name__}"
        )
    if not documents:
        raise ScoreError("there is no document to score")
    return documents


def encoded(document: Document) -> tuple[bytes, bytes]:
    """Return prompt and text in UTF-8."""
    try:
        return document.prompt.encode(), document.text.encode()
    except UnicodeEncodeError as problem:
        raise ScoreError(f"{document.name}: half a surrogate pair is no Unicode text: {problem}") from None


def _document(item: object, group: str, place: int) -> Document:
    name = f"{group}[{place}]"
    if isinstance(item, str):
        return Document(item, name=name, group=group)
    if isinstance(item, Sequence) and len(item) == 2 and all(isinstance(part, str) for part in item):
        return Document(item[1], prompt=item[0], name=name, group=group)
    raise ScoreError(f"{name}: expected a text or a pair (prompt, answer), got {type(item).__name__}")


def _files(root: Path) -> Iterator[tuple[Path, str, str]]:
    """Yield the files of a folder with the name and the group of each, in the same order on every machine."""
    found = sorted(
        (path.relative_to(root) for path in root.rglob("*") if path.is_file()), key=lambda path: path.as_posix()
    )
    shown = [path for path in found if not any(part.startswith(".") for part in path.parts)]
    left_out = [path.as_posix() for path in shown if path.suffix not in _SUFFIXES]
    if left_out:
        warnings.warn(
            f"{root}: left out, not {', '.join(_SUFFIXES)}: {listing(left_out)}", MixfastWarning, stacklevel=2
        )
    # Two files of one stem, such as a.txt and a.jsonl, would share a group.
    groups: dict[str, str] = {}
    for path in shown:
        if path.suffix not in _SUFFIXES:
            continue
        whole = len(path.parts) > 1
        group, source = (path.parts[0], "/") if whole else (path.stem, path.name)
        if groups.setdefault(group, source) != source:
            raise ScoreError(f"{root}: two sources of texts would share the group {group!r}; rename one of them")
        yield root / path, path.as_posix(), group


def _read_file(file: Path, name: str, group: str, form: Format) -> Iterator[Document]:
    try:
        if file.suffix == ".parquet":
            yield from _parquet(file, name, group, form)
        elif file.suffix == ".jsonl":
            yield from _jsonl(file, name, group, form)
        else:
            text = _text(file)
            if not form.lines:
                yield Document(text, name=name, group=group)
                return
            for place, line in enumerate(text.removesuffix("\n").split("\n"), start=1):
                yield Document(line.removesuffix("\r"), name=f"{name}:{place}", group=group)
    except UnicodeDecodeError as problem:
        raise ScoreError(f"{file} is not UTF-8: {problem}") from None


def _text(file: Path) -> str:
    # Read as bytes: universal newlines would change what is counted and scored.
    return file.read_bytes().decode("utf-8-sig")


def _jsonl(file: Path, name: str, group: str, form: Format) -> Iterator[Document]:
    for place, line in enumerate(_text(file).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as problem:
            raise ScoreError(f"{file}, line {place} is not JSON that can be read: {problem}") from None
        if not isinstance(record, dict):
            raise ScoreError(f"{file}, line {place} is no JSON object but {type(record).__name__}")
        yield _record(record, f"{file}, line {place}", f"{name}:{place}", group, form)


def _parquet(file: Path, name: str, group: str, form: Format) -> Iterator[Document]:
    with needed(f"{file}: reading parquet", "pyarrow", "mixfast[io]", ScoreError):
        import pyarrow.parquet as parquet
    try:
        table = parquet.ParquetFile(file)
        present = [key for key in (form.field, form.prompt) if key in table.schema_arrow.names]
        columns = present if len(present) == 1 + (form.prompt is not None) else None
        batches = [batch.to_pylist() for batch in table.iter_batches(columns=columns)]
    except (OSError, ValueError) as problem:
        raise ScoreError(f"{file} is no readable parquet file: {problem}") from None
    for place, record in enumerate((record for batch in batches for record in batch), start=1):
        yield _record(record, f"{file}, row {place}", f"{name}:{place}", group, form)


def _record(record: Mapping[str, object], where: str, name: str, group: str, form: Format) -> Document:
    parts = []
    for key in (form.field, form.prompt):
        if key is not None and key not in record:
            raise ScoreError(f"{where} has no field {key!r}; its fields are {listing(record)}")
        text = "" if key is None else record[key]
        if not isinstance(text, str):
            raise ScoreError(f"{where}: the field {key!r} is {type(text).__name__}, expected text")
        parts.append(text)
    return Document(parts[0], prompt=parts[1], name=name, group=group)
