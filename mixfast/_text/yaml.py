"""YAML read by PyYAML, with every value as text and no key twice; and the few lines that write it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mixfast._text.names import named, shown
from mixfast._text.nesting import MOST_LEVELS, TOO_DEEP, check_nesting
from mixfast._text.visible import visible_yaml

# Plain text is limited to what no reader of YAML 1.1 or 1.2 takes for anything but a string; all else is quoted.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*\Z")
_WORDS = frozenset(["y", "n", "yes", "no", "true", "false", "on", "off", "null"])
# A name and a number with nothing but a colon between them.
_UNSPACED = re.compile(r"\s*([^\s#:{}\[\],\"']+):([0-9.][0-9._]*(?:[eE%KMBGTkmbgt][0-9]*)?)\s*(?:#.*)?$")
# Levels of blocks are marks and blanks: `- - - a`, or the blanks before a line.
_MARKS = re.compile(rf"[ \t?:-]{{{MOST_LEVELS},}}")


def read_yaml(text: str, error: type[Exception], *, plain: Callable[[str], Any] = str) -> Any:
    """Return the mappings, lists and texts of a YAML document; whoever needs a number parses the text.

    So a domain called ``no`` or ``1e3`` keeps its name, and counts keep their digits. ``plain`` converts the values that are not
    quoted; a ValueError of it is a refusal. ``error`` is raised, with the line, where the text is not YAML or a mapping gives a key twice.
    """
    import yaml

    base: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)

    class Loader(base):  # type: ignore[misc]
        """The loader that resolves nothing, which also refuses what it would overwrite."""

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
    """Whether a text has as many brackets, or marks and blanks in a row, as deep nesting needs; most documents have not."""
    return text.count("[") + text.count("{") > MOST_LEVELS or _MARKS.search(text) is not None


def _check_levels(events: Iterable[Any], error: type[Exception]) -> None:
    """Refuse deep nesting from the events of a document: its parser in C would overflow the stack, which ends the process."""
    level = 0
    for event in events:
        name = type(event).__name__
        level += name.endswith(("MappingStartEvent", "SequenceStartEvent"))
        level -= name.endswith(("MappingEndEvent", "SequenceEndEvent"))
        if level > MOST_LEVELS:
            raise error(TOO_DEEP)


def _unspaced(text: str) -> str:
    """Say where the blank after a colon is missing, which makes a line part of the one before; empty if it is nowhere."""
    for place, line in enumerate(text.splitlines(), 1):
        if found := _UNSPACED.match(line):
            return f"line {place}: a blank is missing after the colon: write '{named(found[1])}: {named(found[2])}'"
    return ""


def write_yaml(document: Mapping[str, Any], *, quoted: bool = False) -> str:
    """Return the YAML text of mappings and lists, which every reader of YAML 1.1 or 1.2 takes alike.

    With ``quoted``, all texts are in quotes and lists of values on one line, as JSON has them.
    """
    return "".join(f"{line}\n" for line in _block(document, quoted))


def _block(value: Any, quoted: bool) -> list[str]:
    """The lines of a mapping or a list, each on its own line and what is nested indented."""
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
    # YAML 1.1 takes 1e-05 for a text: a float needs the point.
    return f"{digits if '.' in digits else digits + '.0'}{exponent}{power}"
