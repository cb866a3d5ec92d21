"""What option values mean: NAME=NUMBER, group limits, the region that they define, and objectives."""

from __future__ import annotations

import argparse
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from mixfast._text.names import did_you_mean, listing, matching, split_names, split_quoted, unquoted
from mixfast._text.numbers import number
from mixfast.cli import _reading as reading
from mixfast.cli._refusals import InputError
from mixfast.errors import AlignmentError
from mixfast.region import Bound, Region


def named(option: str, given: Sequence[str] | None, known: Sequence[str], what: str = "domain") -> Any:
    """Return None, one number, or a dict of name to number from repeated ``NUMBER`` and ``NAME=NUMBER``.

    A name may be a pattern; an exact name takes precedence. A number without a name is for all other names.
    """
    if not given:
        return None
    common: list[float] = []
    single: dict[str, float] = {}
    several: dict[str, float] = {}
    source: dict[str, str] = {}
    for text in given:
        name, equals, value = text.rpartition("=")
        share = _number(f"{option} {text}", value, "; for one name, NAME=NUMBER" if ":" in value else "")
        if not equals:
            common.append(share)
            continue
        found = _meant(option, name, known, what)
        if found == [unquoted(name)]:
            if found[0] in single:
                raise InputError(f"{option} names {found[0]} twice")
            single[found[0]] = share
            continue
        for one in found:
            if one in source:
                raise InputError(f"{option} names {one} twice, by {source[one]} and {name}")
            several[one], source[one] = share, name
    if len(common) > 1:
        raise InputError(f"{option} is given more than one number for all: {listing(common)}")
    by_name = several | single
    if not by_name:
        return common[0]
    return dict.fromkeys(known, common[0]) | by_name if common else by_name


def _number(where: str, text: str, hint: str = "") -> float:
    try:
        return number(text)
    except ValueError as problem:
        raise InputError(f"{where}: {problem}{hint}") from None


def _meant(option: str, name: str, known: Sequence[str], what: str) -> list[str]:
    """Return the known names that match a name or a pattern of an option."""
    bare = unquoted(name.strip())
    found = matching(known, bare)
    if not found:
        raise InputError(
            f"{option} names an unknown {what}: {bare}{did_you_mean(bare, known)}; known are: {listing(known)}"
        )
    return found


def limits(given: Sequence[str] | None, domains: Sequence[str]) -> list[Bound] | None:
    """Return the limits from ``NAME:DOMAIN,DOMAIN:LOW..HIGH``; an end may be empty, and a domain may be a pattern or in double quotes."""
    if not given:
        return None
    out = []
    for text in given:
        name, *middle = map(str.strip, split_quoted(text, ":"))
        window = middle.pop() if middle else ""
        members = ":".join(middle)
        low, dots, high = window.partition("..")
        if not (name and members and dots and (low.strip() or high.strip())):
            raise InputError(
                f"--limit {text}: expected NAME:DOMAIN,DOMAIN:LOW..HIGH, for example code:python,c:0.1..0.3 "
                "or code:code_*:..30%; put names that contain a comma or a colon in double quotes"
            )
        chosen: list[str] = []
        for member in split_names(members, known=domains):
            chosen += [one for one in _meant(f"--limit {text}", member, domains, "domain") if one not in chosen]
        lower, upper = (_number(f"--limit {text}", end) if end.strip() else None for end in (low, high))
        _no_more_than_all(f"--limit {text}", (lower or 0.0, upper or 0.0))
        out.append(Bound(unquoted(name), tuple(chosen), lower, upper))
    return out


def _no_more_than_all(what: str, shares: Iterable[float]) -> None:
    """Refuse a share above 1, which usually lacks a percent sign."""
    for share in shares:
        if share > 1.0:
            raise InputError(f"{what}: a share is at most 1, got {share:g}; write a fifth as 0.2 or 20%")


