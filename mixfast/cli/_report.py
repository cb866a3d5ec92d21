"""The command report: one HTML page from a table or proxy runs, and from laws, a mixture, a ledger or a schedule."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixfast._text.atomic import is_stream
from mixfast._text.outputs import PAGE
from mixfast.cli import _documents as documents
from mixfast.cli import _exact as exact
from mixfast.cli import _goals as goals
from mixfast.cli import _inputs as inputs
from mixfast.cli import _options as shared
from mixfast.cli import _outputs as outputs
from mixfast.cli import _reading as reading
from mixfast.cli import _types as types
from mixfast.cli import _wear_option as wear_option
from mixfast.cli._console import say, warn
from mixfast.cli._experts import add_table_options, load_table
from mixfast.cli._progress import progress
from mixfast.cli._refusals import InputError, check_seed, is_given, no_effect, note_seed, refuse_together
from mixfast.cli._runs import add_columns, add_drop_weak, check_folds, drop_weak, read_runs
from mixfast.errors import ProposalError
from mixfast.mixture import Mixture
from mixfast.tables import ExpertTable

if TYPE_CHECKING:
    from mixfast.laws import Fit
    from mixfast.proposers import Proposal, ShareIntervals
    from mixfast.region import Region
    from mixfast.swarm import Swarm

_EXAMPLES = """\
examples:
  mixfast report table.npz --tokens counts.yaml --budget 1T --held-out 0.2 --out report.html
  mixfast report ratios.csv metrics.csv --tokens counts.yaml --budget 1T --kl 0.05 --out report.html
  mixfast report ratios.csv metrics.csv --law law.json --objective pile_cc --replicates 30 --out report.html
  mixfast report ratios.csv metrics.csv --law-kind epochs --target pile_cc --guard '*=1 sd' --reference today.yaml --out report.html
  mixfast report --ledger life.yaml --tokens counts.yaml --budget 1T --out report.html
  mixfast report table.npz --mixture today.yaml --schedule schedule.json --out report.html

