"""Common parts of the forms of mixtures: their description, and functions that find values and lists in a document."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mixfast._text.names import listing, shown
from mixfast._text.numbers import count
from mixfast.errors import MixtureError

Pairs = list[tuple[str, Any]]

# Parts of a configuration that are not training data.
_HELD_OUT = ("eval", "valid", "test")


@dataclass(frozen=True)
class Form:
    """The form of one loader's file.

    Attributes
    ----------
    name : str
        Name of the format in `exporters`.
    looks : str
        What the file must contain.
    find : callable
    divides : str
        "" if the shares must sum to 1; "relative" if the loader's weights are relative; "mended" if they should sum to 1, but the
        loader divides by the sum if they do not.
    places : bool
        Whether the file has paths instead of names.
    samples : bool
        Whether the loader's numbers are shares of samples, which are shares of tokens only if all samples have equal length.
    counts : callable, optional
        Find the token counts in files that have them beside the shares; by default the numbers of `find` must be counts.
    """

    name: str
    looks: str
    find: Callable[[Any, bool], Pairs | None]
    divides: str = ""
    places: bool = False
    samples: bool = False
    counts: Callable[[Any, bool], Pairs | None] | None = None


def no_form(sure: bool, looks: str) -> Pairs | None:
    """Return None for a document of another form; with ``sure``, refuse it."""
    if sure:
        raise MixtureError(f"expected {looks}")
    return None


def under_key(document: Any, key: str, where: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a key at any depth of mappings, except in the parts for validation."""
    for name, value in document.items() if isinstance(document, Mapping) else ():
        if str(name).startswith(_HELD_OUT):
            continue
        if name == key:
            yield f"{where}{name}", value
        else:
            yield from under_key(value, key, f"{where}{name}.")


def only_value(document: Any, key: str, kind: type | tuple[type, ...]) -> Any:
    """Return the only value of a kind under the key, or None."""
    found = [(where, value) for where, value in under_key(document, key) if isinstance(value, kind) and value]
    if len(found) > 1:
        raise MixtureError(
            f"it has {shown(key)} {len(found)} times, as {listing(where for where, _ in found)}; keep the one for training"
        )
    return found[0][1] if found else None


def refuse_stages(key: str, steps: list[Any]) -> None:
    if len(steps) > 1:
        raise MixtureError(
            f"{shown(key)} has {len(steps)} mixtures, from the steps {listing(steps)}: put the one to read into a file of its own"
        )


def entries_of(entries: Sequence[Any], names: tuple[str, ...], share: str) -> Pairs:
    """Return the name (under the first of these keys that an entry has) and the share of each entry of a list."""
    pairs = []
    for place, entry in enumerate(entries, start=1):
        name = next((key for key in names if isinstance(entry, Mapping) and key in entry), None)
        if name is None or share not in entry:
            raise MixtureError(f"entry {place} must hold {shown(names[0])} and {shown(share)}, got {shown(entry)}")
        pairs.append((entry[name], entry[share]))
    return pairs


def paired(one: str, names: Sequence[Any], other: str, numbers: Sequence[Any]) -> Pairs:
    if len(names) != len(numbers):
        raise MixtureError(
            f"{shown(one)} has {len(names)} entries and {shown(other)} has {len(numbers)}; give one number for each entry"
        )
    return list(zip(map(str, names), numbers, strict=True))


def is_number(given: Any) -> bool:
    """Whether a value is a number, or text that is a number."""
    try:
        return not isinstance(given, bool) and float(given) == float(given)
    except (TypeError, ValueError):
        return False


def number(name: str, given: Any) -> float:
    """Return a share or a token count as a number; ``20%`` is 0.2, ``3B`` is 3e9."""
    bare = without_percent(given)
    if not is_number(bare):
        with suppress(ValueError):
            return float(count(str(given)))
        raise MixtureError(f"the share of {shown(name)} must be a number, got {shown(given)}")
    return float(bare) / (1.0 if bare is given else 100.0)


def without_percent(given: Any) -> Any:
    """Return a value without the percent sign at its end."""
    return given[:-1] if isinstance(given, str) and given.endswith("%") else given
