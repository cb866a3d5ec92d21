"""The command explore: a page on which mixtures are tried, with the predictions of fitted laws or the losses of a table of experts."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixfast._text.atomic import is_stream
from mixfast._text.kinds import kind_of, other_kind
from mixfast._text.outputs import PAGE
from mixfast.cli import _documents as documents
from mixfast.cli import _exact as exact
from mixfast.cli import _inputs as inputs
from mixfast.cli import _options as shared
from mixfast.cli import _outputs as outputs
from mixfast.cli import _reading as reading
from mixfast.cli._console import note, say
from mixfast.cli._experts import add_table_options, load_table, refuse_table_options
from mixfast.cli._progress import progress
from mixfast.cli._refusals import InputError, no_effect
from mixfast.errors import ProposalError

if TYPE_CHECKING:
    from mixfast.designs import Design
    from mixfast.laws import Fit
    from mixfast.mixture import Mixture
    from mixfast.proposers import Proposal
    from mixfast.region import Region
    from mixfast.solver import Solution
    from mixfast.tables import ExpertTable, ShardedTable

_EXAMPLES = """\
examples:
  mixfast explore law.json
  mixfast explore law.json --mixture today.yaml --mixture plan.yaml --tokens counts.yaml --budget 1T
  mixfast explore law.json --runs ratios.csv --objective pile_cc --cap 0.3 --out explore.html --no-open
  mixfast explore table.npz --mixture today.yaml --cap 0.5

The page has a slider for each domain. It shows the predicted metrics with their intervals, or the losses of a table of experts and of its groups,
the limits that a mixture breaks, and whether it is outside what the runs have seen. Dragging a metric changes the mixture. The page is one file and works without a network.
"""
# Kinds of files that are read as laws, and kinds of text that are neither laws nor tables.
_LAWS, _NEITHER = ("fit", "json"), ("jsonl", "yaml", "text", "csv")


def add(commands: shared.Commands) -> None:
    """Add the command to the parser."""
    explore = shared.add_command(
        commands,
        "explore",
        _explore,
        _EXAMPLES,
    )
    explore.add_argument(
        "law",
        metavar="LAW|TABLE",
        help="laws that `mixfast fit --out` wrote, or a table of experts: npz, npy, a folder of parts, or a folder of the MixMin code",
    )
    add_table_options(explore)
    explore.add_argument(
        "--mixture",
        metavar="FILE",
        action="append",
        help=f"mixture to compare with (repeatable): {shared.MIXTURES}; the page starts from the optimum, or without one from the first of these",
    )
    explore.add_argument(
        "--runs",
        metavar="RATIOS",
        help="csv file of the mixtures of the runs that the laws were fitted to, the first file of `mixfast fit`; the page then says how far a mixture "
        "is from the nearest run. Laws of the kind gp hold their runs",
    )
    explore.add_argument(
        "--out", metavar="FILE", default="explore.html", help="page to write: .html (default explore.html)"
    )
    shared.add_force(explore)
    explore.add_argument(
        "--no-open",
        action="store_true",
        help="do not open the page in a browser; it is opened only if stdout is a terminal",
    )
    shared.add_limits(explore)
    goal = explore.add_argument_group("optimum")
    shared.add_objective(
        goal,
        "worst|standardised|METRIC[=WEIGHT]|GROUP[=WEIGHT]",
        "metrics of laws or groups of a table to minimise, with weights (repeatable; * matches several; others get weight 0). worst: the largest of "
        "them. standardised: the mean of all metrics, each divided by its standard deviation over the runs. Default: the mean of all; laws of "
        "metrics in several units then have no optimum",
    )
    shared.add_kl_options(goal)


def _explore(args: argparse.Namespace) -> int:
    from mixfast import report
    from mixfast.laws import Fit

    if Path(args.out).suffix.lower() not in PAGE.endings and not is_stream(args.out):
        raise InputError(f"--out {args.out}: a page ends in .html")
    outputs.check(args, out=PAGE)
    kind = kind_of(args.law)
    if kind in _NEITHER:
        expected = "fitted laws, as `mixfast fit --out` writes them (.json or .npz), or a table of experts (npz, npy, or a folder)"
        raise InputError(other_kind(args.law, expected))
    laws = kind in _LAWS
    if laws:
        refuse_table_options(args, args.law)
    model = Fit.load(args.law) if laws else load_table(args, args.law)
    region = inputs.region(args, model.domains, args.law if laws else "the table")
    mixtures = _mixtures(args)
    optimum: Proposal | Solution | None
    if isinstance(model, Fit):
        optimum = _optimum(args, model, region)
        page = report.explore(
            model, region, mixtures, optimum=optimum, swarm=_runs(args, model), command=exact.of_laws(args, args.law)
        )
    else:
        if args.runs is not None:
            raise InputError(f"{no_effect(['--runs'])}: {args.law} is a table of experts, which has no runs")
        objective = inputs.objective(args.objective, model.group_names, "group")
        optimum = _least(args, model, region, objective)
        with progress("choosing rows for the page"):
            page = report.explore(
                model, region, mixtures, optimum=optimum, objective=objective, command=exact.of_table(args, args.law)
            )
    for what, why in page.missing.items():
        note(f"the page has no predictions for {what}: {why}")
    page.save(args.out, force=args.force)
    say(f"wrote {args.out}")
    status = "given" if optimum is None else optimum.status
    found = {"status": status, "mixtures": list(mixtures), "optimum": optimum is not None, "missing": page.missing}
    documents.answer(args, found, wrote=[args.out])
    if not args.no_open and not args.json and sys.stdout.isatty():
        _open(args.out)
    return outputs.exit_status(status)


def _runs(args: argparse.Namespace, law: Fit) -> Design | None:
    """Return the mixtures of the runs that the laws were fitted to, if a file is given."""
    from mixfast.designs import Design

    if args.runs is None:
        return None
    runs = Design.from_csv(args.runs)
    inputs.same_names(args.runs, runs.domains, law.domains, args.law)
    return runs


def _mixtures(args: argparse.Namespace) -> dict[str, Mixture]:
    """Return the given mixtures by the name of their file, or by its path if two files have the same name."""
    paths: list[str] = args.mixture or []
    names = [Path(path).name for path in paths]
    return {
        name if names.count(name) == 1 else path: reading.mixture(path, args.mixture_paths)
        for name, path in zip(names, paths, strict=True)
    }


def _optimum(args: argparse.Namespace, law: Fit, region: Region | None) -> Proposal | None:
    """Return the best mixture under the laws; None with a note if the objective has no default, or the laws allow no proposal."""
    from mixfast.proposers import propose

    objective = inputs.objective(args.objective, law.metrics, "metric")
    if objective is None and len(set(law.unit)) > 1:
        note("the page has no optimum, because the metrics have several units: choose some with --objective METRIC")
        return None
    try:
        with progress("searching the optimum"):
            return propose(law, region, objective=objective, kl=args.kl)
    except ProposalError as problem:
        note(f"the page has no optimum: {problem}")
        return None


def _least(
    args: argparse.Namespace, table: ExpertTable | ShardedTable, region: Region | None, objective: Any
) -> Solution:
    """Return the optimum of a table."""
    from mixfast.solver import solve

    with progress("solving"):
        return solve(table, region, objective=objective, kl=args.kl)


def _open(path: str) -> None:
    import webbrowser

    webbrowser.open(Path(path).resolve().as_uri())
