"""The command reuse: plan an update of the domains, propose after training, and record it in a ledger to which entries are only added."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mixfast._text.names import listing
from mixfast._text.numbers import percent
from mixfast._text.outputs import FIT, MIXTURE
from mixfast._text.table import text_table
from mixfast._text.visible import quote
from mixfast.cli import _documents as documents
from mixfast.cli import _inputs as inputs
from mixfast.cli import _options as shared
from mixfast.cli import _outputs as outputs
from mixfast.cli import _reading as reading
from mixfast.cli import _reuse_plan as plans
from mixfast.cli import _types as types
from mixfast.cli._console import note, say, show
from mixfast.cli._progress import progress
from mixfast.cli._refusals import InputError, note_seed
from mixfast.cli._runs import add_columns, add_runs, read_runs
from mixfast.errors import AlignmentError, MixfastError
from mixfast.mixture import Mixture

if TYPE_CHECKING:
    from mixfast.laws import Fit
    from mixfast.reuse import Ledger, Reuse
    from mixfast.swarm import Swarm

_EXAMPLES = """\
the life of a mixture:
  mixfast reuse start life.yaml --mixture mixture.yaml --tokens counts.yaml --budget 1T
  mixfast reuse add life.yaml maths code2 --tokens new.yaml --swarm-out ratios.csv
  (train a proxy on each row of ratios.csv)
  mixfast reuse propose life.yaml ratios.csv metrics.csv --out mixture.yaml
  mixfast reuse remove life.yaml web_old --out mixture.yaml
  mixfast reuse partition life.yaml pdfs pdfs_law pdfs_science --tokens parts.yaml --swarm-out ratios.csv
  mixfast reuse revise life.yaml code2=code3 --tokens newer.yaml --budget 2T --swarm-out ratios.csv
  mixfast reuse show life.yaml

The ledger keeps token counts, budget and --max-epochs; later updates use them unless they are given again.
An update only prints its plan without --swarm-out (or without --out, if no runs are needed). Domains that no change
affects keep the ratios of their shares. --law, a law over the old domains, predicts what that costs, and --partial
reopens the domains for which it costs too much. To fit such a law to all runs so far, for the next update:
  mixfast reuse propose life.yaml ratios.csv metrics.csv --old ratios0.csv metrics0.csv --law-out law.json --out mixture.yaml
or later, from the files of the runs of all updates:
  mixfast reuse fit life.yaml ratios.csv metrics.csv --old ratios0.csv metrics0.csv --law-out law.json

