"""Make text from outside safe to show: no character controls a terminal, breaks a line or changes the direction of writing."""

from __future__ import annotations

import json
import re
import shlex
import unicodedata
from collections.abc import Callable, Iterable

# Printable characters that are invisible: fillers, variation selectors, the grapheme joiner.
_BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
_BLANKS = re.compile(f"[{_BLANK}]")
_SELECTORS = re.compile("[\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
# ZERO WIDTH NON-JOINER and JOINER, which emoji and scripts such as Persian and Hindi need between two characters.
_JOINERS = "\u200c\u200d"
# Scripts with joined letters start here.
_JOINED = 0x600
# Follows a digit and a selector: a digit in a box.
_KEYCAP = "\u20e3"


def visible(text: str, keep: str = "") -> str:
    r"""Replace every invisible character by the escape of Python's repr; other characters stay unchanged.

    Invisible are control characters, line breaks, direction marks, zero-width characters, halves of surrogate pairs, and characters that Unicode
    has not assigned. Joiners and selectors stay inside emoji and words of scripts that need them. Applying the function twice
    changes nothing more. ``keep`` lists characters to keep, such as the line breaks of a report.

    >>> print(visible("a\x1b[31m\nb\u202e"), visible("größer 数学 👩‍💻"))
    a\x1b[31m\nb\u202e größer 数学 👩‍💻
    """
    return _replaced(text, keep, _escaped)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def visible_json(text: str) -> str:
    r"""Return an equivalent JSON document in which every invisible character is a JSON escape.

    >>> print(visible_json('["a\u202e"]'))
    ["a\u202e"]
    """
    return _replaced(text, "\n", lambda character: json.dumps(character)[1:-1])


def visible_yaml(quoted: str) -> str:
    """Return an equivalent double-quoted YAML text in which every invisible character is an escape."""
    # YAML does not accept the surrogate pairs that JSON uses beyond 0xffff.
    return _replaced(
        quoted,
        "",
        lambda character: f"\\u{ord(character):04x}" if character < "\U00010000" else f"\\U{ord(character):08x}",
    )


def in_lines(lines: Iterable[str]) -> str:
    r"""Join lines of text; line breaks inside names are escaped, so each stays one line.

    >>> print(in_lines(["web: 1", "a\nb: 2"]))
    web: 1
    a\nb: 2
    """
    return "\n".join(map(visible, lines))


def quote(word: str) -> str:
    r"""Quote a word so that the command can be pasted into a shell, even if it contains invisible characters.

    >>> print(quote("a.csv"), quote("my a.csv"), quote("a\n'\x1b.csv"))
    a.csv 'my a.csv' $'a\n\'\x1b.csv'
    """
    if is_visible(word):
        return shlex.quote(word)
    # The form that bash and zsh accept. There \x85 is a byte and \u0085 a character.
    inside = _replaced(
        word.replace("\\", "\\\\").replace("'", "\\'"),
        "",
        lambda character: f"\\u{ord(character):04x}" if "\x7f" <= character < "\u0100" else _escaped(character),
    )
    return f"$'{inside}'"


def is_visible(text: str, keep: str = "") -> bool:
    """Whether `visible` would leave a text unchanged."""
    return visible(text, keep) == text


def _replaced(text: str, keep: str, escape: Callable[[str], str]) -> str:
    # Fast paths for the usual cases.
    if text.isprintable() and (text.isascii() or not _BLANKS.search(text)):
        return text
    return "".join(
        character if character in keep or _is_seen(text, at) else escape(character) for at, character in enumerate(text)
    )


def _is_seen(text: str, at: int) -> bool:
    """Whether the character at a position is visible, or affects how its neighbours are shown."""
    character = text[at]
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    if character in _JOINERS:
        return _joins(before) and _joins(after)
    if _SELECTORS.match(character):
        # A second selector in a row has no effect, and could hide a message.
        if before.isascii():
            return before in tuple("0123456789#*") and after == _KEYCAP
        return before.isprintable() and not _BLANKS.match(before)
    if _BLANKS.match(character):
        return False
    # Python counts spaces of other widths as not printable.
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _joins(character: str) -> bool:
    """Whether a joiner has an effect next to this character."""
    if not character:
        return False
    kind = unicodedata.category(character)
    return kind in ("So", "Sk") or (kind[0] in "LM" and ord(character) >= _JOINED)
