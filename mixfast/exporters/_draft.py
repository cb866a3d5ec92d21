"""What all formats do before they write: leave out zeros, convert units, look up paths and counts, say what was done."""

from __future__ import annotations

import json
import math
import os
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mixfast._text.audience import either
from mixfast._text.names import listing, shown
from mixfast._text.visible import visible_json
from mixfast._text.yaml import write_yaml
from mixfast.errors import AlignmentError
from mixfast.exporters._result import Export, ExportError
from mixfast.mixture import Mixture
from mixfast.sampler import MixtureSchedule

Path = str | os.PathLike[str]
# Options of the formats, None where they are not given.
Paths = Mapping[str, Path | Sequence[Path]] | str | None
Counts = Mapping[str, int] | None
Unit = str | None

UNITS = ("sequences", "documents")
_COMPONENTS = re.compile(r"[/\\]")

# Modules take the loaded data sets by domain, so that no order has to be kept in mind.
_CHECK = """\
    if set(sources) != set(SHARES):
        raise ValueError(f"sources must be given for {sorted(SHARES)}, got {sorted(sources)}")
"""


@dataclass
class Draft:
    """An export in the making: the domains with a share, and the notes so far."""

    format: str
    mixture: Mixture
    dropped: tuple[str, ...]
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, format: str, mixture: Mixture | MixtureSchedule) -> Draft:
        """Begin with the domains that have a share: most loaders refuse a share of 0."""
        if isinstance(mixture, MixtureSchedule):
            raise ExportError(
                f"{format} has one mixture for all of a run, and this is a schedule. levanter and nanotron take one; here, write "
                "each part by itself, export(change.mixture, ...) of schedule.changes, and start anew with it at change.start"
            )
        if not isinstance(mixture, Mixture):
            raise ExportError(f"mixture must be a Mixture, got {type(mixture).__name__}; of a solution it is .mixture")
        kept, dropped = mixture.drop_zeros()
        draft = cls(format, kept, dropped)
        if dropped:
            draft.notes.append(f"left out, with a share of 0: {listing(dropped, limit=len(dropped))}")
        return draft

    def paths(self, given: Paths, what: str) -> dict[str, tuple[str, ...]]:
        """Return the paths of each domain, at least one."""
        if given is None:
            raise ExportError(
                f"{self.format} needs {what} of each domain: give {either('paths, a mapping', '--paths, a file')} of domain to path "
                "or a pattern such as /data/{domain}"
            )
        if isinstance(given, str):
            if "{domain}" not in given:
                raise ExportError(_no_placeholder(given))
            if outside := [name for name in self.mixture if not {"..", "."}.isdisjoint(_COMPONENTS.split(name))]:
                raise ExportError(
                    f"domains {listing(map(repr, outside))} would lead out of the folder of {given!r}, with components of their names "
                    f"that are .. or .; give {either('paths, a mapping', '--paths, a file')} of domain to path"
                )
            return {name: (given.replace("{domain}", name),) for name in self.mixture}
        self._known("paths", given)
        found = {}
        for name in self.mixture:
            one = given[name]
            entries = tuple(map(_as_text, one if isinstance(one, (list, tuple)) else (one,)))
            if not entries or not all(isinstance(entry, str) and entry for entry in entries):
                raise ExportError(
                    f"the path of {shown(name)} must be a text that is not empty, or several, got {shown(one)}"
                )
            found[name] = entries
        return found

    def path(self, given: Paths, what: str) -> dict[str, str]:
        """Return the path of each domain, where the format takes only one."""
        found = self.paths(given, what)
        several = [f"{name} ({len(entries)})" for name, entries in found.items() if len(entries) > 1]
        if several:
            raise ExportError(
                f"{self.format} takes one path for a domain, got more for: {listing(several)}; "
                "merge the files, or give the mixture a domain for each"
            )
        return {name: entries[0] for name, entries in found.items()}

    def counts(self, given: Counts, what: str, why: str) -> dict[str, int]:
        """Return a positive whole number for each domain."""
        if given is None:
            raise ExportError(
                f"{self.format} needs {either(what, f'--{what}')}, the number of {what} of each domain: {why}"
            )
        self._known(what, given)
        wrong = [f"{name}={shown(given[name])}" for name in self.mixture if not _is_count(given[name])]
        if wrong:
            raise ExportError(f"{what} must be whole numbers above 0 where a domain has a share, got {listing(wrong)}")
        return {name: int(given[name]) for name in self.mixture}

    def lengths(self, tokens: Counts, documents: Counts, why: str) -> tuple[dict[str, int], dict[str, int]]:
        """Return the tokens and the documents of each domain; of these there are never more."""
        supply, number = self.counts(tokens, "tokens", why), self.counts(documents, "documents", why)
        swapped = [
            f"{name}: {number[name]} documents, {supply[name]} tokens" for name in supply if number[name] > supply[name]
        ]
        if swapped:
            raise ExportError(
                f"more documents than tokens ({listing(swapped)}): tokens are counted one by one; are the two swapped?"
            )
        return supply, number

    def _known(self, what: str, given: Mapping[str, Any]) -> None:
        if not isinstance(given, Mapping):
            raise ExportError(f"{what} must be a mapping by domain, got {type(given).__name__}")
        if any(name not in given for name in self.mixture):
            raise AlignmentError.between("the mixture", self.mixture, what, given)
        # `mixfast solve --out` leaves out shares of 0, so a file for all domains names more; typos are caught above.
        unused = [name for name in given if name not in self.mixture and name not in self.dropped]
        if unused:
            self.notes.append(f"{what} also names what is not in the mixture: {listing(unused)}")

    def elements(self, unit: str | None, tokens: Counts, documents: Counts, *, raw: bool = False) -> Mixture:
        """Return shares of what the loader draws.

        Shares of tokens are those of sequences of equal length. Of documents, domain k gets a part in proportion to
        ``share_k / mean tokens of its documents``. ``raw`` loaders draw before they pack, so the counts are needed
        unless the caller says that all elements are equally long.
        """
        if unit not in (None, *UNITS):
            raise ExportError(f"unit is {shown(unit)}, expected sequences or documents")
        if unit is None:
            unit = "documents" if raw or tokens is not None or documents is not None else "sequences"
        if unit == "sequences":
            if tokens is not None or documents is not None:
                raise ExportError(
                    f"{either('tokens and documents', '--tokens and --documents')} convert shares to documents; "
                    f"{either('unit is sequences', '--unit is sequences')}: leave them out"
                )
            self.notes.append(
                "shares count what is drawn, right where all of it is equally long (packed sequences); "
                f"for documents give {either('tokens and documents', '--tokens and --documents')}"
            )
            return self.mixture
        why = (
            "it draws documents, and shares of tokens become shares of documents by their mean lengths; "
            f"where all elements are equally long, give {either('unit sequences', '--unit sequences')}"
        )
        supply, number = self.lengths(tokens, documents, why)
        scaled = {name: share * (number[name] / supply[name]) for name, share in self.mixture.items()}
        total = math.fsum(scaled.values())
        drawn = Mixture(self.mixture.domains, [value / total for value in scaled.values()])
        apart = max(drawn, key=lambda name: abs(drawn[name] - self.mixture[name]))
        self.notes.append(
            "shares of tokens became shares of documents by the mean lengths; the largest change: "
            f"{apart} from {self.mixture[apart]:.4g} to {drawn[apart]:.4g}"
        )
        return drawn

    def epochs(self, tokens: Counts, budget: int | None) -> dict[str, float] | None:
        """Return how often each domain's tokens are read, or None where that was not asked for."""
        if tokens is None and budget is None:
            return None
        supply = self.counts(tokens, "tokens", "with budget they say how often a domain is repeated")
        if budget is None:
            raise ExportError(f"{self.format} needs budget, the tokens of the whole run, with tokens")
        return self.mixture.epochs(supply, checked_budget(budget))

    def python(self, shares: Mapping[str, float], function: str) -> Export:
        """Finish with a module of ``SHARES`` by domain and a function, in which ``{check}`` refuses other sources."""
        table = "".join(f"    {name!r}: {share!r},\n" for name, share in shares.items())
        body = textwrap.dedent(function).strip("\n").format(check=_CHECK.rstrip("\n"))
        return self.done(f"\nSHARES = {{\n{table}}}\n\n\n{body}\n", ".py", shares)

    def yaml(self, document: Mapping[str, Any], values: Mapping[str, float]) -> Export:
        """Finish with the YAML of a document."""
        return self.done(write_yaml(document), ".yaml", values)

    def json(self, document: Mapping[str, Any], values: Mapping[str, float]) -> Export:
        """Finish with the JSON of a document."""
        return self.done(visible_json(json.dumps(document, indent=2, ensure_ascii=False)) + "\n", ".json", values)

    def done(self, text: str, suffix: str, values: Mapping[str, float]) -> Export:
        """Finish; notes stand above the text where the format has comments."""
        if suffix in (".yaml", ".py"):
            lines = [f"mixture for {self.format}, written by mixfast", *(f"note: {note}" for note in self.notes)]
            text = "".join(f"# {one_line(line)}\n" for line in lines) + text
        return Export(format=self.format, text=text, suffix=suffix, values=dict(values), notes=tuple(self.notes))


