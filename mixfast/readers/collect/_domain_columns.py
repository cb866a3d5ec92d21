"""Name the domains of mixtures in tables, where the columns of shares often have a prefix that a loader does not know."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from mixfast._text.audience import either
from mixfast._text.names import listing, shown
from mixfast._text.visible import quote
from mixfast.readers.results._contents import ResultsError

Mixture = Mapping[str, float]
_DOMAIN = "{domain}"
# A prefix that ends in one of these is a prefix of the table; a prefix in "_" may belong to the domains, unless it is one of these words.
_MARKS = re.compile(r"[./:]|^(?:mix|mixture|ratio|weight|share|w|p)s?_")


def columns_of(patterns: Iterable[str]) -> tuple[str, ...]:
    """Return the patterns of the columns: ``mix.*`` for ``mix.{domain}``."""
    return tuple(pattern.replace(_DOMAIN, "*") for pattern in patterns)


def with_domain_names(mixtures: Mapping[str, Mixture], patterns: Sequence[str]) -> dict[str, Mixture]:
    """Return the mixtures by what ``{domain}`` stands for in the first pattern that a column matches, else by column.

    Raises
    ------
    ResultsError
        If two columns of a run have one name.
    """
    forms = [_form(pattern) for pattern in patterns if _DOMAIN in pattern]
    out: dict[str, Mixture] = {}
    for run, mixture in mixtures.items():
        named = {_name(column, forms): share for column, share in mixture.items()}
        if len(named) < len(mixture):
            raise ResultsError(f"domains gives one name to several of the columns {listing(mixture)}: {listing(named)}")
        out[run] = named
    return out


def prefixed(mixtures: Mapping[str, Mixture]) -> list[str]:
    """Return a line on names of domains that all begin with the same words, with the pattern that leaves them out."""
    names = list(dict.fromkeys(name for mixture in mixtures.values() for name in mixture))
    starts = [names[0][: mark.end()] for mark in _MARKS.finditer(names[0])] if len(names) > 1 else []
    prefix = max((one for one in starts if all(name.startswith(one) for name in names)), key=len, default="")
    if not prefix:
        return []
    pattern = prefix + _DOMAIN
    how = either(f"domains={shown(pattern)}", f"--domains {quote(pattern)}")
    short = (name.removeprefix(prefix) for name in names)
    return [f"the domains are named {listing(names, limit=3)}; {how} names them {listing(short, limit=3)}"]


def _form(pattern: str) -> re.Pattern[str]:
    known = {"*": ".*", "?": "."}
    text, seen = "", False
    for piece in re.split(r"(\{domain\}|\*|\?)", pattern):
        if piece == _DOMAIN:
            text, seen = text + ("(?P=name)" if seen else "(?P<name>.+)"), True
        else:
            text += known.get(piece, re.escape(piece))
    return re.compile(text, re.DOTALL)


def _name(column: str, forms: Sequence[re.Pattern[str]]) -> str:
    return next((match["name"] for form in forms if (match := form.fullmatch(column))), column)
