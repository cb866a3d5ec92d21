"""Read YAML with every value as text and without repeated keys, and write it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mixfast._text.names import named, shown
from mixfast._text.nesting import MOST_LEVELS, TOO_DEEP, check_nesting
from mixfast._text.visible import visible_yaml

# Unquoted text is limited to what every YAML 1.1 and 1.2 parser takes for a string; everything else is quoted.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*\Z")
_WORDS = frozenset(["y", "n", "yes", "no", "true", "false", "on", "off", "null"])
# A name and a number separated only by a colon.
_UNSPACED = re.compile(r"\s*([^\s#:{}\[\],\"']+):([0-9.][0-9._]*(?:[eE%KMBGTkmbgt][0-9]*)?)\s*(?:#.*)?$")
# Nested blocks start with marks and blanks: `- - - a`, or the indentation of a line.
_MARKS = re.compile(rf"[ \t?:-]{{{MOST_LEVELS},}}")


def read_yaml(text: str, error: type[Exception], *, plain: Callable[[str], Any] = str) -> Any:
    """Parse a YAML document into mappings, lists and texts; code that needs a number parses the text.

    A domain called ``no`` or ``1e3`` thus keeps its name, and counts keep their digits. ``plain`` converts unquoted values; if it raises
    ValueError, the value is refused. ``error``, which names the line, is raised if the text is not YAML or a mapping repeats a key.
    """
    import yaml

    base: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)

    class Loader(base):  # type: ignore[misc]
        """A loader that converts no values and refuses repeated keys."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[str, Any]:
            found: dict[str, Any] = {}
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise error(f"line {key.start_mark.line + 1}: a key must be a name")
                if key.value in found:
                    raise error(f"line {key.start_mark.line + 1}: {shown(key.value)} is given twice")
                found[key.value] = self.construct_object(value, deep=True)
            return found

        def construct_scalar(self, node: Any) -> Any:
            if node.style:
                return node.value
            try:
                return plain(node.value)
            except ValueError as problem:
                raise error(f"line {node.start_mark.line + 1}: cannot read {shown(node.value)}: {problem}") from problem

    text = text.removeprefix("\ufeff")
    try:
        if _may_be_deep(text):
            _check_levels(yaml.parse(text, Loader), error)
        found = check_nesting(yaml.load(text, Loader), error)
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark
        where = "" if mark is None else f"line {mark.line + 1} is "
        what = ", ".join(part for part in (problem.context, problem.problem) if part)
        raise error(_unspaced(text) or f"{where}not YAML: {what}") from problem
    except (yaml.YAMLError, UnicodeEncodeError, RecursionError) as problem:
        raise error(f"not YAML: {problem}") from problem
    if found is None:
        raise error("it is empty")
    if isinstance(found, str) and (hint := _unspaced(text)):
        raise error(hint)
    return found


def _may_be_deep(text: str) -> bool:
    """Whether a text has enough brackets, or consecutive marks and blanks, for deep nesting; most documents do not."""
    return text.count("[") + text.count("{") > MOST_LEVELS or _MARKS.search(text) is not None


def _check_levels(events: Iterable[Any], error: type[Exception]) -> None:
    """Refuse deep nesting, judged by the events of a document: otherwise its C parser would overflow the stack and end the process."""
    level = 0
    for event in events:
        name = type(event).__name__
        level += name.endswith(("MappingStartEvent", "SequenceStartEvent"))
        level -= name.endswith(("MappingEndEvent", "SequenceEndEvent"))
        if level > MOST_LEVELS:
            raise error(TOO_DEEP)


def _unspaced(text: str) -> str:
    """Report a missing blank after a colon, which makes a line part of the previous one; empty if there is none."""
    for place, line in enumerate(text.splitlines(), 1):
        if found := _UNSPACED.match(line):
            return f"line {place}: a blank is missing after the colon: write '{named(found[1])}: {named(found[2])}'"
    return ""


def write_yaml(document: Mapping[str, Any], *, quoted: bool = False) -> str:
    """Return the YAML text of mappings and lists in a form that every YAML 1.1 and 1.2 parser reads in the same way.

    With ``quoted``, all texts are quoted and lists of values are on one line, as in JSON.
    """
    return "".join(f"{line}\n" for line in _block(document, quoted))


def _block(value: Any, quoted: bool) -> list[str]:
    """Return the lines of a mapping or list, with nested values indented."""
    lines = []
    if isinstance(value, Mapping):
        for name, each in value.items():
            if _is_nested(each, quoted):
                lines += [f"{_text(name)}:", *(f"  {line}" for line in _block(each, quoted))]
            else:
                lines.append(f"{_text(name)}: {_scalar(each, quoted)}")
        return lines
    for item in value:
        first, *rest = _block(item, quoted) if _is_nested(item, quoted) else [_scalar(item, quoted)]
        lines += [f"- {first}", *(f"  {line}" for line in rest)]
    return lines


def _is_nested(value: Any, quoted: bool) -> bool:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return bool(value) and (isinstance(value[0], Mapping) or not quoted)
    return isinstance(value, Mapping) and bool(value)


def _scalar(value: Any, quoted: bool) -> str:
    if isinstance(value, float):
        return _float(value)
    return _text(value) if isinstance(value, str) and not quoted else _json(value)


def _text(text: str) -> str:
    return text if _PLAIN.match(text) and text.lower() not in _WORDS else _json(text)


def _json(value: Any) -> str:
    return visible_yaml(json.dumps(value, ensure_ascii=False))


def _float(value: float) -> str:
    digits, exponent, power = repr(value).partition("e")
    # YAML 1.1 takes 1e-05 for a text: a float needs a point.
    return f"{digits if '.' in digits else digits + '.0'}{exponent}{power}"
