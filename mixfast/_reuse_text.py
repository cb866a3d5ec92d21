"""The text of a ledger: JSON, and the small part of YAML that nested mappings and lists of one's own writing need.

Every value is JSON (strings quoted, lists of them in brackets), which YAML 1.1 and 1.2 read alike; only the nesting is YAML's. Reading
YAML in general needs a library; these few lines need none, and refuse what they do not understand.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mixfast._text.flat_yaml import _YAML_ESCAPED, _YAML_LINE, _yaml_float, _yaml_key
from mixfast._text.names import listing
from mixfast.reuse._changes import ReuseError

Line = tuple[int, int, str]  # number in the file, indentation, text


def write_yaml(document: Mapping[str, Any]) -> str:
    """Return the YAML text of nested mappings and lists of strings, whole numbers, floats, None and truth values."""
    return "\n".join([*_block(document, ""), ""])


def read_yaml(text: str) -> Any:
    """Return what `write_yaml` wrote; comments on lines of their own are passed over. `ReuseError` names the line."""
    lines: list[Line] = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        stripped = line.strip()
        if stripped and stripped != "---" and not stripped.startswith("#"):
            lines.append((number, len(line.rstrip()) - len(stripped), stripped))
    if not lines:
        raise ReuseError("the ledger is empty")
    lines.reverse()
    value = _read(lines, lines[-1][1])
    if lines:
        raise ReuseError(f"line {lines[-1][0]} of the ledger: unexpected indentation: {lines[-1][2]!r}")
    return value


def read_json(text: str) -> Any:
    """Return the JSON value; `ReuseError` for what is none, and for names given twice."""
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as problem:
        raise ReuseError(f"not a JSON ledger: {problem}") from problem


def _block(value: Mapping[str, Any], indent: str) -> list[str]:
    out = []
    for key, each in value.items():
        if isinstance(each, Mapping) and each:
            out += [f"{indent}{_yaml_key(key)}:", *_block(each, indent + "  ")]
        elif isinstance(each, Sequence) and not isinstance(each, str) and each and isinstance(each[0], Mapping):
            out.append(f"{indent}{_yaml_key(key)}:")
            for item in each:
                first, *rest = _block(item, indent + "    ")
                out += [f"{indent}  - {first.lstrip()}", *rest]
        else:
            out.append(f"{indent}{_yaml_key(key)}: {_scalar(each)}")
    return out


def _scalar(value: Any) -> str:
    if isinstance(value, float):
        return _yaml_float(value)
    text = json.dumps(value, ensure_ascii=False)
    return _YAML_ESCAPED.sub(lambda character: f"\\u{ord(character[0]):04x}", text)


def _read(lines: list[Line], indent: int) -> Any:
    """The mapping or list that begins at the next line (lines are in reverse), of this indentation."""
    if lines[-1][2].startswith("- "):
        items = []
        while lines and lines[-1][1] == indent and lines[-1][2].startswith("- "):
            number, _, text = lines.pop()
            lines.append((number, indent + 2, text[2:].lstrip()))
            items.append(_read(lines, indent + 2))
        return items
    out: dict[str, Any] = {}
    while lines and lines[-1][1] == indent:
        number, _, text = lines.pop()
        key, rest = _split(text, number)
        if key in out:
            raise ReuseError(f"line {number} of the ledger: {key!r} is given twice")
        if rest:
            try:
                out[key] = json.loads(rest)
            except json.JSONDecodeError as problem:
                raise ReuseError(f"line {number} of the ledger: cannot read {rest!r}: {problem}") from problem
        elif lines and lines[-1][1] > indent:
            out[key] = _read(lines, lines[-1][1])
        else:
            raise ReuseError(f"line {number} of the ledger: {key!r} has no value")
    return out


def _split(text: str, number: int) -> tuple[str, str]:
    """Key and the text of the value."""
    if text.startswith('"'):
        try:
            key, end = json.JSONDecoder().raw_decode(text)
        except json.JSONDecodeError as problem:
            raise ReuseError(f"line {number} of the ledger: cannot read the quoted name: {problem}") from problem
        if text[end : end + 1] == ":":
            return str(key), text[end + 1 :].strip()
    else:
        key, colon, rest = text.partition(":")
        # A plain name may hold no colon, or the line would read otherwise elsewhere: the writer quotes those.
        if colon and (not rest or rest.startswith(" ")) and _YAML_LINE.match(f"{key}:"):
            return str(key).strip(), rest.strip()
    raise ReuseError(f"line {number} of the ledger is not 'name: value': {text!r}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    repeated = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if repeated:
        raise ReuseError(f"given twice in the ledger: {listing(repeated)}")
    return dict(pairs)
