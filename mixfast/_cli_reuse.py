"""The command reuse: a mixture's life in a ledger. Updates are planned, trained, proposed and recorded; nothing past is touched."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixfast import _cli_inputs as inputs
from mixfast import _cli_options as shared
from mixfast import _cli_swarm as swarm_commands
from mixfast import _cli_text as text
from mixfast._cli_inputs import InputError
from mixfast.errors import AlignmentError, listing
from mixfast.mixture import Mixture
from mixfast.region import Region

if TYPE_CHECKING:
    from mixfast.designs import Design
    from mixfast.reuse import Ledger, Reuse
    from mixfast.swarm import Swarm

_EXAMPLES = """\
the life of a mixture:
  mixfast reuse start life.yaml --mixture mixture.yaml --tokens counts.yaml
  mixfast reuse add life.yaml maths code2 --tokens new.yaml --budget 1T --swarm-out ratios.csv
  (train a proxy on each row of ratios.csv)
  mixfast reuse propose life.yaml ratios.csv metrics.csv --out mixture.yaml
  mixfast reuse remove life.yaml web_old --out mixture.yaml
  mixfast reuse partition life.yaml pdfs pdfs_law pdfs_science --tokens parts.yaml --budget 1T --swarm-out ratios.csv
  mixfast reuse revise life.yaml code2=code3 --tokens new.yaml --budget 1T --swarm-out ratios.csv
  mixfast reuse show life.yaml