def _no_placeholder(pattern: str) -> str:
    """What to say of a pattern without ``{domain}``: another placeholder is most likely meant to be it."""
    other = re.findall(r"\{[^{}]*\}|%s", pattern)
    meant = pattern.replace(other[0], "{domain}") if other else "/data/{domain}"
    came = f" in place of {other[0]}" if other else ""
    return f"paths is {shown(pattern)}; a pattern for all domains must hold {{domain}}{came}, as in {meant}"


def checked_budget(budget: int) -> int:
    """Return the tokens of a run, a whole number above 0."""
    if not _is_count(budget):
        raise ExportError(f"budget must be a whole number of tokens above 0, got {shown(budget)}")
    return int(budget)


def _as_text(path: Any) -> Any:
    """Return the text of a path object, and anything else as it is, to be refused by name."""
    return os.fspath(path) if isinstance(path, os.PathLike) else path


def _is_count(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and value > 0 and value == int(value)
    except (TypeError, ValueError, OverflowError):
        return False


def one_line(text: str) -> str:
    """Return the text as one line that any file can hold: names of domains may have line breaks and control characters."""
    return "".join(character if character.isprintable() else " " for character in text)


def most_changed(made: Mapping[str, float], wanted: Mapping[str, float], least: float) -> list[str]:
    """Return the domain whose share rounding changes most, relatively; none where that change is below ``least``."""
    change = {name: abs(share / wanted[name] - 1.0) for name, share in made.items()}
    name = max(change, key=change.__getitem__)
    return [name] if change[name] >= least else []


def in_order(names: Iterable[str]) -> str:
    """Return the note that says which domain the numbers of a list belong to."""
    names = tuple(names)
    return f"the order of the list: {listing(names, limit=len(names))}"
