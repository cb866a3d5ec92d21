"""What a proposal must keep and reach, as options of the commands propose and report: targets, scales, guards and goals."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mixfast._text.names import listing, unquoted
from mixfast.cli import _inputs as inputs
from mixfast.cli import _reading as reading
from mixfast.cli._options import MIXTURES, Group
from mixfast.cli._refusals import InputError, is_given

if TYPE_CHECKING:
    from mixfast.laws import Fit
    from mixfast.proposers import LeastChange
    from mixfast.region import Region

_SCALES = ("spread", "noise", "reference")
# Options that say what to minimise, which --reach does by itself.
_OBJECTIVE = ("--objective", "--target", "--scale", "--kl", "--reference", "--olmix-config")


def add(group: Group) -> None:
    """Add the options to the parser of a command that proposes."""
    group.add_argument(
        "--target",
        metavar="METRIC[=WEIGHT]",
        action="append",
        help="the same as --objective METRIC[=WEIGHT]: a metric to improve (repeatable)",
    )
    group.add_argument(
        "--scale",
        choices=_SCALES,
        help="divide each metric of the objective by its standard deviation over the runs (spread), by its seed standard deviation (noise), or by "
        "its predicted value at the reference mixture (reference)",
    )
    group.add_argument(
        "--guard",
        metavar="METRIC=AMOUNT",
        action="append",
        help="limit how much worse than at the reference mixture a metric may get: by a number in its unit, '1 sd' (seed noise) or '2 %%' (repeatable; "
        "* alone: every metric that the objective does not name; other patterns match several; if several match, the full name or the longest "
        "pattern counts)",
    )
    group.add_argument(
        "--reference",
        metavar="FILE",
        help=f"mixture that --guard and --scale compare with: {MIXTURES}; default: the prior",
    )
    group.add_argument(
        "--reach",
        metavar="GOAL",
        action="append",
        help="find the mixture nearest to --near that reaches a goal. Quote the goal: 'METRIC<=0.9', 'METRIC>=0.6' if more is better, 'METRIC=2 %% better' or "
        "'METRIC=1 sd better' than at --near (repeatable; * matches several)",
    )
    group.add_argument(
        "--near", metavar="FILE", help=f"mixture to stay near with --reach: {MIXTURES}; default: the prior"
    )
    group.add_argument(
        "--method",
        help="exact (convex laws only, with a certificate), search, regmix or simulation; auto (default): exact if possible, else search",
    )


def check(args: argparse.Namespace) -> None:
    """Refuse combinations of options of which one would have no effect."""
    if args.reach is not None:
        given = [option for option in _OBJECTIVE if is_given(args, option)]
        if given:
            raise InputError(
                f"--reach finds the least change that reaches the goals, so {listing(given)} would have no effect: leave out one of them"
            )
    elif args.near is not None:
        raise InputError("--near has no effect without --reach: it is the mixture that --reach changes least")
    if args.target is not None and args.objective is not None:
        raise InputError("--target and --objective are the same: give one of them, repeated for several metrics")
    if args.reference is not None and args.guard is None and args.scale is None:
        raise InputError("--reference has no effect without --guard or --scale, which compare with it")


def objective(args: argparse.Namespace, law: Fit) -> dict[str, float] | str | None:
    """Return the objective that ``--objective`` or ``--target`` defines."""
    option = "--objective" if args.target is None else "--target"
    return inputs.objective(args.objective or args.target, law.metrics, "metric", option)


def options(args: argparse.Namespace, law: Fit, owner: str) -> dict[str, Any]:
    """Return the other arguments of `propose` that the options define; `owner` is the file of the law."""
    out: dict[str, Any] = {"scale": args.scale, "guard": _guard(args, law)}
    if args.reference is not None:
        out["reference"] = reading.shares(args, "reference", law.domains, owner)
    return out


def reached(args: argparse.Namespace, law: Fit, region: Region | None, owner: str) -> LeastChange:
    """Return the least change that reaches the goals of ``--reach``; `owner` is the file of the law."""
    from mixfast.proposers import reach

    return reach(
        law,
        region,
        _chosen("--reach", [_goal(text, law.metrics) for text in args.reach], law.metrics),
        near=None if args.near is None else reading.shares(args, "near", law.domains, owner),
        guard=_guard(args, law),
        method=args.method or "auto",
        seed=args.seed or 0,
    )


def _guard(args: argparse.Namespace, law: Fit) -> dict[str, str] | None:
    if args.guard is None:
        return None
    entries = []
    for text in args.guard:
        name, equals, amount = text.rpartition("=")
        if not (equals and name.strip() and amount.strip()):
            raise InputError(
                f"--guard {text}: expected METRIC=AMOUNT, how much worse the metric may be: a number in its unit, '1 sd' or '2 %'"
            )
        entries.append((name, amount.strip(), text))
    return _chosen("--guard", entries, law.metrics)


def _goal(text: str, metrics: Sequence[str]) -> tuple[str, str, str]:
    """Return the name and the goal of ``METRIC<=VALUE``, ``METRIC>=VALUE`` or ``METRIC=CHANGE``, and the text itself."""
    name, equals, value = text.rpartition("=")
    sign = ""
    if name[-1:] in ("<", ">") and unquoted(name.strip()) not in metrics:
        name, sign = name[:-1], f"{name[-1]}= "
    if not (equals and name.strip() and value.strip()):
        raise InputError(
            f"--reach {text}: expected a goal in quotes, as 'METRIC<=0.9', 'METRIC>=0.6' if more is better, or 'METRIC=2 % better'"
        )
    return name, f"{sign}{value.strip()}", text


def _chosen(option: str, entries: Sequence[tuple[str, str, str]], metrics: Sequence[str]) -> dict[str, str]:
    """Return the amount of each metric that an entry names or matches: a name before the longest pattern, and ``*`` as it is."""
    found: dict[str, str] = {}
    exact: dict[str, str] = {}
    rest: dict[str, str] = {}
    for name, amount, text in sorted(entries, key=lambda entry: len(entry[0])):
        bare = unquoted(name.strip())
        if bare == "*" and bare not in metrics:
            if rest:
                raise InputError(f"{option} {text}: * is given twice")
            rest[bare] = amount
            continue
        matched = inputs.chosen(name.strip(), metrics, "metric", option=option)
        if bare in metrics or not any(mark in bare for mark in "*?["):
            if matched[0] in exact:
                raise InputError(f"{option} names {matched[0]} twice")
            exact[matched[0]] = amount
        else:
            found.update(dict.fromkeys(matched, amount))
    return {**rest, **found, **exact}
