"""Documents to score, each with a name and a group: from Python, or from files of text, JSON or parquet and folders of them."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mixfast._text.audience import either
from mixfast._text.json import Repeated, unique
from mixfast._text.kinds import described, kind_of
from mixfast._text.names import listing, shown
from mixfast._text.optional import needed
from mixfast.errors import MixfastWarning, ScoreError
from mixfast.score._packed import ENDINGS, bare_name, read_bytes

# These may be compressed. Names and groups of documents are those of the uncompressed file.
_TEXTS = (".txt", ".jsonl", ".json")
_PARQUET = ".parquet"
_KNOWN = f"{', '.join((*_TEXTS, _PARQUET))}, the first three also with {' or '.join(ENDINGS)}"


@dataclass(frozen=True, slots=True)
class Document:
    """One text to score, after a prompt if there is one.

    Attributes
    ----------
    text : str
        The text that is scored: a document, or the answer to the prompt.
    prompt : str
        The text before it: the log-likelihood is log p(text | prompt). Empty by default.
    name : str
        Where the document comes from, for messages, such as ``news.jsonl:12``.
    group : str
        The validation set of the document.
    """

    text: str
    prompt: str = ""
    name: str = "document"
    group: str = "all"


@dataclass(frozen=True, slots=True)
class Format:
    """How to find documents in files: whether each line of a .txt file is one, and which fields of .jsonl, .json and .parquet to read.

    ``given`` is the name of the field if the caller gave one.
    """

    lines: bool = False
    field: str = "text"
    prompt: str | None = None
    given: str | None = None


@dataclass(frozen=True, slots=True)
class Texts:
    """A file or folder of documents that is not read yet: every rank of a run reads it."""

    path: Path
    form: Format

    @classmethod
    def of(
        cls, path: str | os.PathLike[str], *, lines: bool = False, field: str | None = None, prompt: str | None = None
    ) -> Texts:
        """Return the texts of a path; the settings are those of `read_texts`."""
        usual = "text" if prompt is None else "answer"
        return cls(Path(path), Format(lines, field or usual, prompt, given=field))

    def check(self) -> None:
        """Raise, without reading a file, if there is none, or if a setting is for none of them."""
        with warnings.catch_warnings():
            # `read` will warn.
            warnings.simplefilter("ignore", MixfastWarning)
            _sources(self.path, self.form)

    def read(self) -> list[Document]:
        """Read the documents."""
        return read_documents(self.path, self.form)


def read_documents(path: str | os.PathLike[str], form: Format) -> list[Document]:
    """Read the documents of a file or folder; each file in the folder is a group, and so is each folder with all files below."""
    root = Path(path)
    documents = [one for file, name, group in _sources(root, form) for one in _read_file(file, name, group, form)]
    if not documents:
        raise ScoreError(f"{root} holds no document")
    return documents


def _sources(root: Path, form: Format) -> list[tuple[Path, str, str]]:
    """Return each file with its name and its group; refuse settings that are for none of them."""
    if root.is_dir():
        found = list(_files(root))
    elif root.exists():
        if not _is_text(root):
            raise ScoreError(
                f"{root}: expected {_KNOWN}, or a folder of such files, got {root.suffix or 'a name without an ending'}; it is "
                f"{described(root)}"
            )
        bare = bare_name(root)
        found = [(root, bare.name, bare.stem)]
    else:
        raise ScoreError(f"{root}: there is no such file or folder")
    _refuse_unused(root, [file for file, _, _ in found], form)
    return found


def _refuse_unused(root: Path, files: Sequence[Path], form: Format) -> None:
    """Refuse settings for a kind of file if no file of that kind is given."""
    plain = [file.suffix != _PARQUET and bare_name(file).suffix == ".txt" for file in files]
    if form.lines and not any(plain) and files:
        raise ScoreError(
            f"{root}: {either('lines=True', '--lines')} applies to .txt files, but there are none; in .jsonl each line is always a document"
        )
    names = [
        setting
        for setting, value in (
            (either("field", "--field"), form.given),
            (either("prompt", "--prompt-field"), form.prompt),
        )
        if value is not None
    ]
    if names and plain and all(plain):
        raise ScoreError(
            f"{root}: {listing(names)} names fields of .jsonl, .json and .parquet files, but there are none; .txt has no fields"
        )


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
        raise ScoreError("texts is empty: there is no document to score")
    return documents


def encoded(document: Document) -> tuple[bytes, bytes]:
    """Return prompt and text in UTF-8."""
    try:
        return document.prompt.encode(), document.text.encode()
    except UnicodeEncodeError as problem:
        raise ScoreError(f"{document.name}: half a surrogate pair is not valid Unicode: {problem}") from None


def check_document(document: Document) -> None:
    """Refuse a document whose texts or group cannot be written."""
    encoded(document)
    group = document.group
    try:
        valid = bool(group) and "\0" not in group and bool(group.encode())
    except (UnicodeEncodeError, AttributeError, TypeError):
        valid = False
    if not valid:
        raise ScoreError(f"{document.name}: its group is {shown(group)}, expected a name: text without NUL")


def _document(item: object, group: str, place: int) -> Document:
    name = f"{group}[{place}]"
    if isinstance(item, str):
        return Document(item, name=name, group=group)
    if isinstance(item, Sequence) and len(item) == 2 and all(isinstance(part, str) for part in item):
        return Document(item[1], prompt=item[0], name=name, group=group)
    raise ScoreError(f"{name}: expected a text or a pair (prompt, answer), got {type(item).__name__}")


def _files(root: Path) -> Iterator[tuple[Path, str, str]]:
    """Yield each file of a folder with its name and group, in the same order on every machine."""
    found = sorted(
        (path.relative_to(root) for path in root.rglob("*") if path.is_file()),
        key=lambda path: (bare_name(path).as_posix(), path.as_posix()),
    )
    seen = [path for path in found if not any(part.startswith(".") for part in path.parts)]
    left_out = [path.as_posix() for path in seen if not _is_text(path)]
    if left_out:
        warnings.warn(f"{root}: left out, not {_KNOWN}: {listing(left_out)}", MixfastWarning, stacklevel=2)
    # Two files of one stem, such as a.txt and a.jsonl, would share a group.
    groups: dict[str, str] = {}
    sources: dict[Path, Path] = {}
    for path in seen:
        if not _is_text(path):
            continue
        bare = bare_name(path)
        whole = len(path.parts) > 1
        group, source = (path.parts[0], "/") if whole else (bare.stem, path.name)
        if groups.setdefault(group, source) != source:
            raise ScoreError(f"{root}: two sources of texts would share the group {shown(group)}; rename one of them")
        if (twice := sources.setdefault(bare, path)) != path:
            raise ScoreError(
                f"{root}: {twice} and {path} are the same file with different compression; remove one of them"
            )
        yield root / path, bare.as_posix(), group


def _is_text(path: Path) -> bool:
    """Whether the ending of a file is one from which texts are read."""
    return path.suffix == _PARQUET or bare_name(path).suffix in _TEXTS


def _read_file(file: Path, name: str, group: str, form: Format) -> Iterator[Document]:
    try:
        if file.suffix == _PARQUET:
            yield from _parquet(file, name, group, form)
        elif (suffix := bare_name(file).suffix) in (".json", ".jsonl"):
            yield from _json(file, name, group, form, lines=suffix == ".jsonl")
        else:
            text = _text(file)
            if not form.lines:
                yield Document(text, name=name, group=group)
                return
            for place, line in enumerate(text.removesuffix("\n").split("\n"), start=1):
                yield Document(line.removesuffix("\r"), name=f"{name}:{place}", group=group)
    except UnicodeDecodeError as problem:
        kind = kind_of(file)
        if kind in ("binary", "text", *(ending for ending in ("gzip", "zstd") if file.suffix in ENDINGS)):
            raise ScoreError(f"{file} is not UTF-8: {problem}") from None
        raise ScoreError(f"{file} is not UTF-8: it is {described(file)}, despite its name") from None


def _text(file: Path) -> str:
    # Read as bytes: universal newlines would change the text that is counted and scored.
    return read_bytes(file).decode("utf-8-sig")


def _json(file: Path, name: str, group: str, form: Format, *, lines: bool) -> Iterator[Document]:
    """Yield the objects of a file: one per line; a .json file may also hold an array of objects, or a single one."""
    text = _text(file)
    try:
        objects = None if lines else _whole(text)
    except Repeated as problem:
        raise ScoreError(f"{file}: {problem}") from None
    if objects is not None:
        for place, record in enumerate(objects, start=1):
            where = f"{file}, object {place}"
            if not isinstance(record, dict):
                raise ScoreError(f"{where} is {type(record).__name__}, expected a JSON object")
            yield _record(record, where, f"{name}:{place}", group, form)
        return
    for place, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line, object_pairs_hook=unique)
        except (ValueError, RecursionError) as problem:
            raise ScoreError(f"{file}, line {place} is not valid JSON: {problem}") from None
        if not isinstance(record, dict):
            raise ScoreError(f"{file}, line {place} is {type(record).__name__}, expected a JSON object")
        yield _record(record, f"{file}, line {place}", f"{name}:{place}", group, form)


def _whole(text: str) -> list[object] | None:
    """Return the objects of a text that is an array or a single JSON value; None for JSON lines."""
    try:
        value = json.loads(text, object_pairs_hook=unique)
    except Repeated:
        raise
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else [value]


def _parquet(file: Path, name: str, group: str, form: Format) -> Iterator[Document]:
    with needed(f"{file}: reading parquet", "pyarrow", "mixfast[io]", ScoreError):
        import pyarrow.parquet as parquet
    try:
        table = parquet.ParquetFile(file)
        present = [key for key in (form.field, form.prompt) if key in table.schema_arrow.names]
        columns = present if len(present) == 1 + (form.prompt is not None) else None
        batches = [batch.to_pylist() for batch in table.iter_batches(columns=columns)]
    except (OSError, ValueError) as problem:
        raise ScoreError(f"{file} cannot be read as parquet: {problem}") from None
    for place, record in enumerate((record for batch in batches for record in batch), start=1):
        yield _record(record, f"{file}, row {place}", f"{name}:{place}", group, form)


def _record(record: Mapping[str, object], where: str, name: str, group: str, form: Format) -> Document:
    parts = []
    for key in (form.field, form.prompt):
        if key is not None and key not in record:
            raise ScoreError(f"{where} has no field {shown(key)}; its fields are {listing(record)}")
        text = "" if key is None else record[key]
        if not isinstance(text, str):
            raise ScoreError(f"{where}: the field {shown(key)} is {type(text).__name__}, expected text")
        parts.append(text)
    return Document(parts[0], prompt=parts[1], name=name, group=group)
