"""How names and lists of names are checked and shown: one wording for every refusal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

# Long enough to recognise a naming scheme, short enough for one line of a terminal.
_NAMES_SHOWN = 8
# Most characters of a file's content that a message quotes: two lines of a terminal.
_QUOTED = 160


def listing(items: Iterable[object], limit: int = _NAMES_SHOWN) -> str:
    """Return the items for a message: the first few, and how many more; ``none`` if there are none."""
    names = [str(item) for item in items]
    if not names:
        return "none"
    more = f" and {len(names) - limit} more ({len(names)} in all)" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def shown(value: object, limit: int = _QUOTED) -> str:
    """Return the repr of a value that came from a file, for a message: its first characters where it is long.

    >>> shown("a" * 300, 10)
    "'aaaaaaaaa... (302 characters)"
    """
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


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
