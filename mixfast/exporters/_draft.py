"""Steps that all formats share: leave out zeros, convert units, look up paths and counts, and note what was done."""

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
# Options of the formats; None means not given.
Paths = Mapping[str, Path | Sequence[Path]] | str | None
Counts = Mapping[str, int] | None
Unit = str | None

UNITS = ("sequences", "documents")
_COMPONENTS = re.compile(r"[/\\]")

# The functions in exported modules take data sets by domain, so that no order has to match.
_CHECK = """\
    if set(sources) != set(SHARES):
        raise ValueError(f"sources must be given for {sorted(SHARES)}, got {sorted(sources)}")
"""


@dataclass
class Draft:
    """An export being built: the domains with a share, and the notes so far."""

    format: str
    mixture: Mixture
    dropped: tuple[str, ...]
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, format: str, mixture: Mixture | MixtureSchedule) -> Draft:
        """Begin with the domains that have a share: most loaders refuse a share of 0."""
        if isinstance(mixture, MixtureSchedule):
            raise ExportError(
                f"{format} takes one mixture for the whole run, and this is a schedule. levanter and nanotron take schedules; for this "
                "format, export each part, export(change.mixture, ...) of schedule.changes, and restart with it at change.start"
            )
        if not isinstance(mixture, Mixture):
            raise ExportError(f"mixture must be a Mixture, got {type(mixture).__name__}; a solution has it as .mixture")
        kept, dropped = mixture.drop_zeros()
        draft = cls(format, kept, dropped)
        if dropped:
            draft.notes.append(f"left out, with a share of 0: {listing(dropped, limit=len(dropped))}")
        return draft

    def paths(self, given: Paths, what: str) -> dict[str, tuple[str, ...]]:
        """Return the paths of each domain; each has at least one."""
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
                    f"the names of domains {listing(map(repr, outside))} have components .. or ., which would lead out of the folder of {given!r}"
                    f"; give {either('paths, a mapping', '--paths, a file')} of domain to path"
                )
            return {name: (given.replace("{domain}", name),) for name in self.mixture}
        self._known("paths", given)
        found = {}
        for name in self.mixture:
            one = given[name]
            entries = tuple(map(_as_text, one if isinstance(one, (list, tuple)) else (one,)))
            if not entries or not all(isinstance(entry, str) and entry for entry in entries):
                raise ExportError(
                    f"the path of {shown(name)} must be a non-empty string or a list of them, got {shown(one)}"
                )
            found[name] = entries
        return found

    def path(self, given: Paths, what: str) -> dict[str, str]:
        """Return the path of each domain, for a format that takes only one."""
        found = self.paths(given, what)
        several = [f"{name} ({len(entries)})" for name, entries in found.items() if len(entries) > 1]
        if several:
            raise ExportError(
                f"{self.format} takes one path for each domain, got several for: {listing(several)}; "
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
            raise ExportError(
                f"{what} must be whole numbers above 0 for each domain with a share, got {listing(wrong)}"
            )
        return {name: int(given[name]) for name in self.mixture}

    def lengths(self, tokens: Counts, documents: Counts, why: str) -> tuple[dict[str, int], dict[str, int]]:
        """Return the tokens and the documents of each domain; refuse more documents than tokens."""
        supply, number = self.counts(tokens, "tokens", why), self.counts(documents, "documents", why)
        swapped = [
            f"{name}: {number[name]} documents, {supply[name]} tokens" for name in supply if number[name] > supply[name]
        ]
        if swapped:
            raise ExportError(
                f"more documents than tokens ({listing(swapped)}): give single tokens, not thousands, and check that the two are not swapped"
            )
        return supply, number

    def _known(self, what: str, given: Mapping[str, Any]) -> None:
        if not isinstance(given, Mapping):
            raise ExportError(f"{what} must be a mapping by domain, got {type(given).__name__}")
        if any(name not in given for name in self.mixture):
            raise AlignmentError.between("the mixture", self.mixture, what, given)
        # `mixfast solve --out` drops shares of 0, so a file for all domains may name more; missing names are refused above.
        unused = [name for name in given if name not in self.mixture and name not in self.dropped]
        if unused:
            self.notes.append(f"{what} also names domains that the mixture does not have: {listing(unused)}")

    def elements(self, unit: str | None, tokens: Counts, documents: Counts, *, raw: bool = False) -> Mixture:
        """Return shares of the units that the loader samples.

        Shares of sequences of equal length equal the shares of tokens. The share of documents of domain k is proportional to
        ``share_k / mean tokens of its documents``. ``raw`` loaders sample before they pack, so they need the counts, unless
        the caller states that all elements have equal length.
        """
        if unit not in (None, *UNITS):
            raise ExportError(f"unit is {shown(unit)}, expected sequences or documents")
        if unit is None:
            unit = "documents" if raw or tokens is not None or documents is not None else "sequences"
        if unit == "sequences":
            if tokens is not None or documents is not None:
                raise ExportError(
                    f"{either('tokens and documents', '--tokens and --documents')} convert shares to documents, and "
                    f"{either('unit is sequences', '--unit is sequences')}: leave them out"
                )
            self.notes.append(
                "shares of tokens are used as shares of samples, which is right if all samples have equal length (packed sequences); "
                f"for documents give {either('tokens and documents', '--tokens and --documents')}"
            )
            return self.mixture
        why = (
            "it samples documents, and their mean lengths convert shares of tokens to shares of documents; "
            f"if all elements have equal length, give {either('unit sequences', '--unit sequences')}"
        )
        supply, number = self.lengths(tokens, documents, why)
        scaled = {name: share * (number[name] / supply[name]) for name, share in self.mixture.items()}
        total = math.fsum(scaled.values())
        drawn = Mixture(self.mixture.domains, [value / total for value in scaled.values()])
        apart = max(drawn, key=lambda name: abs(drawn[name] - self.mixture[name]))
        self.notes.append(
            "shares of tokens became shares of documents, by their mean lengths; the largest change: "
            f"{apart} from {self.mixture[apart]:.4g} to {drawn[apart]:.4g}"
        )
        return drawn

    def epochs(self, tokens: Counts, budget: int | None) -> dict[str, float] | None:
        """Return the epochs of each domain, or None if neither tokens nor a budget is given."""
        if tokens is None and budget is None:
            return None
        supply = self.counts(tokens, "tokens", "with budget they determine how often a domain is repeated")
        if budget is None:
            raise ExportError(f"{self.format} needs budget, the tokens of the whole run, together with tokens")
        return self.mixture.epochs(supply, checked_budget(budget))

    def python(self, shares: Mapping[str, float], function: str) -> Export:
        """Finish with a module that has ``SHARES`` by domain and a function; ``{check}`` in it refuses other sources."""
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
        """Finish; in formats with comments, the notes are comments above the text."""
        if suffix in (".yaml", ".py"):
            lines = [f"mixture for {self.format}, written by mixfast", *(f"note: {note}" for note in self.notes)]
            text = "".join(f"# {one_line(line)}\n" for line in lines) + text
        return Export(format=self.format, text=text, suffix=suffix, values=dict(values), notes=tuple(self.notes))


def _no_placeholder(pattern: str) -> str:
    """Return the message for a pattern without ``{domain}``; another placeholder was probably meant."""
    other = re.findall(r"\{[^{}]*\}|%s", pattern)
    meant = pattern.replace(other[0], "{domain}") if other else "/data/{domain}"
    came = f" in place of {other[0]}" if other else ""
    return f"paths is {shown(pattern)}; a pattern for all domains must contain {{domain}}{came}, as in {meant}"


def checked_budget(budget: int) -> int:
    """Return the tokens of a run, a whole number above 0."""
    if not _is_count(budget):
        raise ExportError(f"budget must be a whole number of tokens above 0, got {shown(budget)}")
    return int(budget)


def _as_text(path: Any) -> Any:
    """Return the text of a path object; anything else is returned unchanged and refused later."""
    return os.fspath(path) if isinstance(path, os.PathLike) else path


def _is_count(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and value > 0 and value == int(value)
    except (TypeError, ValueError, OverflowError):
        return False


def one_line(text: str) -> str:
    """Return the text as one printable line: names of domains may have line breaks and control characters."""
    return "".join(character if character.isprintable() else " " for character in text)


def most_changed(made: Mapping[str, float], wanted: Mapping[str, float], least: float) -> list[str]:
    """Return the domain with the largest relative change of its share by rounding; none if that change is below ``least``."""
    change = {name: abs(share / wanted[name] - 1.0) for name, share in made.items()}
    name = max(change, key=change.__getitem__)
    return [name] if change[name] >= least else []


def in_order(names: Iterable[str]) -> str:
    """Return the note with the order of the domains in a list."""
    names = tuple(names)
    return f"the order of the list: {listing(names, limit=len(names))}"
