"""Replace many names by few patterns, to shorten the commands that messages show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from re import sub

# Only a pattern that stands for several names is easier to read than the names.
_SEVERAL = 2
# Names from which the text around ids is told.
_LOOKED_AT = 50


def covering(names: Sequence[str], others: Iterable[str]) -> list[str]:
    """Return few patterns that match all names and none of the others; a name that no pattern covers is returned itself.

    >>> covering(["arc/acc", "piqa/acc", "mmlu"], ["arc/loss"])
    ['*/acc', 'mmlu']
    >>> covering(["arc/acc", "piqa/acc"], [])
    ['*']
    """
    left, others = list(names), list(others)
    out: list[str] = []
    while left:
        found = Counter(pattern for name in left for pattern in _candidates(name))
        usable = (
            pattern
            for pattern, count in found.most_common()
            if count >= _SEVERAL and not any(fnmatchcase(name, pattern) for name in others)
        )
        best = next(usable, None)
        if best is None:
            return out + left
        out.append(best)
        left = [name for name in left if not fnmatchcase(name, best)]
    return out


def naming(names: Sequence[str], wanted: Iterable[str]) -> str:
    """Return the pattern with ``{run}`` that turns most of the names into wanted ones; empty if there is none.

    >>> naming(["proxy-a-final", "proxy-b-final"], ["a", "b"])
    'proxy-{run}-final'
    """
    ids = sorted(set(wanted), key=len, reverse=True)
    around = Counter(
        (before, after)
        for name in names[:_LOOKED_AT]
        for before, found, after in (name.partition(one) for one in ids)
        if found
    )
    for (before, after), count in around.most_common(1):
        if 2 * count > min(len(names), _LOOKED_AT) and not set("/{}*?") & set(before + after):
            return f"{before}{{run}}{after}"
    return ""


def _candidates(name: str) -> list[str]:
    """Return the patterns that may cover a name: everything, and its beginning or its end up to a separator."""
    found = ["*"]
    for mark in "/_ ":
        if mark in name:
            found += [f"*{mark}{_plain(name.rpartition(mark)[2])}", f"{_plain(name.partition(mark)[0])}{mark}*"]
            found += [f"*{mark}{_plain(name.partition(mark)[2])}", f"{_plain(name.rpartition(mark)[0])}{mark}*"]
    return list(dict.fromkeys(found))


def _plain(text: str) -> str:
    """Return a pattern that matches the text only."""
    return sub(r"([*?[])", r"[\1]", text)
