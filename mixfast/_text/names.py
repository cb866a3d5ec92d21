"""How names and lists of names are checked and shown: one wording for every refusal."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from heapq import nlargest
from itertools import islice, pairwise

from mixfast._text.visible import visible

# Long enough to recognise a naming scheme, short enough for one line of a terminal.
_NAMES_SHOWN = 8
# Most characters of a file's content that a message quotes: two lines of a terminal.
_QUOTED = 160
# Most characters of each of several names.
_NAME = 80
# Similarity from which on a name is taken for a misspelling of another: difflib's own. Short names need it, as wbe for web.
_SIMILAR = 0.6
# Comparing two names takes as long as their lengths multiplied: of longer ones the beginning is compared, and of many known names those
# that share the most pairs of characters. Names beyond the first so many are not looked at.
_LENGTH_COMPARED, _CLOSELY_COMPARED, _MOST_COMPARED = 100, 200, 20_000

# Names are made of parts that end at these characters.
_PARTS = re.compile(r"(?<=[/_\-.:|@ ])")
# What may follow a part of a name, and what may follow that.
Parts = dict[str, "Parts"]


def listing(items: Iterable[object], limit: int = _NAMES_SHOWN) -> str:
    """Return the items for a message: the first few, and how many more; ``none`` if there are none."""
    listed = list(items)
    if not listed:
        return "none"
    more = f" and {len(listed) - limit} more ({len(listed)} in all)" if len(listed) > limit else ""
    return ", ".join(named(item, _QUOTED) for item in listed[:limit]) + more


def named(name: object, longest: int = _NAME) -> str:
    r"""Return a name for a line of text: nothing in it acts on a terminal, and a long one is without its middle.

    Names of one collection differ at their ends.

    >>> print(named("web\r\x1b[2J"), named("a" * 300, 11))
    web\r\x1b[2J aaaaa…aaaaa
    """
    text = str(name)
    if len(text) > longest:
        tail = (longest - 1) // 2
        text = f"{text[: longest - 1 - tail]}…{text[len(text) - tail :]}"
    return visible(text)


def distinct(names: Iterable[object], longest: int = _NAME) -> dict[str, str]:
    """Return the form in which each name of a collection is shown; long names keep the parts that tell them apart.

    A part, such as a folder of a path, tells names apart if names that agree up to it continue differently.

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
        # The end of a name is a choice too: a name may begin with the whole of another.
        for part in [*_PARTS.split(name), ""]:
            node = node.setdefault(part, {})
    out = {name: name if len(name) <= longest else _without_shared(name, tree, longest) for name in every}
    for group in _alike(out):
        first = next((at for at, letters in enumerate(zip(*group, strict=False)) if len(set(letters)) > 1), 0)
        start = max(first - longest // 3, 0)
        for name in group:
            ends = len(name) - start <= longest - 1
            out[name] = f"…{name[start:]}" if ends else f"…{name[start : start + longest - 2]}…"
    # More differs than there is room for.
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
    """Return a name without parts that it shares with those that begin like it, as few as make it short enough."""
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
    # Whole stretches read better than single parts: first after the parts that tell names apart, then between, then before.
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
    """Return the refusal of names of which one file gives some more than once; empty if it gives each once.

    >>> given_twice(["web", "code", "web"]), given_twice(["web"])
    ('given twice: web', '')
    """
    if len(set(names)) == len(names):
        return ""
    return f"given twice: {listing(name for name, count in Counter(names).items() if count > 1)}"


def counted(count: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "run"), counted(3, "run")
    ('1 run', '3 runs')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def shown(value: object, limit: int = _QUOTED) -> str:
    """Return the repr of a value that came from outside, for a message: its first characters where it is long.

    >>> shown("a" * 300, 10)
    "'aaaaaaaaa... (302 characters)"
    """
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested deeply, or an integer of thousands of digits
        return f"a value of type {type(value).__name__} that is too large to show"
    return visible(text) if len(text) <= limit else f"{visible(text[:limit])}... ({len(text)} characters)"


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """Return `` (did you mean web?)`` for a name that resembles a known one, else nothing.

    >>> did_you_mean("wbe", ["web", "code"]), did_you_mean("poetry", ["web", "code"])
    (' (did you mean web?)', '')
    """
    plain: dict[str, str] = {}
    for one in islice(known, _MOST_COMPARED):
        plain.setdefault(_bare(one), str(one))
    bare = _bare(name)
    # What a name begins with is often all that a person writes of it.
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
    """The pairs of neighbouring characters of a name."""
    return set(map("".join, pairwise(f" {name} ")))


def misspelt(names: Iterable[object], known: Iterable[object], limit: int = _NAMES_SHOWN) -> str:
    """Return names that are not known as `listing` does, each with the known one that it resembles."""
    names, known = list(names), list(known)
    first = ", ".join(f"{named(name)}{did_you_mean(name, known)}" for name in names[:limit])
    more = f" and {len(names) - limit} more ({len(names)} in all)" if len(names) > limit else ""
    return first + more if names else listing(names)


def one_of(value: object, known: Iterable[object]) -> str:
    """Return the words for a value that is none of a few: what came, what it resembles, what was expected.

    >>> one_of("exakt", ["auto", "exact"])
    "'exakt' (did you mean exact?), expected one of auto, exact"
    """
    known = list(known)
    hint = did_you_mean(value, known) if isinstance(value, str) else ""
    return f"{shown(value, _NAME)}{hint}, expected one of {', '.join(map(str, known))}"


def places(known: Iterable[str]) -> dict[str, int]:
    """Return the position of each name; looking names up one by one takes the square of their number."""
    return {name: place for place, name in enumerate(known)}


def matching(known: Sequence[str], wanted: str) -> list[str]:
    """Return the known name that ``wanted`` is, else those that it matches as a pattern: ``*``, ``?`` and ``[...]``."""
    if wanted in known:
        return [wanted]
    return [name for name in known if fnmatchcase(name, wanted)] if set("*?[") & set(wanted) else []


def split_quoted(text: str, separator: str) -> list[str]:
    """Split a text at its separators outside double quotes; blanks and quotes stay."""
    pieces, quoted = [""], False
    for character in text:
        quoted ^= character == '"'
        if character == separator and not quoted:
            pieces.append("")
        else:
            pieces[-1] += character
    return pieces


def split_names(text: str, separator: str = ",", known: Iterable[str] = ()) -> list[str]:
    """Split a list of names at its separators, without the blanks around them.

    A separator inside double quotes belongs to the name, and so does one inside a name that is known.

    >>> split_names('web, "a,b",c,d', known=["c,d"])
    ['web', 'a,b', 'c,d']
    """
    pieces = split_quoted(text, separator)
    names: list[str] = []
    known, at = set(known), 0
    while at < len(pieces):
        ends = [end for end in range(len(pieces), at + 1, -1) if separator.join(pieces[at:end]).strip() in known]
        end = ends[0] if ends else at + 1
        name = separator.join(pieces[at:end]).strip()
        names.append(name if name in known else unquoted(name))
        at = end
    return names


def join_names(names: Iterable[str], separator: str = ",") -> str:
    """Return names as `split_names` takes them apart, those that hold a separator in double quotes."""
    return separator.join(f'"{name}"' if separator in name else name for name in names)


def unquoted(name: str) -> str:
    """Return a name without the double quotes around it."""
    return name[1:-1] if len(name) > 1 and name[0] == name[-1] == '"' else name


def domain_names(domains: Iterable[str], error: type[Exception]) -> tuple[str, ...]:
    """Return ``domains`` as a tuple of plain strings; raise ``error`` unless they are unique non-empty strings."""
    if isinstance(domains, (str, bytes)):
        raise error(f"domains must be a sequence of names, got the single string {domains!r}; write [{domains!r}]")
    try:
        names = tuple(domains)
    except TypeError as problem:
        raise error(f"domains must be a sequence of names, got {type(domains).__name__}") from problem
    # The usual case, at a tenth of the cost: checking a thousand names takes as long as solving for their shares.
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
    """Whether a file can hold the name: half a surrogate pair is legal in a Python string and nowhere else."""
    if name.isascii():
        return True
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
