"""The steps of the command reuse that plan an update: what is frozen, which runs to train, and the files to write."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixfast._text.atomic import write_together
from mixfast._text.names import join_names, listing, split_names
from mixfast._text.numbers import percent, tokens
from mixfast._text.outputs import MIXTURE, RUNS
from mixfast._text.visible import quote
from mixfast.cli import _documents as documents
from mixfast.cli import _inputs as inputs
from mixfast.cli import _options as shared
from mixfast.cli import _outputs as outputs
from mixfast.cli import _reading as reading
from mixfast.cli import _types as types
from mixfast.cli._console import note, say, show, warn
from mixfast.cli._progress import progress
from mixfast.cli._refusals import InputError, is_given, refuse_without
from mixfast.cli._trials import design_text
from mixfast.region import Region

if TYPE_CHECKING:
    from mixfast.designs import Design
    from mixfast.reuse import Ledger, Reuse, Update

# The parts of a split hold the same text as the whole; their token counts may differ by this fraction, for tokens at their borders.
_SPLIT = 0.01


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a planned update."""
    shared.add_limits(parser)
    plan = parser.add_argument_group("plan")
    plan.add_argument(
        "--reopen", metavar="A,B", action="append", help="old domains whose shares are optimised again (repeatable)"
    )
    plan.add_argument(
        "--partial",
        action="store_true",
        help="reopen the old domains for which --law predicts that freezing costs too much",
    )
    plan.add_argument(
        "--hold",
        action="store_true",
        help="freeze shares even if they are above their new caps; the whole frozen block is then scaled down",
    )
    plan.add_argument(
        "--law",
        metavar="LAW",
        help="laws over the old domains, written by `mixfast fit --out` or `mixfast reuse fit`; they predict what freezing costs",
    )
    plan.add_argument(
        "--like",
        metavar="NEW=OLD",
        action="append",
        help="old domain that a new one resembles, for the prediction of --law (repeatable)",
    )
    shared.add_metric_objective(plan)
    shared.add_kl_options(plan)
    plan.add_argument(
        "--virtual", metavar="NAME", default="existing", help="name of the frozen block (default existing)"
    )
    plan.add_argument("--why", metavar="TEXT", help="reason, recorded in the ledger; default: the change")
    plan.add_argument("--replace", action="store_true", help="discard the open plan of the ledger")
    out = parser.add_argument_group("output")
    out.add_argument(
        "--runs", metavar="N", type=types.whole(1), help="number of proxy runs to train; default: the number advised"
    )
    out.add_argument("--seed", metavar="N", type=types.seed, default=0, help="random seed of the runs (default 0)")
    out.add_argument(
        "--swarm-out", metavar="FILE", help="csv file to write the mixtures to train to; the ledger records the plan"
    )
    out.add_argument(
        "--collapsed-out", metavar="FILE", help="also write these mixtures with the frozen block as one domain"
    )
    out.add_argument(
        "--out", metavar="FILE", help="if no runs are needed: file to write the mixture to; the ledger records it"
    )
    shared.add_force(out)


def update(args: argparse.Namespace) -> int:
    """Plan an update; write its runs and record the plan, or, if no runs are needed, record the mixture."""
    from mixfast.designs import rarely_sampled
    from mixfast.reuse import Ledger

    refuse_without(
        args, "--collapsed-out", "--swarm-out", "it writes the same runs with the frozen block as one domain"
    )
    check_distinct([args.state, args.swarm_out, args.collapsed_out, args.out])
    outputs.check(args, swarm_out=RUNS, collapsed_out=RUNS, out=MIXTURE)
    ledger = before = Ledger.load(args.state)
    if ledger.pending is not None:
        if not args.replace:
            raise InputError(
                f"{args.state} has an open plan of {ledger.pending.when} ({ledger.pending.why}): finish it with `mixfast reuse "
                "propose`, or discard it with --replace"
            )
        ledger = replace(ledger, pending=None)
    plan = _plan(args, ledger)
    why = args.why or f"{args.change} {listing(args.names)}"
    show(plan.report)
    if ledger.tokens and plan.part.full.target_tokens is None:
        note(f"{args.state} holds token counts, but without --budget nothing limits how often they repeat")
    if ledger.budget is not None and args.budget is None:
        note(f"budget, tokens and epochs that are not given are taken from {args.state}")
    frozen = [name for name in (plan.coupling.reopen if plan.coupling else ()) if name not in plan.reopened]
    if frozen and not plan.safe:
        say(f"worth reopening: {listing(frozen)} (--partial)")
    if args.hold and not plan.above:
        note("--hold had no effect: no frozen share is above its new cap")
    if plan.runs == 0:
        _check_unused(args, "--runs", "--seed", "--swarm-out", *(("--objective", "--kl") if args.law is None else ()))
        status = record(args, ledger.record(plan, plan.mixture, why=why), before)
        _answer(args, plan, None, [] if args.out is None else [args.out, args.state])
        return status
    _check_unused(args, "--out")
    design = _swarm(args, ledger, plan)
    for line in rarely_sampled(design.rare):
        warn(line)
    if args.swarm_out is None:
        say(f"nothing recorded: --swarm-out ratios.csv writes the {len(design)} runs to train, and records this plan")
        _answer(args, plan, design, [])
        return 0
    planned = ledger.begin(plan, why=why, objective=args.objective or (), kl=args.kl)
    files = {args.swarm_out: design_text(_expanded(plan, design))}
    if args.collapsed_out is not None:
        files[args.collapsed_out] = design_text(design)
    write(args.state, planned, before, files)
    fewer = "" if len(design) >= plan.runs else f", fewer than the {plan.runs} advised"
    say(f"wrote {', '.join(files)}: {len(design)} runs{fewer}", after(args.state, args.swarm_out))
    _answer(args, plan, design, [*files, args.state])
    return 0


