"""Text that came from outside, made safe to show: no character acts on a terminal, breaks a line or turns the direction of writing."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable

# Characters that count as printable and show nothing: fillers, selectors of a variant, the grapheme joiner.
_BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
_BLANKS = re.compile(f"[{_BLANK}]")
_SELECTORS = re.compile("[\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
# ZERO WIDTH NON-JOINER and JOINER, which emoji and the scripts of Persian and Hindi need between two characters.
_JOINERS = "\u200c\u200d"
# Scripts whose letters are joined begin here.
_JOINED = 0x600
# Follows a digit and a selector: 1 in a box.
_KEYCAP = "\u20e3"


def visible(text: str, keep: str = "") -> str:
    r"""Return a text with every character that cannot be seen written as Python's repr writes it; others stay as they are.

    These are control characters, line breaks, marks of direction, characters of no width, halves of surrogate pairs, and what Unicode
    has not assigned. Joiners and selectors stay inside emoji and words of the scripts that need them. Made visible twice, a text is
    the same. ``keep`` holds characters to leave, such as the line breaks of a report.

    >>> print(visible("a\x1b[31m\nb\u202e"), visible("größer 数学 👩‍💻"))
    a\x1b[31m\nb\u202e größer 数学 👩‍💻
    """
    return _replaced(text, keep, lambda character: character.encode("unicode_escape").decode("ascii"))


def visible_json(text: str) -> str:
    r"""Return a JSON document that means the same, in which every character that cannot be seen is an escape of JSON.

    >>> print(visible_json('["a\u202e"]'))
    ["a\u202e"]
    """
    return _replaced(text, "\n", lambda character: json.dumps(character)[1:-1])


def is_visible(text: str, keep: str = "") -> bool:
    """Whether `visible` leaves a text as it is."""
    return visible(text, keep) == text


def _replaced(text: str, keep: str, escape: Callable[[str], str]) -> str:
    # The usual cases, which take no loop.
    if text.isprintable() and (text.isascii() or not _BLANKS.search(text)):
        return text
    return "".join(
        character if character in keep or _is_seen(text, at) else escape(character) for at, character in enumerate(text)
    )


def _is_seen(text: str, at: int) -> bool:
    """Whether the character at a position shows, or belongs to the way in which its neighbours do."""
    character = text[at]
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    if character in _JOINERS:
        return _joins(before) and _joins(after)
    if _SELECTORS.match(character):
        # A second one in a row selects nothing, and could hide a message.
        if before.isascii():
            return before in tuple("0123456789#*") and after == _KEYCAP
        return before.isprintable() and not _BLANKS.match(before)
    if _BLANKS.match(character):
        return False
    # Spaces of other widths are not printable by Python's definition.
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _joins(character: str) -> bool:
    """Whether a joiner beside this character has a meaning."""
    if not character:
        return False
    kind = unicodedata.category(character)
    return kind in ("So", "Sk") or (kind[0] in "LM" and ord(character) >= _JOINED)
