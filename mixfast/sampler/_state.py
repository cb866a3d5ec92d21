"""Saved states: the fields of each format, the kind of each field, and the check that detects an altered state.

Checkpointers change the types in a state: some turn its numbers into numpy scalars or tensors without dimensions, and its lists
into tuples. Such a state is accepted. A field that is missing, unknown or of another kind is refused by name, and so is a state
that was altered after it was saved.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from mixfast._text.names import listing, shown
from mixfast.errors import AlignmentError, SamplerError
from mixfast.sampler._numbers import LONGEST, whole_number

# What is saved to resume at a position: strings, integers and nested states, for JSON.
State: TypeAlias = Mapping[str, Any]
# Seeds are the largest numbers of a state.
_LARGEST = (1 << 64) - 1
Kind: TypeAlias = Literal["count", "positive", "text", "names", "state"]


def saved_count(what: str, value: object) -> int:
    """Return a field that is a whole number of at least 0, as an int."""
    number = whole_number(what, _plain(value), 0)
    if number > _LARGEST:
        raise SamplerError(f"{what} must be below 2^64, got a number of {number.bit_length()} bits")
    return number


def _positive(what: str, value: object) -> int:
    """Return a field that is a whole number of at least 1, as an int."""
    return max(saved_count(what, value), whole_number(what, _plain(value), 1))


def _text(what: str, value: object) -> str:
    """Return a field that is a string, as a str."""
    value = _plain(value)
    if not isinstance(value, str):
        raise SamplerError(f"{what} must be a text, got {shown(value)}")
    return str(value)


def _names(what: str, value: object) -> list[str]:
    """Return a field that lists names, each once, as a list of str."""
    value = _listed(value)
    if not isinstance(value, list) or any(not isinstance(name, str) for name in value):
        raise SamplerError(f"{what} must be a list of names, got {shown(value)}")
    if len(set(value)) < len(value):
        raise SamplerError(f"{what} must be a list of different names, got {shown(value)}")
    return list(map(str, value))


def _nested(what: str, value: object) -> State:
    """Return a field that is itself a state, with plain values."""
    if not isinstance(value, Mapping):
        raise SamplerError(f"{what} must be a state, got {shown(value)}")
    return {str(name): _plain(_listed(each)) for name, each in value.items()}


def format_of(state: object) -> str:
    """Return the name in the field ``format`` of a state; empty if it has none."""
    found = _plain(state.get("format")) if isinstance(state, Mapping) else None
    return str(found) if isinstance(found, str) else ""


def _listed(value: object) -> object:
    """Return tuples and arrays with one dimension as lists; anything else as it is."""
    if getattr(value, "ndim", None) == 1 and hasattr(value, "tolist"):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value


def _plain(value: object) -> object:
    """Return the value of a numpy scalar, or of an array or tensor without dimensions; anything else as it is."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        try:
            return value.item()
        except (RuntimeError, TypeError, ValueError):  # a tensor with a shape but no values
            return value
    return value


_KINDS: Mapping[Kind, Callable[[str, object], Any]] = {
    "count": saved_count, "positive": _positive, "text": _text, "names": _names, "state": _nested,
}  # fmt: skip


class Format(NamedTuple):
    """The fields of a state, and its digest.

    Attributes
    ----------
    name : str
        Value of the field ``format``. States of this format also have the field ``check``, a digest of all other fields.
    what : str
        What messages call a state of this format.
    fields : mapping of str to str
        Kind of each field: a "count" of at least 0, a "positive" count, a "text", "names" or a "state".
    former : str
        The format of earlier releases, with the same fields and no check.
    added : collection of str
        Fields that a state of the former format may lack; they are then None.
    """

    name: str
    what: str
    fields: Mapping[str, Kind]
    former: str
    added: tuple[str, ...] = ()

    def save(self, **fields: Any) -> State:
        """Return the state with these fields."""
        state = {"format": self.name, **fields}
        return {**state, "check": _digest(state)}

    def read(self, state: object) -> dict[str, Any]:
        """Return the fields of a state as plain values.

        Raises
        ------
        SamplerError
            If the state has another format, lacks a field, has an unknown field or one of the wrong kind, or was altered
            after it was saved.
        """
        saved = format_of(state)
        if not isinstance(state, Mapping) or saved not in (self.name, self.former):
            raise SamplerError(f"expected {self.what} of the format {shown(self.name)}, got {shown(state)}")
        former = saved == self.former
        known: dict[str, Kind] = dict(self.fields) if former else {**self.fields, "check": "text"}
        if missing := set(known) - set(state) - set(self.added if former else ()):
            raise SamplerError(f"{self.what} lacks {listing(sorted(missing))}")
        if unknown := set(state) - {*known, "format"}:
            raise SamplerError(
                f"{self.what} has the unknown field {listing(sorted(map(shown, unknown)))}; its fields are {listing(known, 99)}"
            )
        found = {
            name: _KINDS[kind](f"{name} of {self.what}", state[name]) if name in state else None
            for name, kind in known.items()
        }
        check = found.pop("check", None)
        if not former and check != _digest({"format": self.name, **found}):
            each = listing((f"{name} {shown(value, 40)}" for name, value in found.items()), 99)
            raise SamplerError(
                f"{self.what} was altered after it was saved: its check {shown(check)} does not fit its other fields ({each})"
            )
        return found


def _digest(fields: Mapping[str, Any]) -> str | None:
    """Return the check of a state with these fields; None if JSON cannot hold some of them."""
    try:
        written = json.dumps(fields, sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        return None
    return hashlib.sha256(written.encode()).hexdigest()[:16]


def within(position: int, length: int | None) -> int:
    """Return the position of a state; `SamplerError` if it is past the end of a stream of this length."""
    if length is not None and position > length:
        raise SamplerError(f"the state is at sample {position}, past the end of this stream at {length}")
    if position > LONGEST:
        raise SamplerError(f"position of the state is {position}, beyond the last sample that can be counted, 2^60")
    return position


def saved_domains(state: State) -> list[str] | None:
    """Return the domains in the order in which the stream of a state numbers them; None if the state lacks them."""
    if not isinstance(state, Mapping) or "domains" not in state:
        return None  # saved by a release that did not write them
    return _names("domains of the state", state["domains"])


def refuse_other_domains(saved: Sequence[str] | None, here: Sequence[str], position: int) -> None:
    """Refuse a state of a stream with other domains, or with the same domains in another order."""
    if saved is None or list(saved) == list(here):
        return
    start = f"the state is at sample {position} of another stream: "
    if set(saved) != set(here):
        raise SamplerError(start + AlignmentError.between("the state", saved, "this stream", here).args[0])
    raise SamplerError(
        f"{start}it numbers the domains {listing(saved)}, and this one {listing(here)}. The order determines the samples. "
        "load_state_dict of a cursor or of a data loader resumes the saved stream and matches domains by "
        "name; stream.reordered(state['domains']) is the saved stream itself"
    )
