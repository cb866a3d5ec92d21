"""The command `mixfast`: solve, info, score, design, fit, compare, propose, next, reuse, report, export and demo. The only part of mixfast, with the reports, that prints."""

from __future__ import annotations

import argparse
import errno
import json
import math
import os
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

from mixfast import solver
from mixfast.cli import _design as design_commands
from mixfast.cli import _export as export_command
from mixfast.cli import _inputs as inputs
from mixfast.cli import _options as shared
from mixfast.cli import _report as report_command
from mixfast.cli import _reuse as reuse_commands
from mixfast.cli import _score as score_command
from mixfast.cli import _solve_report as text
from mixfast.cli import _swarm as swarm_commands
from mixfast.cli._inputs import InputError
from mixfast.errors import MixfastError
from mixfast.region import Region
from mixfast.tables import ExpertTable

__all__ = ["main"]

OK, NOT_CERTIFIED, REFUSED, INTERRUPTED = 0, 1, 2, 130

# Shorter than this, nobody wonders whether it still runs.
_QUIET_SECONDS = 1.0
# Ranges need the Hessian over all domains and two searches for each: beyond this many they cost more than the rest.
_MOST_RANGED = 500
_DATA = Path(__file__).resolve().parent.parent / "data"
_SAMPLE = ("demo.npz", "demo_tokens.yaml", "demo_ratios.csv", "demo_metrics.csv", "demo_models.csv")

_SOLVE_EXAMPLES = """\
examples:
  mixfast solve table.npz
  mixfast solve table.npz --tokens counts.yaml --budget 1T --max-epochs 4 --max-epochs web=1 --out mixture.yaml
  mixfast solve table.npz --cap code=20% --floor books=0.02 --limit "all code:code_*:0.1..0.3" --limit odd:a,b:..1%
  mixfast solve runs/ --task arc_easy --conditional --kl 0.05 --prior today.yaml
  mixfast solve table.npz --objective worst

exit status:
  0    certified optimal
  1    solved, but the gap is above the tolerance
  2    refused; the reason is one line on stderr
  130  interrupted
"""


