"""Ledger: the updates of a mixture in order, with dates, reasons and frozen ratios, and the planned update."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mixfast._text.atomic import write_text
from mixfast._text.json import is_json, json_value, read_json
from mixfast._text.kinds import kind_of, other_kind
from mixfast._text.names import listing
from mixfast._text.sized import text_of
from mixfast._text.visible import visible, visible_json
from mixfast._text.yaml import read_yaml, write_yaml
from mixfast.errors import AlignmentError
from mixfast.mixture import FORMAT, NINE_DIGITS, Mixture
from mixfast.region import DEFAULT_MAX_EPOCHS, Region
from mixfast.reuse._changes import ReuseError
from mixfast.reuse._descent import Version, check_descent
from mixfast.reuse._entries import (
    Entry,
    Pending,
    change_of,
    checked_day,
    checked_reason,
    described,
    limits_of,
    region_of,
)
from mixfast.reuse._ledger_file import contents, document_of, held
from mixfast.reuse._plan import partial
from mixfast.reuse._reuse import Reuse


@dataclass(frozen=True, repr=False)
class Ledger:
    """The updates of a mixture in order; each `record` returns a new ledger.

    Attributes
    ----------
    entries : tuple of Entry
    pending : Pending or None
        The update that is planned but not recorded yet, see `begin`.

    Examples
    --------
    >>> ledger = Ledger.start(Mixture(["web", "code"], [0.75, 0.25]), why="first swarm", when="2026-01-31")
    >>> Ledger.from_yaml(ledger.to_yaml()) == ledger
    True
    """

    entries: tuple[Entry, ...]
    pending: Pending | None = None
    # The states this ledger was made from, its own last: `save` only replaces a file that holds one of these.
    _descent: tuple[Version, ...] = field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        # dataclasses.replace passes on the descent of the old ledger, so that the new one extends it.
        object.__setattr__(self, "_descent", (*self._descent, Version(self.entries, self.pending)))

    def __repr__(self) -> str:
        last = self.entries[-1] if self.entries else None
        what = "empty" if last is None else f"{len(self.entries)} updates, the last on {last.when}: {last.why}"
        plan = "" if self.pending is None else f"; open plan: {self.pending.why}"
        return visible(f"Ledger({what}; {len(last.mixture) if last else 0} domains{plan})")

    @classmethod
    def start(
        cls,
        mixture: Mapping[str, float],
        *,
        why: str,
        when: str | None = None,
        tokens: Mapping[str, int] | None = None,
        budget: int | None = None,
        max_epochs: float | Mapping[str, float] = DEFAULT_MAX_EPOCHS,
    ) -> Ledger:
        """Return the ledger of a first mixture.

        Parameters
        ----------
        mixture : Mixture or mapping of str to float
        why, when
            As for `record`.
        tokens : mapping of str to int, optional
            Tokens of each domain.
        budget : int, optional
            Tokens of the whole run. If given, ``tokens`` and ``max_epochs`` limit how often a domain is repeated.
        max_epochs : number or mapping of str to number
            As for `Region.from_tokens`.

        Raises
        ------
        ReuseError
            If a budget is given without tokens, or the mixture repeats a domain more often than allowed.
        AlignmentError
            If tokens and mixture name different domains.
        RegionError, InfeasibleError
            If a count is not an integer, or the tokens are too few for the budget.
        """
        first = Mixture.from_dict(dict(mixture)).as_dict()
        if tokens is not None and set(tokens) != set(first):
            raise AlignmentError.between("the token counts", tokens, "the mixture", first)
        entry = Entry(
            when=checked_day(when),
            why=checked_reason(why),
            kind="start",
            mixture=first,
        )
        if tokens is None:
            if budget is not None:
                raise ReuseError(
                    f"a budget of {budget} limits how often tokens repeat, which needs the token counts: give both"
                )
            return cls((entry,))
        known = {name: int(tokens[name]) for name in first}
        if budget is None:
            return cls((replace(entry, tokens=known),))
        region = Region.from_tokens(known, budget, max_epochs=max_epochs)
        caps = region.by_name(region.cap)
        over = [
            f"{name} ({first[name]:.4g}, cap {cap:.4g})"
            for name, cap in caps.items()
            if first[name] > cap + NINE_DIGITS
        ]
        if over:
            raise ReuseError(
                f"in a run of {budget:,} tokens, the mixture repeats domains more often than allowed: {listing(over)}; choose a mixture "
                "within these caps, allow more epochs, or give no budget"
            )
        return cls((replace(entry, **_counts(region)),))

    @property
    def mixture(self) -> Mixture:
        """The present mixture, from which the next update starts."""
        return Mixture.from_dict(self.entries[-1].mixture)

    @property
    def tokens(self) -> dict[str, int]:
        """Tokens of the present domains, as far as the updates gave them."""
        return dict(self.entries[-1].tokens)

    @property
    def budget(self) -> int | None:
        """Tokens of the whole run in the last update; None if no budget was given."""
        return self.entries[-1].budget

    @property
    def max_epochs(self) -> dict[str, float]:
        """How often the tokens of the present domains may be read; empty without a budget."""
        return dict(self.entries[-1].max_epochs)

    def begin(
        self, plan: Reuse, *, why: str, objective: Iterable[str] = (), kl: float = 0.0, when: str | None = None
    ) -> Ledger:
        """Return the ledger with a planned update, which replaces any other plan; `reuse.resume` rebuilds the plan.

        Parameters
        ----------
        plan : Reuse
            Made from this ledger's present mixture.
        why, when
            As for `record`.
        objective, kl
            Arguments of the later proposal.

        Raises
        ------
        ReuseError, AlignmentError
            If the plan was made from another mixture.
        """
        self._check(plan)
        pending = Pending.of(
            plan, why=checked_reason(why), when=checked_day(when), objective=tuple(objective), kl=float(kl)
        )
        return replace(self, pending=pending)

    def record(self, plan: Reuse, mixture: Mapping[str, float], *, why: str, when: str | None = None) -> Ledger:
        """Return the ledger with one more update.

        Parameters
        ----------
        plan : Reuse
            Made from this ledger's present mixture.
        mixture : Mixture or mapping of str to float
            The resulting mixture, over all domains or over the plan's collapsed ones.
        why : str
            The reason of the update.
        when : str, optional
            Date in ISO 8601; today's by default.

        Raises
        ------
        ReuseError
            If the plan was made from another mixture, or the result does not have its frozen ratios; this ledger is unchanged.
        """
        update = plan.update
        self._check(plan)
        if self.pending is not None and self.pending.changes != tuple(map(described, update.changes)):
            raise ReuseError(
                f"the plan of {self.pending.when} ({self.pending.why}) is open: record it, or drop it with "
                "dataclasses.replace(ledger, pending=None)"
            )
        if set(mixture) == set(plan.part.domains):
            result = plan.expand(mixture)
        else:
            plan.collapse(mixture)  # raises if domains or ratios differ
            result = Mixture.from_dict(dict(mixture))
        entry = Entry(
            when=checked_day(when),
            why=checked_reason(why),
            kind=plan.kind,
            changes=tuple(map(described, update.changes)),
            virtual=plan.virtual,
            frozen=plan.frozen.as_dict(),
            reopened=plan.reopened,
            runs=plan.runs,
            full_runs=plan.full_runs,
            loss=plan.loss,
            warnings=plan.warnings,
            mixture=result.as_dict(),
            **self._counted(plan),
        )
        return replace(self, entries=(*self.entries, entry), pending=None)

    # Files.

    def to_yaml(self) -> str:
        """Return the ledger as YAML."""
        return write_yaml(document_of(self.entries, self.pending), quoted=True)

    def to_json(self) -> str:
        """Return the ledger as JSON."""
        return visible_json(json.dumps(document_of(self.entries, self.pending), indent=2, ensure_ascii=False)) + "\n"

    @classmethod
    def from_yaml(cls, text: str) -> Ledger:
        """Read the text of `to_yaml`; raise `ReuseError` if its version is unknown or its checksum does not match."""
        return cls(*contents(read_yaml(text, ReuseError, plain=json_value)))

    @classmethod
    def from_json(cls, text: str) -> Ledger:
        """Read the text of `to_json`; errors as for `from_yaml`."""
        return cls(*contents(read_json(text, ReuseError)))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the ledger to ``path`` as YAML, or as JSON if it ends in ``.json``. An existing file is replaced by a complete new one.

        If two ledgers are made from the same state of a file, in any processes or threads, one is saved and the other refused.

        Raises
        ------
        ReuseError
            If the existing file is not a ledger; if it changed since this ledger was loaded from it or saved to it; or, if this ledger
            was neither, if the file has an update or an open plan that would be lost. Also if
            another process keeps the file locked.

        Notes
        -----
        The file is locked with `flock` while it is compared and replaced. On systems without `flock`, such as Windows, a file ``.NAME.lock``
        beside it is the lock. A killed process leaves it behind; the error message of the next process names it.
        """
        target = Path(path)
        text = self.to_json() if is_json(target, "a ledger file", ReuseError) else self.to_yaml()
        with held(target):
            if target.exists():
                there = Ledger.load(target)
                check_descent(target, there._descent[-1], self._descent)
            write_text(target, text)
            self._descent[-1].is_in(target)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Ledger:
        """Read a file that `save` wrote; errors as for `from_yaml`, with the path."""
        source = Path(path)
        if source.exists() and not source.is_file():
            # A pipe, too: reading it would block.
            raise ReuseError(
                f"{source} is {'a folder' if source.is_dir() else 'not a regular file'}, expected a ledger (yaml or json)"
            )
        if kind_of(source) == "empty":
            raise ReuseError(other_kind(source, "a ledger (yaml or json)"))
        read = cls.from_json if is_json(source, "a ledger file", ReuseError) else cls.from_yaml
        try:
            text = text_of(source, ReuseError, encoding="utf-8")
            if FORMAT in text[:80]:
                raise ReuseError(
                    "this is a mixture, expected a ledger; `mixfast reuse start LEDGER --mixture FILE` begins one with it"
                )
            found = read(text)
        except (ReuseError, UnicodeDecodeError) as problem:
            raise ReuseError(f"{source}: {problem}") from problem
        found._descent[-1].is_in(source)
        return found

    # Inside.

    def _check(self, plan: Reuse) -> None:
        """Raise an error if a plan was made from another mixture."""
        old, update = self.mixture, plan.update
        if set(old) != {*update.kept, *update.gone}:
            raise AlignmentError.between(
                "the ledger's mixture", old, "the plan's old domains", update.kept + update.gone
            )
        total = sum(old[name] for name in plan.frozen)
        moved = [name for name, ratio in plan.frozen.items() if abs(old[name] - total * ratio) > NINE_DIGITS]
        if moved:
            raise ReuseError(
                f"the plan was not made from the ledger's last mixture: the shares of {listing(moved)} differ; plan from ledger.mixture"
            )

    def _counted(self, plan: Reuse) -> dict[str, Any]:
        """Return the counts after an update: those of the plan, or if it had none, the known ones of unchanged domains."""
        if plan.part.full.available is not None:
            return _counts(plan.part.full)
        kept = set(plan.update.kept)
        tokens = {name: count for name, count in self.tokens.items() if name in kept}
        epochs = {name: most for name, most in self.max_epochs.items() if name in kept}
        return {"tokens": tokens, "budget": self.budget, "max_epochs": epochs}


def resume(ledger: Ledger) -> Reuse:
    """Rebuild the plan that `Ledger.begin` stored, with its frozen ratios, limits and predictions.

    Raises
    ------
    ReuseError
        If no update is planned.

    Examples
    --------
    >>> from mixfast.region import Region
    >>> from mixfast.reuse import Add, full
    >>> ledger = Ledger.start({"web": 0.75, "code": 0.25}, why="first swarm")
    >>> plan = full(ledger.mixture, Add(["math"]), Region(["web", "code", "math"]))
    >>> resume(ledger.begin(plan, why="maths added")).frozen == plan.frozen
    True
    """
    pending = ledger.pending
    if pending is None:
        raise ReuseError("the ledger has no open plan: plan an update first")
    changes = [change_of(change) for change in pending.changes]
    plan = partial(ledger.mixture, changes, region_of(pending.region), reopen=pending.reopened, virtual=pending.virtual)
    return replace(plan, kind=pending.kind, loss=pending.loss, warnings=pending.warnings, notes=())


def _counts(region: Region) -> dict[str, Any]:
    """Return the token counts of a region as an entry stores them."""
    limits = limits_of(region)
    return {"tokens": limits["available"], "budget": limits["target_tokens"], "max_epochs": limits["max_epochs"]}
