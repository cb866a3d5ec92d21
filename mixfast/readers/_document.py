"""Parse files: JSON, YAML, a list of words, or the table of a Python module; nothing is executed."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from mixfast._text.json import read_json
from mixfast._text.kinds import kind_of, other_kind
from mixfast._text.sized import bytes_of
from mixfast._text.yaml import read_yaml
from mixfast.errors import MixfastError, MixtureError

# Name of the table of shares in the Python modules that the exporters write.
SHARES = "SHARES"

_EXPECTED = "a mixture (YAML, JSON, the text of a blend, or a module with SHARES)"


class Words(tuple[str, ...]):
    """A text that is neither YAML nor JSON but words, such as ``0.7 /data/web 0.3 /data/code``."""

    __slots__ = ()


def document(path: Path, error: type[MixfastError] = MixtureError) -> Any:
    """Return the content of a JSON file; or of a YAML file, with all values as text, if the name does not end in .json."""
    expected = _EXPECTED if error is MixtureError else "a YAML or JSON file"
    return _parsed(path, text_of(path, error, expected), path.suffix.lower() == ".json", error)


def text_of(path: Path, error: type[MixfastError] = MixtureError, expected: str = _EXPECTED) -> str:
    """Return the text of a file; a file of another kind is refused by name."""
    if path.is_dir():
        raise error(f"{path} is a folder, expected {expected}")
    raw = bytes_of(path, error)
    try:
        if b"\x00" not in raw:
            return raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        if kind_of(path) == "binary":
            raise error(f"{path}: not UTF-8 text: {problem}") from problem
    raise error(other_kind(path, expected))


def any_document(path: Path, text: str) -> Any:
    """Return the content of a text in any form: a mapping or a list, the table ``SHARES`` of a module, or `Words`."""
    if path.suffix == ".py":
        return {SHARES: _module_table(path, text)}
    kind = kind_of(path)
    if kind in ("csv", "html", "jsonl", "tsv"):
        raise MixtureError(other_kind(path, _EXPECTED))
    if kind == "empty":
        raise MixtureError(f"{path}: the file is empty")
    words = Words(word for line in text.splitlines() for word in line.partition("#")[0].split())
    if _is_number(words[0] if words else ""):
        return words
    return _parsed(path, text, kind in ("json", "fit"), MixtureError)


def _parsed(path: Path, text: str, is_json: bool, error: type[MixfastError]) -> Any:
    try:
        return (read_json if is_json else read_yaml)(text, error)
    except error as problem:
        raise error(f"{path}: {problem}") from problem


def _module_table(path: Path, text: str) -> Any:
    """Return the literal that a module assigns to ``SHARES``; the module is parsed, not run."""
    try:
        for node in ast.parse(text).body:
            if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == SHARES for t in node.targets):
                return ast.literal_eval(node.value)
    except (SyntaxError, ValueError, RecursionError) as problem:
        raise MixtureError(f"{path}: not a Python module with a literal table {SHARES}: {problem}") from problem
    raise MixtureError(f"{path}: a Python module must have a table {SHARES} = {{domain: share}}, and this one has none")


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