def region(
    args: argparse.Namespace,
    domains: Sequence[str],
    owner: str = "the table",
    *,
    known: Mapping[str, int] | None = None,
    usual: Mapping[str, float] | None = None,
    gone: Collection[str] = (),
) -> Region | None:
    """Return the region that the options define for the domains of the owner, or None if there are no limits.

    ``known`` are counts that the file of ``--tokens`` need not repeat. ``usual`` are the epochs of domains that ``--max-epochs`` does
    not name. ``gone`` are domains that the file may name although the owner has them no longer.
    """
    cap, floor = named("--cap", args.cap, domains), named("--floor", args.floor, domains)
    for text in args.cap or ():
        _no_more_than_all(f"--cap {text}", [number(text.rpartition("=")[2])])
    bounds = limits(args.limit, domains)
    counts = args.tokens is not None or bool(known and args.budget is not None)
    prior = _prior(args, domains, owner)
    epochs = named("--max-epochs", args.max_epochs, domains)
    if not counts:
        if epochs is not None:
            raise InputError("--max-epochs needs --tokens and --budget, from which the repetition of tokens follows")
        if args.budget is not None:
            raise InputError(
                "--budget needs --tokens, the tokens of each domain: the repetition of tokens follows from both"
            )
        if cap is None and floor is None and bounds is None and prior is None:
            return None
        return Region(domains, prior=prior, cap=cap, floor=floor, bounds=bounds)
    if args.budget is None:
        raise InputError("--tokens needs --budget, the tokens of the whole training run, for example --budget 1T")
    counted = {} if args.tokens is None else reading.tokens(args)
    available = dict(known or {}) | {name: tokens for name, tokens in counted.items() if name not in gone}
    same_names(args.tokens or f"the counts in {owner}", available, domains, owner)
    if usual and (epochs is None or isinstance(epochs, dict)):
        epochs = {**usual, **(epochs or {})}
    extra = {} if epochs is None else {"max_epochs": epochs}
    return Region.from_tokens(
        {name: available[name] for name in domains},
        args.budget,
        prior=prior,
        cap=cap,
        floor=floor,
        bounds=bounds,
        **extra,
    )


def _prior(args: argparse.Namespace, domains: Sequence[str], owner: str) -> Any:
    given: str | None = args.prior
    reading.check_paths(args)
    if given in (None, "uniform"):
        return given and dict.fromkeys(domains, 1.0)
    shares = reading.prior_shares(args)
    try:
        same_names(args.prior, shares, domains, owner)
    except AlignmentError as problem:
        if not set(shares) < set(domains):
            raise
        raise AlignmentError(
            f"{problem} Mixture files leave out shares of 0: add them, or write the file with `mixfast solve --keep-zeros`"
        ) from None
    return shares


def same_names(path: str, names: Iterable[str], domains: Sequence[str], owner: str) -> None:
    """Refuse a file whose names differ from those of the owner."""
    if set(names) != set(domains):
        raise AlignmentError.between(path, names, owner, domains)


# Objectives that are not names of groups or metrics.
_OBJECTIVES = {"group": ("worst",), "metric": ("worst", "standardised", "standardized")}


def objective(
    given: Sequence[str] | None, known: Sequence[str], what: str, option: str = "--objective"
) -> dict[str, float] | str | None:
    """Return the objective: None, a word such as "worst", or weights by name from repeated ``NAME`` and ``NAME=WEIGHT``.

    A name without a weight has weight 1. A name may be a pattern; its weight is divided among all names that it matches. Only
    ``--objective`` takes words.
    """
    if not given:
        return None
    words = _OBJECTIVES[what] if option == "--objective" else ()
    if len(given) == 1 and given[0] in words:
        # With one name, "worst" is that name.
        return given[0] if len(known) > 1 else None
    weights: dict[str, float] = {}
    for text in given:
        name, equals, value = text.rpartition("=")
        if text in known or not equals:
            name, value = text, "1"
        if name in words and name not in known:
            others = [one for one in given if one != text]
            alone = "takes no weight" if equals else "is given twice"
            raise InputError(
                f"{option} {name} {f'cannot be combined: leave out {listing(others)}' if others else alone}"
            )
        weight = _number(f"{option} {text}", value)
        if not 0.0 <= weight < math.inf:
            raise InputError(f"{option} {text}: a weight is at least 0, got {weight:g}")
        found = chosen(name, known, what, option=option)
        for one in found:
            if one in weights:
                raise InputError(f"{option} names {one} twice")
            weights[one] = weight / len(found)
    if not any(weights.values()):
        raise InputError(f"{option} gives no {what} a weight above 0")
    return weights


def chosen(name: str, known: Sequence[str], what: str, *, option: str) -> list[str]:
    """Return the known names that match a name, a pattern, or a name without the prefix that all names share."""
    from mixfast.swarm import find_names

    found = matching(known, unquoted(name)) or find_names(known, [unquoted(name)], what)
    return [one for one in found if one is not None] or _meant(option, name, known, what)