If two steps start from the same state of the ledger, the first to finish is recorded. The other ends with status 2 and writes nothing.
"""

_MOST_LINES = 12
# Laws for which the loss of freezing domains can be predicted.
_REUSABLE = ("log_linear", "linear")


def add(commands: shared.Commands) -> None:
    """Add the command to the parser."""
    reuse = shared.add_command(commands, "reuse", None, _EXAMPLES)
    steps = reuse.add_subparsers(title="steps", required=True, metavar="STEP")
    _add_start(_add_step(steps, "start", _start, "start a ledger with a mixture"))
    for name, names, words, each in (
        ("add", "NAME", "plan new domains", "new domain"),
        ("remove", "NAME", "remove domains; needs no runs unless domains are reopened", "domain to remove"),
        ("partition", "NAME", "plan the split of a domain into parts", "the domain, then its parts"),
        (
            "revise",
            "NAME|OLD=NEW",
            "plan a revision of existing domains",
            "domain with new content, or its old and new name",
        ),
    ):
        change = _add_step(steps, name, plans.update, words)
        change.set_defaults(change=name)
        change.add_argument("names", metavar=names, nargs="+", help=each)
        plans.options(change)
    _add_propose(
        _add_step(
            steps, "propose", _propose, "fit laws to the trained runs of the plan, propose a mixture and record it"
        )
    )
    _add_fit(_add_step(steps, "fit", _fit, "fit a law to runs of all updates, for --law of the next update"))
    show = _add_step(steps, "show", _show, "print the ledger")
    words = "file to write the current mixture to: .yaml or .json; domains with share 0 are left out"
    show.add_argument("--out", metavar="FILE", help=words)
    shared.add_force(show)


def _add_step(
    steps: shared.Commands, name: str, run: Callable[[argparse.Namespace], int], help: str
) -> argparse.ArgumentParser:
    step = shared.add_step(steps, name, run, help)
    step.add_argument("state", metavar="STATE", help="ledger: .yaml or .json")
    return step


def _add_start(start: argparse.ArgumentParser) -> None:
    start.add_argument("--mixture", metavar="FILE", required=True, help=f"current mixture: {shared.MIXTURES}")
    shared.add_domain_paths(start)
    shared.add_supply(
        start,
        f"tokens of each domain: {shared.COUNTS}; domains that the mixture lacks get share 0",
        "; it holds for every mixture of the ledger",
    )
    start.add_argument("--why", metavar="TEXT", default="first mixture", help="reason, recorded in the ledger")


def _add_propose(propose: argparse.ArgumentParser) -> None:
    add_runs(propose)
    _add_old(propose, "runs of earlier updates, which are used if later changes leave them valid (repeatable)")
    shared.add_law(propose)
    add_columns(propose)
    shared.add_metric_objective(propose, "the objective of the plan")
    propose.add_argument(
        "--kl",
        metavar="NATS",
        type=types.not_negative,
        help="weight of the KL divergence to the prior; default: that of the plan",
    )
    propose.add_argument(
        "--method",
        default="auto",
        help="exact (convex laws only, with a certificate), search, regmix or simulation; auto (default): exact if possible, else search",
    )
    propose.add_argument("--seed", metavar="N", type=types.seed, default=0, help="random seed (default 0)")
    propose.add_argument(
        "--out",
        metavar="FILE",
        help="file to write the mixture to; the ledger records it. Without --out it is only printed",
    )
    propose.add_argument(
        "--law-out",
        metavar="FILE",
        help="with --old, whose runs vary the frozen domains: file to write a law over all domains to, for --law of the next update; "
        "log_linear or linear, whichever has the smaller errors",
    )
    shared.add_force(propose)


def _add_old(step: argparse.ArgumentParser, help: str) -> None:
    step.add_argument("--old", metavar=("RATIOS", "METRICS"), nargs=2, action="append", help=help)


def _add_fit(step: argparse.ArgumentParser) -> None:
    add_runs(step)
    _add_old(step, "runs of other updates (repeatable)")
    words = "law to fit; default: log_linear or linear, whichever has the smaller errors"
    step.add_argument("--law", choices=_REUSABLE, help=words)
    add_columns(step)
    step.add_argument("--seed", metavar="N", type=types.seed, default=0, help="random seed of the folds (default 0)")
    step.add_argument("--law-out", metavar="FILE", required=True, help="file to write the laws to: .json or .npz")
    shared.add_force(step)


def _start(args: argparse.Namespace) -> int:
    from mixfast.reuse import Ledger

    if Path(args.state).exists():
        raise InputError(
            f"{args.state} already exists: a ledger is started once, and continued by add, remove, partition and revise"
        )
    reading.check_paths(args)
    mixture = reading.mixture(args.mixture, args.mixture_paths)
    tokens = None if args.tokens is None else reading.tokens(args)
    shares = mixture.as_dict()
    if tokens is not None:
        if any(name not in tokens for name in shares):
            raise AlignmentError.between(args.mixture, shares, args.tokens, tokens)
        shares |= {name: 0.0 for name in tokens if name not in shares}
    if args.budget is not None and tokens is None:
        raise InputError("--budget limits how often tokens repeat, which needs --tokens too")
    epochs = inputs.named("--max-epochs", args.max_epochs, list(shares))
    if epochs is not None and args.budget is None:
        raise InputError("--max-epochs needs --tokens and --budget: how often tokens repeat follows from both")
    extra = {} if epochs is None else {"max_epochs": epochs}
    ledger = Ledger.start(shares, why=args.why, tokens=tokens, budget=args.budget, **extra)
    plans.write(args.state, ledger, None, {})
    say(f"wrote {args.state}: {len(shares)} domains")
    if args.budget is None:
        note("nothing limits how often domains repeat: --tokens with --budget would, in this mixture and in later ones")
    documents.answer(args, documents.ledger_found(ledger), wrote=[args.state])
    return 0


def _show(args: argparse.Namespace) -> int:
    from mixfast.reuse import Ledger

    plans.check_distinct([args.state, args.out])
    outputs.check(args, out=MIXTURE)
    ledger = Ledger.load(args.state)
    rows = []
    for entry in ledger.entries:
        lost = "" if entry.loss is None else f"{entry.loss:.3g}"
        runs = f"{entry.runs} of {entry.full_runs}" if entry.full_runs else ""
        rows.append([entry.when, entry.kind, str(len(entry.mixture)), str(len(entry.frozen)), runs, lost, entry.why])
    # Reasons can be long, so they are the last column.
    show(text_table(["when", "kind", "domains", "frozen", "runs", "loss", "why"], rows, left=(0, 6)))
    if ledger.pending is not None:
        say(f"open since {ledger.pending.when}: {ledger.pending.why}", plans.after(args.state))
    epochs = None
    if ledger.budget is not None and set(ledger.tokens) == set(ledger.mixture):
        epochs = ledger.mixture.epochs(ledger.tokens, ledger.budget)
    show(f"\n{_shares(ledger.mixture, epochs)}")
    if args.out is not None:
        ledger.mixture.drop_zeros()[0].save(args.out, force=args.force)
        say(f"wrote {args.out}")
    documents.answer(args, documents.ledger_found(ledger), wrote=[args.out])
    return 0


def _propose(args: argparse.Namespace) -> int:
    from mixfast.laws import fit
    from mixfast.proposers import propose
    from mixfast.reuse import Ledger, joined, resume

    plans.check_distinct([args.state, args.out, args.law_out, args.ratios, args.metrics])
    outputs.check(args, out=MIXTURE, law_out=FIT)
    if args.law_out is not None and args.old is None:
        raise InputError("--law-out needs --old: the new runs alone do not vary the frozen domains")
    ledger = Ledger.load(args.state)
    pending = ledger.pending
    if pending is None:
        raise InputError(
            f"{args.state} has no open plan: make one with `mixfast reuse add`, remove, partition or revise; to fit runs without "
            f"a plan: mixfast reuse fit {quote(args.state)} RATIOS METRICS --law-out law.json"
        )
    plan = resume(ledger)
    trained = read_runs(args, args.ratios, args.metrics, others=True)
    try:
        new = plan.collapse_swarm(trained)
    except AlignmentError as problem:
        raise InputError(f"{problem} Give runs of earlier updates with --old RATIOS METRICS") from problem
    kl = pending.kl if args.kl is None else args.kl
    if kl > 0.0 and not plan.region.has_prior:
        raise InputError("--kl needs a prior, and the plan has none: make the plan again with --prior")
    old = [_read_old(args, files, ledger, plan) for files in args.old or ()]
    kept = [each.valid for each in old if each.valid is not None]
    expanded = plan.expand_swarm(new)
    if trained.tokens is not None and set(trained.domains) == set(expanded.domains):
        whole = trained.align(expanded.domains)
        expanded = whole.over(expanded.domains, expanded.ratios, whole.tokens)
    runs = joined([expanded, *kept]) if kept else new
    show(runs.report)
    with progress("fitting"):
        fitted = fit(runs, args.law or "auto", seed=args.seed)
    show(f"\n{fitted.report}\n")
    if args.law_out is not None:
        _save_law(args, [expanded, *(each.all for each in old)], fitted if kept else None)
    law = plan.collapse_law(fitted) if kept else plan.in_target_run(fitted)
    objective = inputs.objective(args.objective or list(pending.objective), law.metrics, "metric")
    with progress("searching"):
        found = propose(law, plan.region, objective=objective, kl=kl, method=args.method, seed=args.seed)
    note_seed(args, found.method)
    mixture = plan.expand(found.mixture)
    show(f"{found.summary()}\n\nThe whole mixture")
    show(_shares(mixture, plan.part.full.epochs(mixture)))
    plans.record(args, ledger.record(plan, mixture, why=pending.why), ledger)
    found_all = {"proposal": found.to_dict(), "mixture": mixture.as_dict(), "epochs": plan.part.full.epochs(mixture)}
    recorded = [args.out, args.state] if args.out is not None else []
    documents.answer(args, {**documents.fit_found(fitted), **found_all}, wrote=[*recorded, args.law_out])
    return outputs.exit_status(found.status)


def _fit(args: argparse.Namespace) -> int:
    from mixfast.reuse import Ledger

    plans.check_distinct([args.state, args.law_out, args.ratios, args.metrics])
    outputs.check(args, law_out=FIT)
    ledger = Ledger.load(args.state)
    files = [(args.ratios, args.metrics), *(args.old or ())]
    fitted = _save_law(args, [_read_old(args, each, ledger).all for each in files], None)
    show(f"{fitted.report}\n")
    say(f"next: mixfast reuse add {quote(args.state)} NAME --law {quote(args.law_out)}")
    documents.answer(args, documents.fit_found(fitted), wrote=[args.law_out])
    return 0


class _Old(NamedTuple):
    """Runs of earlier updates: those that are still valid, and all of them, including shares of removed domains."""

    valid: Swarm | None
    all: Swarm


def _read_old(args: argparse.Namespace, files: Sequence[str], ledger: Ledger, plan: Reuse | None = None) -> _Old:
    """Return the runs of two files over the domains of the plan, or of the ledger without a plan."""
    from mixfast.reuse import ReuseError, carry

    ratios, metrics = files
    old = read_runs(args, ratios, metrics, others=True)
    try:
        whole = carry(old, ledger, plan, keep_gone=True).swarm
    except MixfastError as problem:
        raise InputError(f"{ratios}: {problem}") from problem
    try:
        carried = carry(old, ledger, plan)
    except ReuseError:
        say(
            f"no run of {ratios} is valid for the current domains: all contain domains that were removed or revised since"
        )
        return _Old(None, whole)
    left_out = f"; left out because they contain domains that were removed or revised since: {listing(carried.dropped)}"
    say(f"{len(carried.swarm)} old runs of {ratios} are used{left_out if carried.dropped else ''}")
    return _Old(carried.swarm, whole)


def _save_law(args: argparse.Namespace, swarms: Sequence[Swarm], fitted: Fit | None) -> Fit:
    """Write a law over all domains for the next update: the fitted one if it can be used, else one that is fitted to all runs."""
    from mixfast.laws import fit
    from mixfast.reuse import joined

    runs = joined(swarms)
    # Runs that contain removed domains still inform on the others, so a law that left them out is fitted again.
    if fitted is None or not _reusable(fitted) or set(fitted.domains) != set(runs.domains):
        kinds = [args.law] if args.law in _REUSABLE else list(_REUSABLE)
        with progress("fitting the law for the next update"):
            fitted = fit(runs, kinds, seed=args.seed)
            if not _reusable(fitted):
                # For a metric to maximise, only the linear law predicts the loss of freezing.
                ways = zip(fitted.metrics, fitted.direction, strict=True)
                chosen = {name: "linear" if way == "max" else fitted.laws[name] for name, way in ways}
                fitted = fit(runs, chosen, seed=args.seed)
    fitted.save(args.law_out, force=args.force)
    gone = [name for name in runs.domains if name not in set(swarms[0].domains)]
    beside = f", over the current domains and those of old runs, {listing(gone)}" if gone else ""
    say(
        f"wrote {args.law_out}, for --law of the next update: {listing(dict.fromkeys(fitted.laws.values()))}{beside}",
        "",
    )
    return fitted


def _reusable(fitted: Fit) -> bool:
    ways = zip(fitted.laws.values(), fitted.direction, strict=True)
    return all(kind == "linear" or (kind == "log_linear" and way == "min") for kind, way in ways)


def _shares(mixture: Mixture, epochs: Mapping[str, float] | None) -> str:
    """Return the largest shares as a table, with the sum of the others."""
    order = sorted(mixture, key=lambda name: -mixture[name])
    rows = [
        [name, percent(mixture[name]), *([f"{epochs[name]:.2f}"] if epochs else [])] for name in order[:_MOST_LINES]
    ]
    shown = text_table(["domain", "share", *(["epochs"] if epochs else [])], rows)
    if len(order) <= _MOST_LINES:
        return shown
    rest = math.fsum(mixture[name] for name in order[_MOST_LINES:])
    return f"{shown}\n... and {len(order) - _MOST_LINES} more, {percent(rest)} together"
