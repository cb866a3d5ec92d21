"""The command solve: find the best mixture for a table, and how precisely the data determine it."""

from __future__ import annotations

import argparse

from mixfast import solver
from mixfast._text.outputs import MIXTURE
from mixfast.cli import _documents as documents
from mixfast.cli import _inputs as inputs
from mixfast.cli import _options as shared
from mixfast.cli import _outputs as outputs
from mixfast.cli import _reading as reading
from mixfast.cli import _types as types
from mixfast.cli import _wear_option as wear_option
from mixfast.cli._answer import Answer
from mixfast.cli._console import detail, say, show
from mixfast.cli._experts import add_table, load_table
from mixfast.cli._progress import progress
from mixfast.cli._refusals import InputError, check_seed, is_given, no_effect, refuse_without
from mixfast.cli._solve_report import held_out_report, solve_found, solve_report

_EXAMPLES = """\
examples:
  mixfast solve table.npz
  mixfast solve table.npz --tokens counts.yaml --budget 1T --max-epochs 4 --max-epochs web=1 --out mixture.yaml
  mixfast solve table.npz --cap code=20% --floor books=0.02 --limit "all code:code_*:0.1..0.3" --limit odd:a,b:..1%
  mixfast solve runs/ --task arc_easy --conditional --kl 0.05 --prior today.yaml
  mixfast solve table.npz --tokens counts.yaml --budget 1T --max-epochs 32 --wear 15.4 --wear web=6
  mixfast solve table.npz --objective worst
  mixfast solve tables/ --start mixture.yaml --out mixture.yaml
  mixfast solve table.npz --method eg-paper

exit status:
  0    certified optimal
  1    solved, but the gap is above the tolerance
  2    refused; the reason is one line on stderr
  other statuses: mixfast --help
"""


def add(commands: shared.Commands) -> None:
    """Add the command to the parser."""
    solve = shared.add_command(commands, "solve", _solve, _EXAMPLES)
    add_table(solve)
    shared.add_limits(solve)
    goal = solve.add_argument_group("objective")
    shared.add_objective(
        goal,
        "worst|GROUP[=WEIGHT]",
        "groups of rows to minimise the loss of, with weights (repeatable; * matches several; other groups get weight 0). worst: the largest loss "
        "of a group. Default: the mean of all groups",
    )
    shared.add_kl_options(goal)
    shared.add_wear(goal)
    work = solve.add_argument_group("work")
    work.add_argument(
        "--tol",
        metavar="NATS",
        type=types.positive,
        default=1e-8,
        help="Frank-Wolfe gap at which the solve stops (default 1e-8)",
    )
    work.add_argument(
        "--start",
        metavar="MIXTURE",
        help=f"mixture to start from, such as an earlier answer: {shared.MIXTURES}. If it is still optimal, one sweep of a large table certifies it",
    )
    work.add_argument(
        "--method",
        choices=("auto", "newton", *solver.PAPER_LOOPS),
        default="auto",
        help="auto (default), newton: the certified optimum. eg-paper: the MixMin code, 100 steps of exponentiated gradient, for comparison; it keeps "
        "the last iterate, as the script for language models does. eg-paper-pcba: keeps the iterate before it, as the script for chemistry does. "
        "Neither takes limits, --kl or --objective worst; the printed gap is that of the iterate",
    )
    shared.add_measures(work, 200, "number of bootstrap resamples for the intervals of the shares (default 200)")
    shared.add_held_out(work)
    out = solve.add_argument_group("output")
    out.add_argument(
        "--out",
        metavar="FILE",
        help="file to write the mixture to: .yaml or .json; domains with share 0 are left out, and named in the report",
    )
    shared.add_force(out)
    out.add_argument("--keep-zeros", action="store_true", help="also write domains with share 0")