One file is a table, which is solved. Two files are proxy runs: laws are fitted, unless --law gives them, and a mixture
is proposed. Sections whose inputs are missing are skipped; the page lists them and how to add them.
"""

# All resamples of a table together cost a few solves. Each resample of runs costs a fit, so they are made only on request.
_REPLICATES = 200


# Options that only some kinds of input use, and the reason.
_ONLY_FOR = {
    ("table",): (
        ("--task", "--conditional", "--held-out", "--wear", "--threads"),
        "this needs a table; runs are held out by --folds, and laws do not model repeated tokens",
    ),
    ("runs",): (
        (
            "--law-kind",
            "--more-is-better",
            "--less-is-better",
            "--ignore",
            "--id",
            "--domains",
            "--metric",
            "--without",
            "--normalise",
            "--run-tokens",
            "--run-budget",
            "--drop-weak",
            "--folds",
        ),
        "this needs laws that are fitted now, to RATIOS METRICS; laws from a file already have their runs, directions and folds",
    ),
    ("table", "runs"): (
        ("--replicates", "--no-intervals"),
        "this needs a table to solve again, or runs to refit laws to: give a TABLE, or RATIOS METRICS",
    ),
    ("runs", "law"): (
        ("--target", "--scale", "--guard", "--reference", "--reach", "--near", "--method"),
        "this needs a mixture that is proposed by laws: give RATIOS METRICS or --law",
    ),
    ("table", "runs", "law"): (
        ("--objective", "--kl", "--seed", "--eps", "--no-ranges"),
        "this needs a mixture that is computed: give a TABLE, RATIOS METRICS or --law",
    ),
}


def add(commands: shared.Commands) -> None:
    """Add the command to the parser."""
    report = shared.add_command(commands, "report", _report, _EXAMPLES)
    report.add_argument(
        "input",
        metavar="TABLE|RATIOS",
        nargs="?",
        help="table of experts, which is solved; or csv file of mixtures, one row for each run",
    )
    report.add_argument(
        "metrics", metavar="METRICS", nargs="?", help="csv file of results: the same runs, one column for each metric"
    )
    report.add_argument("--out", metavar="FILE", required=True, help="page to write: .html")
    shared.add_force(report)
    report.add_argument("--title", metavar="TEXT", default="Mixture report", help="title of the page")
    report.add_argument(
        "--no-explorer",
        action="store_true",
        help="leave out the section on which mixtures are tried, which is JavaScript",
    )
    more = report.add_argument_group("further input")
    more.add_argument(
        "--law", metavar="FILE", help="laws that `mixfast fit --out` wrote; default for runs: fit them now"
    )
    more.add_argument(
        "--mixture", metavar="FILE", help=f"mixture to compare with, such as the current one: {shared.MIXTURES}"
    )
    more.add_argument("--ledger", metavar="FILE", help="ledger of `mixfast reuse`, for the history of the mixture")
    more.add_argument("--schedule", metavar="FILE", help="schedule of a loader, written by MixtureSchedule.to_json")
    table = report.add_argument_group("tables")
    add_table_options(table)
    shared.add_held_out(table)
    runs = report.add_argument_group("runs")
    shared.add_law(runs, "--law-kind")
    add_columns(runs)
    add_drop_weak(runs)
    runs.add_argument(
        "--folds",
        metavar="N",
        type=types.folds,
        default=5,
        help="number of cross-validation folds (default 5); 0: none",
    )
    shared.add_limits(report)
    goal = report.add_argument_group("objective")
    shared.add_objective(
        goal,
        "worst|standardised|NAME[=WEIGHT]",
        "groups of a table, or metrics of laws, to minimise (repeatable; * matches several; others get weight 0). standardised: of laws, the "
        "mean of all metrics, each divided by its standard deviation over the runs",
    )
    goals.add(goal)
    shared.add_kl_options(goal)
    shared.add_wear(goal)
    work = report.add_argument_group("work")
    why = f"number of resamples for the intervals of the shares; default: {_REPLICATES} for a table, none for runs, because each refits the laws"
    shared.add_measures(work, None, why)


def _report(args: argparse.Namespace) -> int:
    from mixfast import report

    if args.domains is not None and args.metrics is None:
        # One file holds mixtures and metrics.
        args.metrics = args.input
    _check(args)
    files: dict[str, str] = {}
    parts: list[object] = []
    _read_around(args, parts, files)
    status = "given"
    if args.metrics is not None or (args.input is None and args.law is not None):
        status = _of_runs(args, parts, files)
    elif args.input is not None:
        status = _of_table(args, parts, files)
    else:
        parts.append(_region_of_mixture(args, parts))
    for path in (args.tokens, args.prior, args.reference, args.near):
        if path is not None and Path(path).exists():
            files[path] = ""
    with progress("making the page"):
        page = report.page(
            *parts,
            title=args.title,
            eps=None if args.no_ranges else args.eps,
            folds=args.folds,
            seed=args.seed,
            files=files,
            call=shlex.join(["mixfast", *args.argv]),
            explorer=not args.no_explorer,
            command=_command(args),
        )
    page.save(args.out, force=args.force)
    say(f"wrote {args.out}: {', '.join(page.sections)}")
    for words in page.warnings:
        warn(words)
    if page.missing:
        say(f"skipped: {', '.join(page.missing)}; the page says how to add them")
    for problem in parts:
        if isinstance(problem, ProposalError):
            warn(str(problem))
    found = {"status": status, "sections": list(page.sections), "missing": page.missing, "doubts": list(page.warnings)}
    documents.answer(args, found, wrote=[args.out])
    return outputs.exit_status(status)


def _command(args: argparse.Namespace) -> list[str] | None:
    """Return the command that answers a goal exactly; None for laws that are fitted here, because no file holds them."""
    if args.input is not None and args.metrics is None:
        return exact.of_table(args, args.input)
    return None if args.law is None else exact.of_laws(args, args.law)


def _check(args: argparse.Namespace) -> None:
    """Refuse, before the work, options that contradict each other or the files."""
    if Path(args.out).suffix.lower() not in PAGE.endings and not is_stream(args.out):
        raise InputError(f"--out {args.out}: a page ends in .html")
    if not any((args.input, args.law, args.mixture, args.ledger, args.schedule)):
        raise InputError("nothing to report: give a TABLE, RATIOS METRICS, --law, --mixture, --ledger or --schedule")
    read = [args.input, args.metrics, args.law, args.mixture, args.ledger, args.schedule, args.tokens, args.prior]
    read += [args.reference, args.near]
    if Path(args.out).resolve() in [Path(path).resolve() for path in read if path is not None]:
        raise InputError(f"--out {args.out} is one of the files that are read")
    if args.input is not None and args.metrics is None and Path(args.input).suffix.lower() == ".csv":
        raise InputError(
            f"{args.input}: runs need two csv files, RATIOS and METRICS; if one file holds both, name the columns of shares with "
            "--domains 'PATTERN*'"
        )
    outputs.check(args, out=PAGE)
    shared.check_measures(args)
    kind = (
        "runs" if args.metrics is not None else "table" if args.input is not None else "law" if args.law else "mixture"
    )
    for kinds, (options, why) in _ONLY_FOR.items():
        given = [option for option in options if is_given(args, option)]
        if given and kind not in kinds:
            raise InputError(f"{no_effect(given)} here: {why}")
    goals.check(args)
    refuse_together(args, "--replicates", "--reach")
    if kind == "table":
        draws = args.held_out is not None or not (args.no_intervals or args.objective == ["worst"])
        check_seed(args, draws, "nothing is random without intervals and without --held-out")
    if args.law is not None:
        for option in ("--law-kind", "--more-is-better", "--less-is-better"):
            refuse_together(args, option, "--law")


def _read_around(args: argparse.Namespace, parts: list[object], files: dict[str, str]) -> None:
    """Read the mixture, the ledger and the schedule."""
    if args.mixture is not None:
        mixture = reading.mixture(args.mixture, args.mixture_paths)
        parts.append(mixture)
        files[args.mixture] = f"{len(mixture)} domains"
    if args.ledger is not None:
        from mixfast.reuse import Ledger

        ledger = Ledger.load(args.ledger)
        parts.append(ledger)
        files[args.ledger] = f"{len(ledger.entries)} updates"
    if args.schedule is not None:
        schedule = reading.schedule(args.schedule)
        parts.append(schedule)
        files[args.schedule] = f"{len(schedule.changes) - 1} changes"


def _of_table(args: argparse.Namespace, parts: list[object], files: dict[str, str]) -> str:
    """Solve the table, with intervals and held-out losses; return the status."""
    from mixfast import solver

    table = load_table(args, args.input)
    if isinstance(table, ExpertTable):
        files[args.input] = f"{table.n_rows:,} x {table.n_domains:,}"
    where = inputs.region(args, table.domains)
    objective = inputs.objective(args.objective, table.group_names, "group")
    options: dict[str, Any] = {
        "kl": args.kl,
        "objective": objective,
        "wear": wear_option.wear(args.wear, table.domains),
        "threads": args.threads,
    }
    with progress("solving"):
        solution = solver.solve(table, where, **options)
    parts.append(solution)
    if args.law is not None:
        parts.append(_load_law(args, files))
    if table.kind == "ce" and not solution.worst and not args.no_intervals:
        replicates = args.replicates or _REPLICATES
        with progress(f"solving {replicates} resamples"):
            parts.append(solution.bootstrap(replicates=replicates, seed=args.seed))
    if args.held_out is not None:
        with progress("fitting for the held-out losses"):
            parts.append(solver.holdout(table, where, share=args.held_out, seed=args.seed, **options))
    return solution.status


def _of_runs(args: argparse.Namespace, parts: list[object], files: dict[str, str]) -> str:
    """Fit laws unless they are given, propose, and compute intervals; return the status."""
    from mixfast.laws import fit, in_run_of
    from mixfast.proposers import propose

    swarm = None
    if args.metrics is not None:
        swarm = drop_weak(args, read_runs(args, args.input, args.metrics))
        check_folds(args, swarm)
        files[args.input] = f"{len(swarm)} runs x {len(swarm.domains)} domains"
        files[args.metrics] = f"{len(swarm)} runs x {len(swarm.metrics)} metrics"
    if args.law is not None:
        law = _load_law(args, files)
    elif swarm is not None:
        with progress("fitting"):
            law = fit(swarm, args.law_kind or "auto", seed=args.seed, folds=args.folds)
    where = inputs.region(args, law.domains, args.law or args.input)
    if where is not None:
        law = in_run_of(law, where)
    owner = args.law or args.input
    options: dict[str, Any] = {"objective": goals.objective(args, law), "kl": args.kl, "method": args.method or "auto"}
    options |= goals.options(args, law, owner)
    try:
        with progress("searching"):
            if args.reach is None:
                found: Proposal = propose(law, where, seed=args.seed, **options)
            else:
                found = goals.reached(args, law, where, owner)
    except ProposalError as problem:
        # The page still shows how well the laws predict.
        parts += [problem, law, swarm]
        return "none"
    if swarm is None:
        note_seed(args, found.method)
    parts += [found, law, swarm]
    if args.replicates is not None and swarm is not None and not args.no_intervals:
        parts.append(_intervals(args, swarm, law, where, options))
    return found.status


def _intervals(
    args: argparse.Namespace, swarm: Swarm, law: Fit, where: Region | None, options: dict[str, Any]
) -> ShareIntervals:
    """Propose from refits to halves of the runs; each metric keeps its law."""
    from mixfast.laws import fit
    from mixfast.proposers import bootstrap
    from mixfast.region import Region

    region = where or Region(law.domains)
    chosen = {swarm.metric(name): kind for name, kind in law.laws.items()}
    with progress(f"refitting {args.replicates} halves of the runs"):
        return bootstrap(
            swarm.select(list(chosen)),
            chosen,
            region,
            fit=lambda some, laws: fit(some, laws, folds=0),
            draws=args.replicates,
            seed=args.seed,
            **options,
        )


def _load_law(args: argparse.Namespace, files: dict[str, str]) -> Fit:
    from mixfast.laws import Fit

    law = Fit.load(args.law)
    files[args.law] = f"{len(law.domains)} domains, {len(law.metrics)} metrics"
    return law


def _region_of_mixture(args: argparse.Namespace, parts: list[object]) -> Region | None:
    """Return the limits and counts for a mixture that is not computed."""
    from mixfast.reuse import Ledger

    for part in parts:
        if isinstance(part, Mixture):
            return inputs.region(args, part.domains, args.mixture)
        if isinstance(part, Ledger):
            return inputs.region(args, part.mixture.domains, args.ledger, known=part.tokens)
    return None
