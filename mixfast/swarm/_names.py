"""Match names across files, which write the same domain as train_the_pile_arxiv, the_pile_arxiv or arxiv."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from mixfast._text.names import did_you_mean, listing, positions, shown
from mixfast.errors import AlignmentError

SEPARATORS = "_/.:-| "


def affixes(names: Sequence[str]) -> tuple[str, str]:
    """Return the longest prefix and suffix that all names share and that end, or begin, with a separator."""
    if len(names) < 2:
        return "", ""
    start = _common(names)
    end = _common([name[::-1] for name in names])[::-1]
    start = start[: max((start.rfind(mark) for mark in SEPARATORS), default=-1) + 1]
    found = [at for at in (end.find(mark) for mark in SEPARATORS) if at >= 0]
    return start, end[min(found) :] if found else ""


def _common(names: Sequence[str]) -> str:
    """Return the characters with which all names begin: those that the first and the last in sorted order share."""
    low, high = min(names), max(names)
    length = next((at for at, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    return low[:length]


def variants(name: str, prefix: str, suffix: str) -> set[str]:
    """Return the name with nothing, a part or all of the shared prefix and suffix cut off, at separators."""
    starts = [0] + [at + 1 for at, mark in enumerate(prefix) if mark in SEPARATORS]
    ends = [len(name)] + [len(name) - len(suffix) + at for at, mark in enumerate(suffix) if mark in SEPARATORS]
    return {name[start:end] for start in starts for end in ends if start < end}


def find_names(known: Sequence[str], wanted: Sequence[str], what: str) -> list[str | None]:
    """Return for each wanted name the known name that it means, or None.

    An exact match wins. Otherwise the two may differ by a prefix or suffix, or a part of one, that all known names or all wanted names
    share.

    Raises
    ------
    AlignmentError
        If a name could mean several.
    """
    exact = set(known)
    if exact.issuperset(wanted):
        return list(wanted)
    forms: dict[str, set[str]] = {}
    shared = affixes(known)
    for name in known:
        for form in variants(name, *shared):
            forms.setdefault(form, set()).add(name)
    found: list[str | None] = []
    shared = affixes(wanted)
    for name in wanted:
        if name in exact:
            found.append(name)
            continue
        meant = set().union(*(forms.get(form, set()) for form in variants(name, *shared)))
        if len(meant) > 1:
            raise AlignmentError(
                f"{what} {shown(name)} could mean each of {listing(sorted(meant))}; give the whole name"
            )
        found.append(meant.pop() if meant else None)
    return found


def find_name(known: Sequence[str], name: str, what: str) -> str:
    """Return the known name that ``name`` means; raise `AlignmentError` if it means none or several."""
    found = find_names(known, [name], what)[0]
    if found is None:
        raise AlignmentError(
            f"there is no {what} {shown(name)}{did_you_mean(name, known)}; the {what}s are: {listing(known)}"
        )
    return found


def match_names(known: Sequence[str], wanted: Sequence[str], what: str) -> list[str]:
    """Return the known names that are meant, each once: names as by `find_name`, or patterns with ``*``."""
    found: list[str] = []
    exact = set(known)
    for name in wanted:
        meant = [name] if name in exact else [each for each in known if "*" in name and fnmatchcase(each, name)]
        found += meant or [find_name(known, name, what)]
    return list(dict.fromkeys(found))


def align_names(known: Sequence[str], wanted: Sequence[str], what: str, other: str) -> list[int]:
    """Return for each wanted domain the position of the known one; the two sets must match one to one."""
    found = find_names(known, wanted, "domain")
    named = [name for name in found if name is not None]
    if len(wanted) != len(known) or len(set(named)) != len(known):
        raise AlignmentError.between(what, known, other, wanted)
    return positions(named, known)