def _answer(args: argparse.Namespace, plan: Reuse, design: Design | None, wrote: Sequence[str]) -> None:
    """Print the plan as JSON, with ``--json``."""
    coupling = plan.coupling
    found = {
        "kind": plan.kind,
        "kept": list(plan.update.kept),
        "new": list(plan.update.new),
        "gone": list(plan.update.gone),
        "frozen": plan.frozen.as_dict(),
        "reopened": list(plan.reopened),
        "worth_reopening": [] if coupling is None else [name for name in coupling.reopen if name not in plan.reopened],
        "advised_runs": plan.runs,
        "full_runs": plan.full_runs,
        "loss": plan.loss,
        "doubts": list(plan.warnings),
        "mixture": plan.mixture.as_dict() if design is None else None,
        "runs": None if design is None else documents.design_found(_expanded(plan, design))["runs"],
    }
    documents.answer(args, found, wrote=wrote)


def check_distinct(files: Iterable[str | None]) -> None:
    """Refuse files that would overwrite one another."""
    names = [str(Path(given).resolve()) for given in files if given is not None]
    if len(set(names)) < len(names):
        raise InputError("the ledger and the files to write must have different names")


def _check_unused(args: argparse.Namespace, *options: str) -> None:
    given = [option for option in options if is_given(args, option)]
    if given:
        needs = "needs no runs: its mixture goes to --out" if "--out" not in given else "needs runs: --swarm-out"
        raise InputError(f"leave out {listing(given)}: this update {needs}")


def after(state: str, ratios: str = "RATIOS") -> str:
    """Return the next command for an open plan."""
    return f"next: train them, then mixfast reuse propose {quote(state)} {quote(ratios)} METRICS --out mixture.yaml"


def _plan(args: argparse.Namespace, ledger: Ledger) -> Reuse:
    from mixfast.laws import Fit
    from mixfast.reuse import Update, full, partial

    changes = _changes(args, ledger.mixture)
    made = Update.of(changes, ledger.mixture)
    law = None if args.law is None else Fit.load(args.law)
    reopen = [name for given in args.reopen or () for name in split_names(given, known=made.kept)]
    if args.partial and reopen:
        raise InputError(
            "--partial lets the law choose the domains to reopen, and --reopen names them: leave out one of them"
        )
    if args.partial and law is None:
        raise InputError("--partial needs --law, which chooses the domains to reopen; or name them: --reopen A,B")
    objective = None if law is None else inputs.objective(args.objective, law.metrics, "metric")
    region = _region(args, ledger, made)
    given = {"law": law, "objective": objective, "kl": args.kl, "like": _like(args.like), "virtual": args.virtual}
    refuse_without(args, "--like", "--law", "it is used for the prediction of --law")
    with progress("planning"):
        if args.partial or reopen:
            plan = partial(ledger.mixture, changes, region, reopen=reopen or None, **given)
        else:
            plan = full(ledger.mixture, changes, region, **given)
    _check_caps(args, ledger.mixture, plan, region)
    return plan


def _changes(args: argparse.Namespace, old: Mapping[str, float]) -> Any:
    from mixfast.reuse import Add, Partition, Remove, Revise

    if args.change == "add":
        return Add(args.names)
    if args.change == "remove":
        return Remove(args.names)
    if args.change == "partition":
        if len(args.names) < 2:
            raise InputError(f"partition {args.names[0]}: name the parts after it, two or more")
        return Partition(args.names[0], args.names[1:])
    renamed: dict[str, str] = {}
    for given in args.names:
        before, equals, after = given.partition("=")
        # A name may contain an equals sign.
        one, other = (given, given) if given in old or not equals else (before, after)
        if one in renamed:
            raise InputError(f"{one} is named twice")
        renamed[one] = other
    return Revise(renamed)


def _like(given: list[str] | None) -> dict[str, str]:
    pairs = [text.partition("=") for text in given or ()]
    if wrong := ["".join(pair) for pair in pairs if not (pair[0] and pair[2])]:
        raise InputError(f"--like {listing(wrong)}: expected NEW=OLD")
    return {new: old for new, _, old in pairs}


