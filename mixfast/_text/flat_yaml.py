"""The text of a mixture file: JSON, and the small part of YAML that a flat mapping of name to share needs.

Reading YAML in general needs a library; these few lines need none, and refuse what they do not understand.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from mixfast._text.names import listing
from mixfast.errors import MixtureError

FORMAT = "mixfast-mixture-1"

# Plain YAML keys are limited to what no YAML 1.1 or 1.2 reader takes for anything but a string; all else is quoted.
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*\Z")
_YAML_WORDS = frozenset(["y", "n", "yes", "no", "true", "false", "on", "off", "null"])
# JSON leaves these as they are; YAML refuses them or takes them for line breaks.
_YAML_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_YAML_LINE = re.compile(
    r"""
    (?P<indent>\ *)
    (?: "(?P<double>(?:[^"\\]|\\.)*)" | '(?P<single>(?:[^']|'')*)' | (?P<plain>[^\s"'#:&*!|>%@`{}\[\],?-][^#]*?) )
    \s*:
    (?:\s+(?P<value>[^\s#]\S*))?
    \s*(?:\s\#.*)?\Z
    """,
    re.VERBOSE,
)


def write_json(shares: Mapping[str, float]) -> str:
    """Return the JSON text; Python writes floats with the digits that read back as the same float64."""
    return json.dumps({"format": FORMAT, "mixture": dict(shares)}, indent=2, ensure_ascii=False) + "\n"


def read_json(text: str) -> dict[str, float]:
    """Return the shares of `write_json`'s text, or of a flat JSON object; raise `MixtureError` for anything else."""
    try:
        document = json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as problem:
        raise MixtureError(f"not a JSON mixture: {problem}") from problem
    if not isinstance(document, dict):
        raise MixtureError(f"a JSON mixture must be an object of domain to share, got a {type(document).__name__}")
    if isinstance(document.get("mixture"), dict):
        _check_header(document)
        document = document["mixture"]
    wrong = [f"{n}: {v!r}" for n, v in document.items() if isinstance(v, bool) or not isinstance(v, (int, float))]
    if wrong:
        raise MixtureError(f"shares must be numbers, got {listing(wrong)}")
    return document


def write_yaml(shares: Mapping[str, float]) -> str:
    """Return the YAML text: every reader of YAML 1.1 or 1.2 sees strings and floats, the same float64."""
    lines = [f"  {_yaml_key(name)}: {_yaml_float(share)}" for name, share in shares.items()]
    return "\n".join([f"format: {FORMAT}", "mixture:", *lines, ""])


def read_yaml(text: str) -> dict[str, float]:
    """Return the shares of `write_yaml`'s text, or of a flat YAML mapping, with comments; refuse the rest by line."""
    shares: dict[str, float] = {}
    header: dict[str, str | None] = {}
    numbered = [(number, line.rstrip()) for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1)]
    lines = [(n, line) for n, line in numbered if line.strip() and line != "---" and not line.lstrip().startswith("#")]
    nested = any(re.match(r"mixture\s*:\s*(#.*)?\Z", line) for _, line in lines)
    inside = not nested
    for number, line in lines:
        found = _YAML_LINE.match(line)
        if found is None:
            raise MixtureError(f"line {number} of the YAML mixture is not 'name: share': {line.strip()!r}")
        name, value, indented = _yaml_name(found, number), found["value"], bool(found["indent"])
        if nested and not indented:
            if name in header:
                raise MixtureError(f"line {number}: {name!r} is given twice")
            header[name] = value
            inside = name == "mixture"
        elif not inside or indented != nested:
            raise MixtureError(f"line {number}: unexpected indentation: {line!r}")
        elif name in shares:
            raise MixtureError(f"line {number}: domain {name!r} is given twice")
        else:
            try:
                shares[name] = float(value or "")
            except ValueError as problem:
                raise MixtureError(f"line {number}: the share of {name!r} must be a number, got {value!r}") from problem
    _check_header(header)
    return shares


def _check_header(header: Mapping[str, Any]) -> None:
    if header.get("format", FORMAT) != FORMAT:
        raise MixtureError(f"format {header['format']!r} is not known; this version reads {FORMAT!r}")
    unknown = sorted(set(header) - {"format", "mixture"})
    if unknown:
        raise MixtureError(f"unexpected keys beside 'format' and 'mixture': {listing(unknown)}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a dict from the pairs of a JSON object, which may repeat a name without json saying so."""
    repeated = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if repeated:
        raise MixtureError(f"given twice: {listing(repeated)}")
    return dict(pairs)


def _yaml_key(name: str) -> str:
    if _PLAIN_KEY.match(name) and name.lower() not in _YAML_WORDS:
        return name
    quoted = json.dumps(name, ensure_ascii=False)
    return _YAML_ESCAPED.sub(lambda character: f"\\u{ord(character[0]):04x}", quoted)


def _yaml_float(share: float) -> str:
    digits, exponent, power = repr(share).partition("e")
    # YAML 1.1 takes 1e-05 for a string: a float needs the point.
    return f"{digits if '.' in digits else digits + '.0'}{exponent}{power}"


def _yaml_name(found: re.Match[str], number: int) -> str:
    if found["double"] is not None:
        try:
            return str(json.loads(f'"{found["double"]}"'))
        except json.JSONDecodeError as problem:
            raise MixtureError(f"line {number}: cannot read the quoted name: {problem}") from problem
    if found["single"] is not None:
        return found["single"].replace("''", "'")
    return found["plain"].strip()
