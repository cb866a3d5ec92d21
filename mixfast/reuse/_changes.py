"""Changes of a set of domains, by name: domains are added, removed, split into parts, or revised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mixfast._text.names import domain_names, listing, misspelt, shown
from mixfast.errors import MixfastError


class ReuseError(MixfastError, ValueError):
    """A change of domains, a frozen mixture or a ledger is malformed, or contradicts the other arguments."""


class _Effect:
    """The effect of a change on the domains, by name; by default none."""

    @property
    def gone(self) -> tuple[str, ...]:
        """Old domains that are removed, split or revised."""
        return ()

    @property
    def new(self) -> tuple[str, ...]:
        """Domains that need a new share."""
        return ()

    @property
    def heirs(self) -> dict[str, str]:
        """The old domain that each new one comes from."""
        return {}


@dataclass(frozen=True, init=False)
class _OfDomains(_Effect):
    """A change that affects several domains in the same way."""

    domains: tuple[str, ...]

    def __init__(self, domains: Iterable[str]) -> None:
        object.__setattr__(self, "domains", domain_names(domains, ReuseError))


class Add(_OfDomains):
    """Add new domains, by their names."""

    @property
    def new(self) -> tuple[str, ...]:
        return self.domains


class Remove(_OfDomains):
    """Remove domains, by their names."""

    @property
    def gone(self) -> tuple[str, ...]:
        return self.domains


@dataclass(frozen=True, init=False)
class Partition(_Effect):
    """Split the data of one domain into parts.

    Parameters
    ----------
    parent : str
    parts : sequence of str
        At least two names.
    """

    parent: str
    parts: tuple[str, ...]

    def __init__(self, parent: str, parts: Iterable[str]) -> None:
        names = domain_names(parts, ReuseError)
        (name,) = domain_names([parent], ReuseError)
        if len(names) < 2:
            raise ReuseError(
                f"{shown(name)} is split into {listing(names)} only; give at least two parts, or revise the domain"
            )
        object.__setattr__(self, "parent", name)
        object.__setattr__(self, "parts", names)

    @property
    def gone(self) -> tuple[str, ...]:
        return (self.parent,)

    @property
    def new(self) -> tuple[str, ...]:
        return self.parts

    @property
    def heirs(self) -> dict[str, str]:
        return dict.fromkeys(self.parts, self.parent)


@dataclass(frozen=True, init=False)
class Revise(_Effect):
    """Replace the content of domains that keep their role.

    Parameters
    ----------
    domains : sequence of str, or mapping of str to str
        Domains that keep their names, or a mapping of old names to new ones.
    """

    renamed: tuple[tuple[str, str], ...]

    def __init__(self, domains: Iterable[str] | Mapping[str, str]) -> None:
        old = domain_names(domains, ReuseError)
        new = domain_names(domains.values(), ReuseError) if isinstance(domains, Mapping) else old
        object.__setattr__(self, "renamed", tuple(zip(old, new, strict=True)))

    @property
    def gone(self) -> tuple[str, ...]:
        return tuple(old for old, _ in self.renamed)

    @property
    def new(self) -> tuple[str, ...]:
        return tuple(new for _, new in self.renamed)

    @property
    def heirs(self) -> dict[str, str]:
        return {new: old for old, new in self.renamed}


Change = Add | Remove | Partition | Revise


@dataclass(frozen=True)
class Update:
    """Changes made at the same time, matched with the old domains.

    Attributes
    ----------
    changes : tuple of Change
    kept : tuple of str
        Unchanged domains, in their order.
    new : tuple of str
        Domains that are added, or have new content.
    gone : tuple of str
        Old domains that are removed, split or revised.
    heirs : dict of str to str
        The old domain that a new one comes from, if there is one.
    """

    changes: tuple[Change, ...]
    kept: tuple[str, ...]
    new: tuple[str, ...]
    gone: tuple[str, ...]
    heirs: dict[str, str]

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains after the changes."""
        return self.kept + self.new

    @classmethod
    def of(cls, changes: Change | Iterable[Change], domains: Iterable[str]) -> Update:
        """Check changes against the old domains; `ReuseError` names the contradictions."""
        listed = (changes,) if isinstance(changes, Change) else tuple(changes)
        old = domain_names(domains, ReuseError)
        wrong = [type(change).__name__ for change in listed if not isinstance(change, Change)]
        if wrong or not listed:
            raise ReuseError(f"changes must be Add, Remove, Partition or Revise, at least one; got {listing(wrong)}")
        gone = [name for change in listed for name in change.gone]
        new = [name for change in listed for name in change.new]
        if unknown := [name for name in gone if name not in set(old)]:
            raise ReuseError(
                f"{misspelt(unknown, old)} cannot be removed, split or revised: not among the old domains {listing(old)}; "
                "new domains are added"
            )
        if twice := sorted({name for name in gone if gone.count(name) > 1}):
            raise ReuseError(f"more than one change affects {listing(twice)}; make the changes one after the other")
        kept = tuple(name for name in old if name not in set(gone))
        if clash := [name for name in new if name in set(kept) or new.count(name) > 1]:
            raise ReuseError(f"the new domains {listing(dict.fromkeys(clash))} exist already; names must be unique")
        heirs = {name: parent for change in listed for name, parent in change.heirs.items()}
        return cls(listed, kept, tuple(new), tuple(gone), heirs)