def _solve(args: argparse.Namespace) -> int:
    # Everything that can be refused without solving is refused first.
    outputs.check(args, out=MIXTURE)
    shared.check_measures(args)
    refuse_without(args, "--keep-zeros", "--out", "it changes the file that is written")
    refuse_without(args, "--prior", "--kl", "the KL term pulls towards the prior, for example --kl 0.05")
    if args.method in solver.PAPER_LOOPS:
        _refuse_measures(args)
    draws = args.held_out is not None or not (args.no_intervals or args.objective == ["worst"])
    check_seed(args, draws, "nothing is random without intervals and without --held-out")
    if args.kl:
        _refuse_with_loop(args)
    if args.start is not None and args.method in solver.PAPER_LOOPS:
        raise InputError(f"{no_effect(['--start'])} with --method {args.method}: its loop starts from equal shares")
    table = load_table(args, args.table)
    where = inputs.region(args, table.domains)
    objective = inputs.objective(args.objective, table.group_names, "group")
    if where is not None or objective == "worst":
        _refuse_with_loop(args)
    wear = wear_option.wear(args.wear, table.domains)
    options = {"kl": args.kl, "objective": objective, "tol": args.tol, "wear": wear, "threads": args.threads}
    with progress("solving"):
        start = reading.start(args, table.domains)
        solution = solver.solve(table, where, method=args.method, start=start, **options)
    _detail(solution)
    answer = _measured(solution, args)
    held_out = None
    if args.held_out is not None:
        with progress("solving without the held-out rows"):
            held_out = solver.holdout(table, where, share=args.held_out, seed=args.seed, **options)
    written = _write(args, answer)
    if args.json:
        documents.answer(args, solve_found(answer, held_out), wrote=[args.out])
        return outputs.exit_status(answer.solution.status)
    show(solve_report(answer))
    if held_out is not None:
        show(f"\nHeld out\n{held_out_report(held_out, answer.limited)}")
    if written:
        say("", written)
    return outputs.exit_status(answer.solution.status)


def _detail(solution: solver.Solution) -> None:
    """Print the steps of the solve, with ``--verbose``."""
    for number, step in enumerate(solution.trace, 1):
        detail(
            f"step {number}: {step.rows:,} rows, {step.domains} domains, value {step.value:.9g}, gap {step.gap:.2e}, {step.seconds:.3f} s"
        )
    detail(f"{solution.status}: gap {solution.gap:.2e}, {solution.seconds:.3f} s, computed by {solution.backend}")


def _refuse_with_loop(args: argparse.Namespace) -> None:
    """Refuse options that the loops of the MixMin code do not have."""
    if args.method in solver.PAPER_LOOPS:
        raise InputError(
            f"--method {args.method} is the loop of the MixMin code, which has no limits, tokens, --kl or --objective worst: "
            "leave these out, or leave out --method"
        )


def _refuse_measures(args: argparse.Namespace) -> None:
    """Refuse options of intervals and ranges, which exist around an optimum only."""
    options = ("--replicates", "--no-intervals", "--eps", "--no-ranges")
    if given := [option for option in options if is_given(args, option)]:
        raise InputError(f"{no_effect(given)} with --method {args.method}: intervals and ranges start from an optimum")
    check_seed(args, args.held_out is not None, f"nothing is random in --method {args.method} without --held-out")


def _measured(solution: solver.Solution, args: argparse.Namespace) -> Answer:
    """Compute the intervals and ranges that were not switched off and that the problem has."""
    intervals = ranges = None
    if args.method in solver.PAPER_LOOPS:  # both start from an optimum
        return Answer(solution, intervals, ranges, args.eps, args.budget, bool(args.out))
    if not solution.worst and not args.no_intervals:
        with progress(f"solving {args.replicates} resamples"):
            intervals = solution.bootstrap(replicates=args.replicates, seed=args.seed)
    if not solution.worst and solution.table.n_domains <= solver.MOST_RANGED and not args.no_ranges:
        with progress("searching the ranges of shares"):
            ranges = solution.ranges(args.eps)
    return Answer(solution, intervals, ranges, args.eps, args.budget, bool(args.out))


def _write(args: argparse.Namespace, answer: Answer) -> str:
    """Write the mixture to ``--out``; return the line that reports it, empty if nothing was written."""
    if args.out is None:
        return ""
    mixture = answer.solution.mixture
    # Most loaders refuse a share of 0.
    kept, dropped = mixture.drop_zeros()
    if args.keep_zeros:
        kept, dropped = mixture, ()
    kept.save(args.out, force=args.force)
    left_out = f"; left out with share 0: {', '.join(dropped)}" if dropped else ""
    return f"wrote {args.out}: {len(kept)} domains{left_out}"
