"""Check and show names and lists of names, with the same words in every message."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from fnmatch import fnmatchcase
from heapq import nlargest
from itertools import islice, pairwise
from typing import TypeVar

from mixfast._text.visible import visible

# Enough names to recognise a naming scheme, few enough for one line of a terminal.
_NAMES_SHOWN = 8
# A message quotes at most this many characters of a file: two lines of a terminal.
_QUOTED = 160
# At most this many characters are shown of each of several names.
_NAME = 80
# Names at least this similar are suggested as a correction: difflib's default. Short names need it, such as wbe for web.
_SIMILAR = 0.6
# Comparing two names takes time in proportion to the product of their lengths: long names are compared by their beginning, and of many known
# names only those that share the most pairs of characters. Names beyond the last number are ignored.
_LENGTH_COMPARED, _CLOSELY_COMPARED, _MOST_COMPARED = 100, 200, 20_000

# Names consist of parts that end with these characters.
_PARTS = re.compile(r"(?<=[/_\-.:|@ ])")
# Names, or whatever stands for them.
_Key = TypeVar("_Key", bound=Hashable)
# What may follow a part of a name, and what may follow that.
Parts = dict[str, "Parts"]


def listing(items: Iterable[object], limit: int = _NAMES_SHOWN) -> str:
    """Return the first few items for a message, and how many more there are; ``none`` if there are none."""
    listed = list(items)
    if not listed:
        return "none"
    more = f" and {len(listed) - limit} more ({len(listed)} in all)" if len(listed) > limit else ""
    return ", ".join(named(item, _QUOTED) for item in listed[:limit]) + more


def named(name: object, longest: int = _NAME) -> str:
    r"""Return a name for one line of text: control characters are escaped, and the middle of a long name is cut out.

    Names in one collection usually differ at their ends.

    >>> print(named("web\r\x1b[2J"), named("a" * 300, 11))
    web\r\x1b[2J aaaaa…aaaaa
    """
    text = str(name)
    if len(text) > longest:
        tail = (longest - 1) // 2
        text = f"{text[: longest - 1 - tail]}…{text[len(text) - tail :]}"
    return visible(text)


def distinct(names: Iterable[object], longest: int = _NAME) -> dict[str, str]:
    """Return the form in which to show each name of a collection; long names keep the parts that distinguish them.

    A part, such as a folder of a path, distinguishes names if names that agree up to it continue differently.

    >>> shown = distinct(["web/2024/filtered/news/en", "web/2024/filtered/sport/en"], 12)
    >>> print(*shown.values())
    …news/en …sport/en
    """
    every = list(dict.fromkeys(map(str, names)))
    if all(len(name) <= longest for name in every):
        return {name: visible(name) for name in every}
    tree: Parts = {}
    for name in every:
        node = tree
        # The end of a name also distinguishes it, because a name may be the beginning of another.
        for part in [*_PARTS.split(name), ""]:
            node = node.setdefault(part, {})
    out = {name: name if len(name) <= longest else _without_shared(name, tree, longest) for name in every}
    for group in _alike(out):
        first = next((at for at, letters in enumerate(zip(*group, strict=False)) if len(set(letters)) > 1), 0)
        start = max(first - longest // 3, 0)
        for name in group:
            ends = len(name) - start <= longest - 1
            out[name] = f"…{name[start:]}" if ends else f"…{name[start : start + longest - 2]}…"
    # Some shortened names are still equal: number them.
    for group in _alike(out):
        for number, name in enumerate(group, start=1):
            mark = f"…#{number}"
            out[name] = f"{out[name][: longest - len(mark)]}{mark}"
    return {name: visible(short) for name, short in out.items()}


def _alike(short: dict[str, str]) -> list[list[str]]:
    """Return the names whose short forms are the same, group by group."""
    groups: dict[str, list[str]] = {}
    for name, form in short.items():
        groups.setdefault(form, []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _without_shared(name: str, tree: Parts, longest: int) -> str:
    """Return a name without parts that it shares with names with the same beginning; leave out as few as needed."""
    parts, node, kept = _PARTS.split(name), tree, set()
    for place, part in enumerate(parts):
        if len(node) > 1:
            kept.add(place)
        node = node[part]

    def text(places: set[int]) -> str:
        out = ""
        for place, part in enumerate(parts):
            out += part if place in places else "" if out.endswith("…") else "…"
        return out

    first, last = min(kept, default=0), max(kept, default=-1)
    inside = (place for place in range(last, first, -1) if place not in kept)
    # Whole stretches read better than single parts: first after the distinguishing parts, then between, then before.
    for places in (range(last + 1, len(parts)), inside, range(first - 1, -1, -1)):
        for place in places:
            if len(text(kept | {place})) > longest:
                break
            kept.add(place)
    short = text(kept)
    if len(short) > longest:
        tail = (longest - 1) // 2
        short = f"{short[: longest - 1 - tail]}…{short[len(short) - tail :]}"
    return short


def given_twice(names: Sequence[str]) -> str:
    """Return the refusal of names that a file gives more than once; empty if there are none.

    >>> given_twice(["web", "code", "web"]), given_twice(["web"])
    ('given twice: web', '')
    """
    if len(set(names)) == len(names):
        return ""
    return f"given twice: {listing(name for name, count in Counter(names).items() if count > 1)}"


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, in the plural if needed.

    >>> counted(1, "run"), counted(3, "run")
    ('1 run', '3 runs')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def shown(value: object, limit: int = _QUOTED) -> str:
    """Return the repr of a given value for a message, shortened if it is long.

    >>> shown("a" * 300, 10)
    "'aaaaaaaaa... (302 characters)"
    """
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # deeply nested, or an integer with thousands of digits
        return f"a value of type {type(value).__name__} that is too large to show"
    return visible(text) if len(text) <= limit else f"{visible(text[:limit])}... ({len(text)} characters)"


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """Return `` (did you mean web?)`` if a name resembles a known one, otherwise an empty string.

    >>> did_you_mean("wbe", ["web", "code"]), did_you_mean("poetry", ["web", "code"])
    (' (did you mean web?)', '')
    """
    from difflib import get_close_matches

    plain: dict[str, str] = {}
    for one in islice(known, _MOST_COMPARED):
        plain.setdefault(_bare(one), str(one))
    bare = _bare(name)
    # People often write only the beginning of a name.
    begun = [one for one in plain if len(bare) > 1 and one.startswith(bare)]
    near: Iterable[str] = plain
    if len(plain) > _CLOSELY_COMPARED:
        pairs = _pairs(bare)
        near = nlargest(
            _CLOSELY_COMPARED, plain, key=lambda one: 2 * len(pairs & _pairs(one)) - abs(len(one) - len(bare))
        )
    found = get_close_matches(bare, near, 1, _SIMILAR) or ([min(begun, key=len)] if begun else [])
    return f" (did you mean {named(plain[found[0]])}?)" if found else ""


def _bare(name: object) -> str:
    return str(name)[:_LENGTH_COMPARED].casefold().translate({ord(mark): "_" for mark in "-. /"})


def _pairs(name: str) -> set[str]:
    """Return the pairs of neighbouring characters of a name."""
    return set(map("".join, pairwise(f" {name} ")))


def misspelt(names: Iterable[object], known: Iterable[object], limit: int = _NAMES_SHOWN) -> str:
    """Return unknown names like `listing`, each with the known name that it resembles."""
    names, known = list(names), list(known)
    first = ", ".join(f"{named(name)}{did_you_mean(name, known)}" for name in names[:limit])
    more = f" and {len(names) - limit} more ({len(names)} in all)" if len(names) > limit else ""
    return first + more if names else listing(names)


def one_of(value: object, known: Iterable[object]) -> str:
    """Return the words for an invalid choice: the value, the choice it resembles, and the expected choices.

    >>> one_of("exakt", ["auto", "exact"])
    "'exakt' (did you mean exact?), expected one of auto, exact"
    """
    known = list(known)
    hint = did_you_mean(value, known) if isinstance(value, str) else ""
    return f"{shown(value, _NAME)}{hint}, expected one of {', '.join(map(str, known))}"


def places(known: Iterable[_Key]) -> dict[_Key, int]:
    """Return the position of each name; searching a list for each name would take quadratic time."""
    return {name: place for place, name in enumerate(known)}


def positions(wanted: Iterable[_Key], known: Iterable[_Key]) -> list[int]:
    """Return the position of each wanted name among the known ones.

    >>> positions(["web", "books"], ["books", "code", "web"])
    [2, 0]
    """
    place = places(known)
    return [place[name] for name in wanted]


def matching(known: Sequence[str], wanted: str) -> list[str]:
    """Return the known name ``wanted``, or all names that match it as a pattern: ``*``, ``?`` and ``[...]``."""
    if wanted in known:
        return [wanted]
    return [name for name in known if fnmatchcase(name, wanted)] if set("*?[") & set(wanted) else []


def split_quoted(text: str, separator: str) -> list[str]:
    """Split a text at its separators outside double quotes; keep blanks and quotes."""
    pieces, quoted = [""], False
    for character in text:
        quoted ^= character == '"'
        if character == separator and not quoted:
            pieces.append("")
        else:
            pieces[-1] += character
    return pieces


def split_names(text: str, separator: str = ",", known: Iterable[str] = ()) -> list[str]:
    """Split a list of names at its separators and strip blanks.

    A separator belongs to the name if it is inside double quotes or inside a known name.

    >>> split_names('web, "a,b",c,d', known=["c,d"])
    ['web', 'a,b', 'c,d']
    """
    pieces = split_quoted(text, separator)
    names: list[str] = []
    known, at = set(known), 0
    # The pieces of the known name with most separators; without the limit, many names would take cubic time.
    most = 1 + max((name.count(separator) for name in known), default=0)
    while at < len(pieces):
        last = min(at + most, len(pieces))
        ends = [end for end in range(last, at + 1, -1) if separator.join(pieces[at:end]).strip() in known]
        end = ends[0] if ends else at + 1
        name = separator.join(pieces[at:end]).strip()
        names.append(name if name in known else unquoted(name))
        at = end
    return names


def join_names(names: Iterable[str], separator: str = ",") -> str:
    """Join names so that `split_names` splits them again: names with a separator are put in double quotes."""
    return separator.join(f'"{name}"' if separator in name else name for name in names)


def unquoted(name: str) -> str:
    """Remove the double quotes around a name."""
    return name[1:-1] if len(name) > 1 and name[0] == name[-1] == '"' else name


def domain_names(domains: Iterable[str], error: type[Exception]) -> tuple[str, ...]:
    """Return ``domains`` as a tuple of plain strings; raise ``error`` unless they are unique non-empty strings."""
    if isinstance(domains, (str, bytes)):
        raise error(f"domains must be a sequence of names, got the single string {domains!r}; write [{domains!r}]")
    try:
        names = tuple(domains)
    except TypeError as problem:
        raise error(f"domains must be a sequence of names, got {type(domains).__name__}") from problem
    # Fast path for the usual case: checking a thousand names takes as long as solving for their shares.
    plain = set(map(type, names)) == {str} and "".join(names).isascii() and all(map(str.strip, names))
    if plain and len(set(names)) == len(names):
        return names
    if not names:
        raise error("domains is empty; at least one domain name is needed")
    wrong = [ascii(name) for name in names if not isinstance(name, str) or not name.strip() or not _is_unicode(name)]
    if wrong:
        raise error(f"domain names must be non-empty strings of valid Unicode, got {listing(wrong)}")
    # numpy strings are a subclass of str that prints and serialises differently.
    names = tuple(map(str, names))
    if len(set(names)) < len(names):
        repeated = [f"{name!r} ({count} times)" for name, count in Counter(names).items() if count > 1]
        raise error(f"domain names must be unique, repeated: {listing(repeated)}")
    return names


def _is_unicode(name: str) -> bool:
    """Whether a file can hold the name: half a surrogate pair is allowed in Python strings, but not in UTF-8."""
    if name.isascii():
        return True
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