def _region(args: argparse.Namespace, ledger: Ledger, made: Update) -> Region:
    """Return the limits over the new domains; counts, budget and epochs that are not given come from the ledger."""
    known = {name: count for name, count in ledger.tokens.items() if name in set(made.kept)}
    given = {} if args.tokens is None else reading.tokens(args, told=False)
    budget = ledger.budget if args.budget is None else args.budget
    if budget is not None and (missing := [n for n in made.domains if n not in known and n not in given]):
        which = f"the budget in {args.state}, {budget}," if args.budget is None else f"--budget {budget}"
        where = "give --tokens FILE" if args.tokens is None else f"they are not in {args.tokens}"
        raise InputError(f"{which} limits repetition, which needs the tokens of {listing(missing)}: {where}")
    _check_split(args.state, ledger.tokens, given, made.changes)
    gone = [name for name in made.gone if name not in made.domains]
    if old := [name for name in gone if name in given]:
        note(f"{args.tokens} names domains that this update removes, which are ignored: {listing(old)}")
    with_budget = argparse.Namespace(**{**vars(args), "budget": budget})
    usual = _usual_epochs(ledger.max_epochs, made)
    region = inputs.region(with_budget, made.domains, args.state, known=known, usual=usual, gone=gone)
    return region or Region(made.domains)


def _usual_epochs(known: Mapping[str, float], made: Update) -> dict[str, float]:
    """Return the epochs of each domain, if known: successors get those of their source, other new domains the most frequent value."""
    if not known:
        return {}
    times = Counter(known.values())
    most = max(times, key=lambda epochs: (times[epochs], -epochs))
    return {name: known.get(made.heirs.get(name, name), most) for name in made.domains}


def _check_split(state: str, before: Mapping[str, int], given: Mapping[str, int], changes: Iterable[Any]) -> None:
    from mixfast.reuse import Partition

    for change in changes:
        if not isinstance(change, Partition) or change.parent not in before:
            continue
        if any(part not in given for part in change.parts):
            continue
        parts, whole = sum(given[part] for part in change.parts), before[change.parent]
        if abs(parts - whole) > _SPLIT * whole:
            raise InputError(
                f"the parts of {change.parent} have {tokens(parts)} tokens together, and {state} has {tokens(whole)} "
                f"for it: a partition splits the same data. If the content has changed, revise {change.parent} first"
            )


def _check_caps(args: argparse.Namespace, old: Mapping[str, float], plan: Reuse, region: Region) -> None:
    if plan.above and not args.hold:
        caps = region.by_name(region.cap)
        shown = listing(f"{name} ({percent(old[name])}, cap {percent(caps[name])})" for name in plan.above)
        raise InputError(
            f"frozen shares are above their new caps: {shown}. Reopen them with --reopen {quote(join_names(plan.above))}; or scale the frozen block down "
            f"to {percent(min(plan.part.cap[0], 1.0))} with --hold"
        )


def _swarm(args: argparse.Namespace, ledger: Ledger, plan: Reuse) -> Design:
    """Return the collapsed mixtures to train, with ids that are unique over all updates."""
    from mixfast.designs import design

    with progress("choosing mixtures"):
        found = design(plan.sampling, args.runs if args.runs is not None else plan.runs, seed=args.seed)
    runs = tuple(f"u{len(ledger.entries)}-{run}" for run in found.runs)
    return replace(found, runs=runs, advised=plan.runs)


def _expanded(plan: Reuse, design: Design) -> Design:
    import numpy as np

    rows = [plan.expand(dict(zip(design.domains, row, strict=True))).weights for row in design.ratios.tolist()]
    return replace(design, ratios=np.array(rows), domains=plan.part.full.domains)


def write(state: str, ledger: Ledger, before: Ledger | None, files: Mapping[str, str]) -> None:
    """Write the files and, last, the ledger; write nothing if the ledger on disk is no longer `before`."""
    from mixfast.reuse import Ledger, held

    outputs.check_folder("STATE", state)
    suffix = Path(state).suffix.lower()
    if suffix not in (".yaml", ".yml", ".json"):
        raise InputError(f"{state}: a ledger ends in .yaml, .yml or .json")
    with held(Path(state)):
        if (Ledger.load(state) if Path(state).exists() else None) != before:
            raise InputError(
                f"{state} was changed by another step in the meantime, so nothing was written: check it and repeat this step"
            )
        write_together({**files, state: ledger.to_json() if suffix == ".json" else ledger.to_yaml()})


def record(args: argparse.Namespace, ledger: Ledger, before: Ledger) -> int:
    """Write the mixture and the ledger that records it, if ``--out`` was given."""
    if args.out is None:
        say("nothing recorded: --out mixture.yaml writes the mixture and records it")
        return 0
    write(args.state, ledger, before, {args.out: outputs.mixture_text(ledger.mixture, args.out)})
    say(f"wrote {args.out}, recorded in {args.state}")
    return 0