class _Parser(argparse.ArgumentParser):
    """One line for a wrong option, like every other error."""

    def error(self, message: str) -> NoReturn:
        self.exit(REFUSED, f"mixfast: error: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the program's name; those of the process by default.

    Returns
    -------
    int
        0 when all is well; 1 when a solve ended above its tolerance; 2 for input that is refused, with one line on
        stderr; 130 after Ctrl-C.
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            args = _parser().parse_args(argv)
            args.argv = list(sys.argv[1:] if argv is None else argv)
            status: int = args.run(args)
            sys.stdout.flush()
            return status
    except SystemExit as end:  # argparse: --help, --version and wrong options
        return end.code if isinstance(end.code, int) else REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has left, as `head` does: nobody is there to be told, and the flush at exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except MemoryError as error:
        return _refuse(f"not enough memory. {error}")
    except OSError as error:
        if error.errno == errno.ENOMEM:
            return _refuse(f"not enough memory, or address space (ulimit -v): {error.strerror}")
        # Of a copy, what was to be written.
        path = error.filename2 or error.filename
        return _refuse(f"{path}: {error.strerror}" if path and error.strerror else str(error))
    except (MixfastError, ValueError) as error:
        return _refuse(str(error))


def _refuse(message: str) -> int:
    print(f"mixfast: error: {' '.join(message.split())}", file=sys.stderr)
    return REFUSED


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"mixfast: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    import mixfast

    parser = _Parser(prog="mixfast", description="Certified, fast solvers for training-data mixture weights.")
    parser.add_argument("--version", action="version", version=f"mixfast {mixfast.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    raw = argparse.RawDescriptionHelpFormatter
    # No abbreviations: one that works today could stand for two options later.
    solve = commands.add_parser(
        "solve",
        help="find the best mixture for a table",
        epilog=_SOLVE_EXAMPLES,
        formatter_class=raw,
        allow_abbrev=False,
    )
    solve.set_defaults(run=_solve)
    _table_options(solve)
    shared.limits(solve)
    goal = solve.add_argument_group("objective")
    goal.add_argument(
        "--objective",
        metavar="worst|GROUP=WEIGHT",
        action="append",
        help="groups not named count 0; default: all alike",
    )
    shared.pull(goal)
    shared.wear(goal)
    work = solve.add_argument_group("work")
    work.add_argument(
        "--tol", metavar="NATS", type=shared.checked(inputs.number), default=1e-8, help="gap to reach (default 1e-8)"
    )
    work.add_argument("--threads", metavar="N", type=int, help="CPU threads; the answer does not depend on it")
    work.add_argument(
        "--replicates", metavar="N", type=int, default=200, help="resamples behind the intervals (default 200)"
    )
    work.add_argument("--no-intervals", action="store_true", help="leave out the intervals")
    work.add_argument(
        "--eps",
        metavar="NATS",
        type=shared.checked(inputs.number),
        default=1e-3,
        help="loss allowed for the ranges (default 1e-3)",
    )
    work.add_argument("--no-ranges", action="store_true", help="leave out the ranges")
    work.add_argument(
        "--held-out",
        metavar="SHARE",
        type=shared.checked(inputs.number),
        help="also fit without this share of the sequences and compare mixtures on it",
    )
    work.add_argument(
        "--seed", metavar="N", type=int, default=0, help="for the resamples and the held-out split (default 0)"
    )
    out = solve.add_argument_group("output")
    out.add_argument(
        "--out", metavar="FILE", help="write the mixture: .yaml or .json; domains with share 0 are left out and named"
    )
    out.add_argument("--keep-zeros", action="store_true", help="write domains with share 0 as well")
    out.add_argument("--json", action="store_true", help="print everything as one JSON object")

    info = commands.add_parser("info", help="say what a table holds", allow_abbrev=False)
    info.set_defaults(run=_info)
    _table_options(info)

    design_commands.add_design(commands)
    score_command.add(commands)
    swarm_commands.add(commands)
    design_commands.add_next(commands)
    reuse_commands.add(commands)
    report_command.add(commands)
    export_command.add(commands)

    demo = commands.add_parser("demo", help="the whole way on a small real table", allow_abbrev=False)
    demo.set_defaults(run=_demo)
    demo.add_argument(
        "--copy-to", metavar="FOLDER", help="only write the sample's files to a folder, to try commands on"
    )
    return parser


def _table_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", metavar="TABLE", help="npz, npy, or a folder of the MixMin code")
    parser.add_argument("--task", metavar="NAME", action="append", help="task of a folder; several make one group each")
    parser.add_argument(
        "--conditional", action="store_true", help="for folders: subtract the log-likelihood of the prompt"
    )


def _load(args: argparse.Namespace) -> ExpertTable:
    with shared.progress(f"reading {args.table}"):
        return ExpertTable.load(args.table, task=args.task, conditional=args.conditional)


def _info(args: argparse.Namespace) -> int:
    table = _load(args)
    with shared.progress("computing the losses of the experts"):
        report = text.info_report(args.table, table)
    print(report)
    return OK


def _solve(args: argparse.Namespace) -> int:
    _check_numbers(args)
    table = _load(args)
    # Everything that can be refused is, before the work begins.
    where = inputs.region(args, table.domains)
    objective = inputs.objective(args.objective, table.group_names)
    options = {"kl": args.kl, "objective": objective, "tol": args.tol, "wear": args.wear, "threads": args.threads}
    answer = answer_of(table, where, options, args)
    held_out = None
    if args.held_out is not None:
        with shared.progress("fitting for the held-out report"):
            held_out = solver.holdout(table, where, share=args.held_out, seed=args.seed, **options)
    written = _write(args, answer)
    if args.json:
        print(json.dumps(shared.plain(_as_dict(answer, held_out)), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print(text.solve_report(answer))
        if held_out is not None:
            print(f"\nHeld out\n{text.held_out_report(held_out, answer.limited)}")
        if written:
            print(f"\n{written}")
    return OK if answer.solution.status == "optimal" else NOT_CERTIFIED


def _check_numbers(args: argparse.Namespace) -> None:
    inputs.positive("--tol", args.tol)
    inputs.positive("--eps", args.eps)
    inputs.positive("--threads", args.threads)
    shared.check_wear(args)
    if not (math.isfinite(args.kl) and args.kl >= 0.0):
        raise InputError(f"--kl is {args.kl:g}, expected nats of at least 0")
    if args.replicates < 2:
        raise InputError(f"--replicates is {args.replicates}, expected at least 2; --no-intervals leaves them out")
    if args.seed < 0:
        raise InputError(f"--seed is {args.seed}, expected at least 0")
    if args.held_out is not None and not 0.0 < args.held_out < 1.0:
        raise InputError(f"--held-out is {args.held_out:g}, expected a share of the sequences between 0 and 1")
    shared.check_out(args.out)


def answer_of(
    table: ExpertTable, where: Region | None, options: dict[str, Any], args: argparse.Namespace
) -> text.Answer:
    """Solve, and measure the intervals and ranges that were not declined and that the problem has."""
    with shared.progress("solving"):
        solution = solver.solve(table, where, **options)
    weighted = options.get("objective") != "worst" or table.n_groups == 1
    intervals = None
    if weighted and table.kind == "ce" and not args.no_intervals:
        with shared.progress(f"solving {args.replicates} resamples"):
            intervals = solver.bootstrap(
                table, where, replicates=args.replicates, seed=args.seed, solution=solution, **options
            )
    ranges = None
    if weighted and not args.no_ranges and table.n_domains <= _MOST_RANGED:
        with shared.progress("looking for flat directions"):
            ranges = solution.ranges(args.eps)
    return text.Answer(
        table,
        where,
        options.get("objective"),
        options.get("kl", 0.0),
        args.eps,
        solution,
        intervals,
        ranges,
        args.budget,
        bool(args.out),
    )


def _write(args: argparse.Namespace, answer: text.Answer) -> str:
    """Write the mixture where that was asked for, and say what was written."""
    if args.out is None:
        return ""
    mixture = answer.solution.mixture
    # Most loaders refuse a share of 0.
    kept, dropped = mixture.drop_zeros()
    if args.keep_zeros:
        kept, dropped = mixture, ()
    kept.save(args.out)
    left_out = f"; left out with share 0: {', '.join(dropped)}" if dropped else ""
    return f"wrote {args.out}: {len(kept)} domains{left_out}"


def _as_dict(answer: text.Answer, held_out: solver.HeldOut | None) -> dict[str, Any]:
    solution, intervals, limited = answer.solution, answer.intervals, answer.limited
    free = solution.unconstrained if limited else None
    return solution.to_dict() | {
        "table": {
            "rows": answer.table.n_rows,
            "domains": answer.table.n_domains,
            "groups": list(answer.table.group_names),
        },
        "tokens": None if answer.budget is None else solution.mixture.tokens(answer.budget),
        "intervals": None
        if intervals is None
        else {"level": intervals.level, "units": intervals.units, "shares": intervals.intervals},
        "ranges": None if answer.ranges is None else {"eps": answer.eps, "shares": answer.ranges},
        "unconstrained": None
        if free is None
        else {"mixture": free.mixture.as_dict(), "value": free.value, "gap": free.gap},
        "held_out": None if held_out is None else [vars(row) for row in held_out.rows],
        "next": text.next_steps(answer),
    }


# The demo.


def _demo(args: argparse.Namespace) -> int:
    if args.copy_to is not None:
        folder = Path(args.copy_to)
        folder.mkdir(parents=True, exist_ok=True)
        for name in _SAMPLE:
            shutil.copyfile(_DATA / name, folder / name)
        print(f"wrote to {folder}: {', '.join(_SAMPLE)}")
        return OK
    from mixfast.cli._demo import sections

    # A section is shown as soon as it is computed.
    for section in sections(_DATA):
        print(section, flush=True)
    return OK