An update without --swarm-out (where no runs are needed: without --out) only prints its plan. Shares that no change
touches keep their ratios to each other. --law, the old law over the old domains, predicts what that costs, and
--partial reopens the domains that are worth it.
"""

# The parts of a split are the same text as the whole, counted anew: tokens at the seams differ, no more.
_SPLIT = 0.01
_MOST_LINES = 12


def add(commands: Any) -> None:
    """Add the command to the parser."""
    raw = argparse.RawDescriptionHelpFormatter
    reuse = commands.add_parser(
        "reuse",
        help="keep a mixture's ratios when domains are added, removed, split or revised",
        epilog=_EXAMPLES,
        formatter_class=raw,
        allow_abbrev=False,
    )
    steps = reuse.add_subparsers(title="steps", required=True, metavar="STEP")

    def step(name: str, run: Any, help: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = steps.add_parser(name, help=help, allow_abbrev=False)
        parser.set_defaults(run=run)
        parser.add_argument("state", metavar="STATE", help="the ledger: .yaml or .json")
        return parser

    start = step("start", _start, "begin a ledger with a mixture")
    start.add_argument("--mixture", metavar="FILE", required=True, help="the mixture as it is now")
    start.add_argument("--tokens", metavar="FILE", help="tokens of its domains; domains it lacks get the share 0")
    start.add_argument("--why", metavar="TEXT", default="first mixture", help="for those who come later")

    for name, what, words in (
        ("add", "NAME", "plan new domains"),
        ("remove", "NAME", "drop domains; needs no runs unless domains are reopened"),
        ("partition", "NAME", "plan the split of a domain: the parent, then its parts"),
        ("revise", "NAME|OLD=NEW", "plan other content of domains that keep their role"),
    ):
        parser = step(name, _update, words)
        parser.set_defaults(change=name)
        parser.add_argument("names", metavar=what, nargs="+")
        _plan_options(parser)

    propose = step("propose", _propose, "fit the trained runs of the plan, propose, expand and record")
    propose.add_argument("ratios", metavar="RATIOS", help="csv: the mixtures that were trained")
    propose.add_argument("metrics", metavar="METRICS", help="csv: the same runs, a metric a column")
    propose.add_argument(
        "--old",
        metavar=("RATIOS", "METRICS"),
        nargs=2,
        help="runs of before the change: fitted too, where they still say something",
    )
    propose.add_argument("--law", choices=["auto", *swarm_commands.LAWS], default="auto", help="default auto")
    propose.add_argument("--ignore", metavar="COLUMN", action="append", help="a column to leave out (repeated)")
    propose.add_argument(
        "--objective", metavar="worst|METRIC|METRIC=WEIGHT", action="append", help="default: the plan's"
    )
    propose.add_argument("--kl", metavar="NATS", type=shared.checked(inputs.number), help="default: the plan's")
    propose.add_argument("--method", default="auto", help="auto, exact, search or regmix (default auto)")
    propose.add_argument("--seed", metavar="N", type=int, default=0, help="for what is drawn (default 0)")
    propose.add_argument("--out", metavar="FILE", help="write the mixture and record it; without, it is only printed")

    show = step("show", _show, "print the ledger")
    show.add_argument(
        "--out", metavar="FILE", help="write the present mixture: .yaml or .json; shares of 0 are left out"
    )


def _plan_options(parser: argparse.ArgumentParser) -> None:
    shared.limits(parser)
    plan = parser.add_argument_group("plan")
    plan.add_argument("--reopen", metavar="A,B", action="append", help="old domains whose ratios are found anew")
    plan.add_argument("--partial", action="store_true", help="reopen what --law says is worth it")
    plan.add_argument("--hold", action="store_true", help="freeze shares above their new caps all the same")
    plan.add_argument("--law", metavar="LAW", help="the law over the old domains, as `mixfast fit --out` wrote it")
    plan.add_argument("--like", metavar="NEW=OLD", action="append", help="the old domain that a new one acts like")
    plan.add_argument("--objective", metavar="worst|METRIC|METRIC=WEIGHT", action="append", help="what it is for")
    shared.pull(plan)
    plan.add_argument("--virtual", metavar="NAME", default="existing", help="of the frozen block (default existing)")
    plan.add_argument("--why", metavar="TEXT", help="for those who come later; default: the change")
    plan.add_argument("--replace", action="store_true", help="drop the open plan of the ledger")
    out = parser.add_argument_group("output")
    out.add_argument("--runs", metavar="N", type=int, help="proxy runs to train; default: as many as are advised")
    out.add_argument("--seed", metavar="N", type=int, default=0, help="of the runs (default 0)")
    out.add_argument("--swarm-out", metavar="FILE", help="write the mixtures to train as csv, and record the plan")
    out.add_argument("--collapsed-out", metavar="FILE", help="also write them with the frozen block as one domain")
    out.add_argument("--out", metavar="FILE", help="where no runs are needed: write the mixture and record it")


# Begin, and look.


def _start(args: argparse.Namespace) -> int:
    from mixfast.reuse import Ledger

    if Path(args.state).exists():
        raise InputError(f"{args.state} is there already; a ledger is begun once, and continued by add, remove, ...")
    mixture = Mixture.load(args.mixture)
    tokens = None if args.tokens is None else inputs.numbers(args.tokens, inputs.count)
    shares = mixture.as_dict()
    if tokens is not None:
        if any(name not in tokens for name in shares):
            raise AlignmentError.between(args.mixture, shares, args.tokens, tokens)
        shares |= {name: 0.0 for name in tokens if name not in shares}
    ledger = Ledger.start(shares, why=args.why, tokens=tokens)
    _write(args.state, ledger, {})
    print(f"wrote {args.state}: {len(shares)} domains")
    return 0


def _show(args: argparse.Namespace) -> int:
    from mixfast.reuse import Ledger

    shared.check_out(args.out)
    ledger = Ledger.load(args.state)
    rows = []
    for entry in ledger.entries:
        lost = "" if entry.loss is None else f"{entry.loss:.3g}"
        runs = f"{entry.runs} of {entry.full_runs}" if entry.full_runs else ""
        rows.append([entry.when, entry.kind, str(len(entry.mixture)), str(len(entry.frozen)), runs, lost, entry.why])
    print(text.grid(["when", "kind", "domains", "frozen", "runs", "loss", "why"], rows))
    if ledger.pending is not None:
        print(f"open since {ledger.pending.when}: {ledger.pending.why}\n{_after(args.state)}")
    print(f"\n{_shares(ledger.mixture, ledger.tokens, None)}")
    if args.out is not None:
        shared.write_together({args.out: shared.mixture_text(ledger.mixture, args.out)})
        print(f"wrote {args.out}")
    return 0


# Plan.


def _update(args: argparse.Namespace) -> int:
    from mixfast.reuse import Ledger

    shared.check_out(args.out)
    outputs = [args.state, args.swarm_out, args.collapsed_out, args.out]
    for option, given in (("--swarm-out", args.swarm_out), ("--collapsed-out", args.collapsed_out)):
        shared.check_folder(option, given)
    _check_distinct(outputs)
    ledger = Ledger.load(args.state)
    if ledger.pending is not None:
        if not args.replace:
            raise InputError(
                f"{args.state} has an open plan of {ledger.pending.when} ({ledger.pending.why}): finish it by `mixfast reuse "
                "propose`, or drop it with --replace"
            )
        ledger = replace(ledger, pending=None)
    plan = _plan(args, ledger)
    why = args.why or f"{args.change} {', '.join(args.names)}"
    print(plan.report)
    if plan.coupling is not None and plan.coupling.reopen and not plan.safe:
        print(f"worth reopening: {listing(plan.coupling.reopen)} (--partial)")
    if plan.runs == 0:
        _check_unused(args, ("--runs", args.runs), ("--swarm-out", args.swarm_out))
        return _record(args, ledger.record(plan, plan.mixture, why=why))
    _check_unused(args, ("--out", args.out))
    design = _swarm(args, ledger, plan)
    if args.swarm_out is None:
        print(f"nothing recorded: --swarm-out ratios.csv writes the {len(design)} runs to train, and records this plan")
        return 0
    planned = ledger.begin(plan, why=why, objective=args.objective or (), kl=args.kl)
    files = {args.swarm_out: shared.design_text(_expanded(plan, design))}
    if args.collapsed_out is not None:
        files[args.collapsed_out] = shared.design_text(design)
    _write(args.state, planned, files)
    fewer = "" if len(design) >= plan.runs else f", fewer than the {plan.runs} advised"
    print(f"wrote {', '.join(files)}: {len(design)} runs{fewer}\n{_after(args.state, args.swarm_out)}")
    return 0


def _check_distinct(outputs: Iterable[str | None]) -> None:
    names = [str(Path(given).resolve()) for given in outputs if given is not None]
    if len(set(names)) < len(names):
        raise InputError("the ledger and the files to write must have different names")


def _check_unused(args: argparse.Namespace, *options: tuple[str, Any]) -> None:
    given = [option for option, value in options if value is not None]
    if given:
        needs = "needs no runs: its mixture goes to --out" if "--out" not in given else "needs runs: --swarm-out"
        raise InputError(f"leave out {listing(given)}: this update {needs}")


def _after(state: str, ratios: str = "RATIOS") -> str:
    return f"next: train them, then mixfast reuse propose {state} {ratios} METRICS --out mixture.yaml"


def _plan(args: argparse.Namespace, ledger: Ledger) -> Reuse:
    from mixfast.laws import Fit
    from mixfast.reuse import Update, full, partial

    changes = _changes(args, ledger.mixture)
    update = Update.of(changes, ledger.mixture)
    law = None if args.law is None else Fit.load(args.law)
    reopen = [name.strip() for given in args.reopen or () for name in given.split(",")]
    if args.partial and reopen:
        raise InputError("--partial lets the law choose what to reopen, and --reopen names it: leave out one of them")
    if args.partial and law is None:
        raise InputError("--partial needs the old --law, which says what to reopen; or name the domains: --reopen A,B")
    if args.objective and law is not None:
        objective = swarm_commands.objective_of(args.objective, law)
    else:
        objective = None
    region = _region(args, ledger, update)
    options = {"law": law, "objective": objective, "kl": args.kl, "like": _like(args.like), "virtual": args.virtual}
    with shared.progress("planning"):
        if args.partial or reopen:
            plan = partial(ledger.mixture, changes, region, reopen=reopen or None, **options)
        else:
            plan = full(ledger.mixture, changes, region, **options)
    _check_caps(args, ledger.mixture, plan, region)
    return plan


def _changes(args: argparse.Namespace, old: Mapping[str, float]) -> Any:
    from mixfast.reuse import Add, Partition, Remove, Revise

    if args.change == "add":
        return Add(args.names)
    if args.change == "remove":
        return Remove(args.names)
    if args.change == "partition":
        return Partition(args.names[0], args.names[1:]) if len(args.names) > 1 else _no_parts(args.names[0])
    renamed: dict[str, str] = {}
    for given in args.names:
        before, equals, after = given.partition("=")
        # A name may hold the sign itself.
        one, other = (given, given) if given in old or not equals else (before, after)
        if one in renamed:
            raise InputError(f"{one} is named twice")
        renamed[one] = other
    return Revise(renamed)


def _no_parts(parent: str) -> Any:
    raise InputError(f"partition {parent}: name the parts after it, two or more")


def _like(given: list[str] | None) -> dict[str, str]:
    pairs = [text.partition("=") for text in given or ()]
    if wrong := ["".join(pair) for pair in pairs if not (pair[0] and pair[2])]:
        raise InputError(f"--like {listing(wrong)}: expected NEW=OLD")
    return {new: old for new, _, old in pairs}


def _region(args: argparse.Namespace, ledger: Ledger, update: Any) -> Region:
    """The limits over the new domains; counts of domains without a change are those of the ledger where they are not given."""
    known = {name: count for name, count in ledger.tokens.items() if name in set(update.kept)}
    given = {} if args.tokens is None else inputs.numbers(args.tokens, inputs.count)
    if args.budget is not None and (missing := [n for n in update.domains if n not in known and n not in given]):
        where = "give --tokens FILE" if args.tokens is None else f"they are not in {args.tokens}"
        raise InputError(
            f"--budget {args.budget} limits repetition, for which the tokens of {listing(missing)} must be known: {where}"
        )
    _check_split(args.state, ledger.tokens, given, update.changes)
    if args.kl > 0.0 and args.prior is None and args.budget is None:
        raise InputError("--kl pulls towards a prior: name a --prior, or give --tokens and --budget")
    return inputs.region(args, update.domains, args.state, known=known) or Region(update.domains)


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
                f"the parts of {change.parent} have {text.tokens(parts)} tokens together, and {state} has {text.tokens(whole)} "
                f"for it: a partition splits the same data. If its content changed, revise {change.parent} first"
            )


def _check_caps(args: argparse.Namespace, old: Mapping[str, float], plan: Reuse, region: Region) -> None:
    if plan.above and not args.hold:
        caps = dict(zip(region.domains, region.cap.tolist(), strict=True))
        shown = listing(f"{name} ({text.percent(old[name])}, cap {text.percent(caps[name])})" for name in plan.above)
        raise InputError(
            f"frozen shares above their new caps: {shown}. Reopen them: --reopen {','.join(plan.above)}; or --hold the frozen block down "
            f"to {text.percent(min(plan.part.cap[0], 1.0))}"
        )


def _swarm(args: argparse.Namespace, ledger: Ledger, plan: Reuse) -> Design:
    """The collapsed mixtures to train; their ids are those of no other update."""
    from mixfast.designs import design

    with shared.progress("choosing mixtures"):
        found = design(plan.sampling, args.runs if args.runs is not None else plan.runs, seed=args.seed)
    runs = tuple(f"u{len(ledger.entries)}-{run}" for run in found.runs)
    return replace(found, runs=runs, advised=plan.runs)


def _expanded(plan: Reuse, design: Design) -> Design:
    import numpy as np

    rows = [plan.expand(dict(zip(design.domains, row, strict=True))).weights for row in design.ratios.tolist()]
    return replace(design, ratios=np.array(rows), domains=plan.part.full.domains)


# Propose.


def _propose(args: argparse.Namespace) -> int:
    from mixfast.laws import fit
    from mixfast.proposers import propose
    from mixfast.reuse import Ledger, resume
    from mixfast.swarm import Swarm

    shared.check_out(args.out)
    _check_distinct([args.state, args.out, args.ratios, args.metrics])
    ledger = Ledger.load(args.state)
    pending = ledger.pending
    if pending is None:
        raise InputError(f"{args.state} has no open plan: plan one by `mixfast reuse add`, remove, partition or revise")
    plan = resume(ledger)
    trained: Swarm = Swarm.from_csv(args.ratios, args.metrics, ignore=args.ignore or ())
    runs = plan.collapse_swarm(trained)
    kl = pending.kl if args.kl is None else args.kl
    if kl > 0.0 and not plan.region.has_prior:
        raise InputError("--kl pulls towards a prior, and the plan has none: plan it anew with --prior")
    if args.old is not None:
        runs = _with_old(args, ledger, plan, runs)
    print(runs.report)
    with shared.progress("fitting"):
        law = fit(runs, args.law, seed=args.seed)
    if args.old is not None:
        law = plan.collapse_law(law)
    print(f"\n{law.report}\n")
    objective = swarm_commands.objective_of(args.objective or list(pending.objective), law)
    with shared.progress("searching"):
        found = propose(law, plan.region, objective=objective, kl=kl, method=args.method, seed=args.seed)
    mixture = plan.expand(found.mixture)
    print(f"{found.summary()}\n\nThe whole mixture")
    where = plan.part.full
    counts = None if where.available is None else dict(zip(where.domains, where.available.tolist(), strict=True))
    print(_shares(mixture, counts, where.target_tokens))
    _record(args, ledger.record(plan, mixture, why=pending.why))
    return 0 if found.status in ("optimal", "searched") else 1


def _with_old(args: argparse.Namespace, ledger: Ledger, plan: Reuse, runs: Swarm) -> Swarm:
    """The new runs and the old ones that hold no share of what is no more, over all domains."""
    import numpy as np

    from mixfast._reuse_swarm import swarm, together
    from mixfast.swarm import Swarm

    old = Swarm.from_csv(*args.old, ignore=args.ignore or ())
    if not set(old.domains) <= set(ledger.mixture):
        raise AlignmentError.between(args.old[0], old.domains, args.state, ledger.mixture)
    # Domains that came after these runs had no share in them.
    later = [name for name in ledger.mixture if name not in old.domains]
    whole = Swarm(
        np.hstack([old.ratios, np.zeros((len(old), len(later)))]),
        old.values,
        domains=(*old.domains, *later),
        metric_names=old.metrics,
        runs=old.runs,
        chosen=old.chosen,
        direction=old.direction,
        unit=old.unit,
    )
    carried = swarm(whole, plan.update.changes, plan.part.full)
    left_out = (
        f", {len(carried.dropped)} left out for their shares of {listing(plan.update.gone)}" if carried.dropped else ""
    )
    print(f"{len(carried.swarm)} old runs kept{left_out}")
    return together(plan.expand_swarm(runs), carried.swarm)


def _record(args: argparse.Namespace, ledger: Ledger) -> int:
    if args.out is None:
        print("nothing recorded: --out mixture.yaml writes the mixture, and records it")
        return 0
    _write(args.state, ledger, {args.out: shared.mixture_text(ledger.mixture, args.out)})
    print(f"wrote {args.out}, recorded in {args.state}")
    return 0


# Files and text.


def _write(state: str, ledger: Ledger, files: Mapping[str, str]) -> None:
    """Write the files and, last, the ledger: all or none."""
    shared.check_folder("STATE", state)
    suffix = Path(state).suffix.lower()
    if suffix not in (".yaml", ".yml", ".json"):
        raise InputError(f"{state}: a ledger ends in .yaml, .yml or .json")
    shared.write_together({**files, state: ledger.to_json() if suffix == ".json" else ledger.to_yaml()})


def _shares(mixture: Mixture, tokens: Mapping[str, int] | None, budget: int | None) -> str:
    epochs = mixture.epochs(tokens, budget) if tokens and budget else None
    order = sorted(mixture, key=lambda name: -mixture[name])
    rows = [
        [name, text.percent(mixture[name]), *([f"{epochs[name]:.2f}"] if epochs else [])]
        for name in order[:_MOST_LINES]
    ]
    grid = text.grid(["domain", "share", *(["epochs"] if epochs else [])], rows)
    if len(order) <= _MOST_LINES:
        return grid
    rest = math.fsum(mixture[name] for name in order[_MOST_LINES:])
    return f"{grid}\n... and {len(order) - _MOST_LINES} more, {text.percent(rest)} together"
