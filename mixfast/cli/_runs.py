"""Proxy runs, as several commands read them: two csv files, their columns, the tokens that the runs could read, and weak metrics."""

from __future__ import annotations

import argparse
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mixfast._text.names import listing
from mixfast._text.numbers import count
from mixfast.cli import _reading as reading
from mixfast.cli._console import detail, note
from mixfast.cli._options import COUNTS, Group
from mixfast.cli._progress import progress
from mixfast.cli._refusals import InputError, check_seed, is_given

if TYPE_CHECKING:
    from mixfast.swarm import Swarm


def add_runs(parser: Group, nargs: str | None = None) -> None:
    """Add the two files of proxy runs."""
    parser.add_argument(
        "ratios",
        metavar="RATIOS",
        nargs=nargs,
        help="csv file of mixtures: one row for each run, one column for each domain",
    )
    both = "give it twice" if nargs is None else "give it once"
    words = f"csv file of results: the same runs, one column for each metric, or one row for each run and metric; if one file holds both, {both}, with --domains"
    parser.add_argument("metrics", metavar="METRICS", nargs=nargs, help=words)


def add_columns(parser: Group) -> None:
    """Add the options that select columns and runs, and set the direction of metrics."""
    parser.add_argument(
        "--id", metavar="COLUMN", help="column with the ids of the runs (default: run, run_id, index, id or name)"
    )
    parser.add_argument(
        "--domains",
        metavar="COLUMN",
        action="append",
        help="columns that hold the shares of domains; no other column does (repeatable; * matches several)",
    )
    parser.add_argument(
        "--metric",
        "--metrics",
        metavar="NAME",
        action="append",
        help="metric to use; all other columns are ignored (repeatable; * matches several)",
    )
    parser.add_argument(
        "--ignore", metavar="COLUMN", action="append", help="column to ignore (repeatable; * matches several)"
    )
    parser.add_argument(
        "--without",
        metavar="RUN",
        action="append",
        help="run to leave out, such as one that diverged (repeatable; * matches several)",
    )
    parser.add_argument(
        "--normalise",
        "--normalize",
        action="store_true",
        help="divide the numbers of each run by their sum, for amounts that are not recognised as token counts or percentages",
    )
    add_run_pools(parser)
    parser.add_argument(
        "--more-is-better",
        metavar="METRIC",
        action="append",
        help="metric for which higher is better, if its name does not say so, such as mmlu (repeatable; * matches several)",
    )
    parser.add_argument(
        "--less-is-better",
        metavar="METRIC",
        action="append",
        help="metric for which lower is better (repeatable; * matches several)",
    )


def add_run_pools(parser: Group) -> None:
    """Add the tokens that the runs could read, and those that each of them read."""
    parser.add_argument(
        "--run-tokens",
        metavar="FILE",
        help=f"tokens of each domain that the runs could read: {COUNTS}; or a csv file with a row for each run and a column for each domain",
    )
    parser.add_argument(
        "--run-budget",
        metavar="N|COLUMN",
        help="with --run-tokens: tokens that each run reads, such as 5B; or the column of a csv file of the runs that holds them",
    )


def add_drop_weak(parser: Group) -> None:
    """Add the option that leaves out metrics that cannot rank the runs."""
    parser.add_argument(
        "--drop-weak",
        action="store_true",
        help="leave out metrics that cannot rank the runs: they differ more between runs of one mixture than between mixtures (in standard deviations)",
    )


def check_folds(args: argparse.Namespace, swarm: Swarm) -> None:
    """Refuse more folds than runs, which the library would reduce silently, and a seed without folds."""
    check_seed(args, args.folds > 0, "--folds 0 holds out no runs, so nothing is random")
    if is_given(args, "--folds") and args.folds > len(swarm):
        raise InputError(f"--folds {args.folds} is more than the {len(swarm)} runs: each fold needs at least one")


def read_runs(args: argparse.Namespace, ratios: str, metrics: str | None, *, others: bool = False) -> Swarm:
    """Read the runs of two files, or of one that holds both, with the options of `add_columns`.

    With ``others``, the file of ``--run-tokens`` may also name domains that these runs lack.
    """
    from mixfast.swarm import Swarm

    pools = run_pools(args)
    with progress(f"reading {ratios}"):
        swarm = Swarm.from_csv(
            ratios,
            metrics,
            id=args.id,
            domains=args.domains,
            metric_names=args.metric,
            ignore=args.ignore or (),
            normalise=args.normalise,
            **({} if others else pools),
        )
        if others and pools:
            swarm = swarm.with_tokens(**pools, others=True)
    files = ratios if metrics in (None, ratios) else f"{ratios} and {metrics}"
    detail(f"read {files}: {len(swarm):,} runs, {len(swarm.domains):,} domains, {len(swarm.metrics):,} metrics")
    return directed(args, without(args, swarm))


def run_pools(args: argparse.Namespace) -> dict[str, Any]:
    """Return what ``--run-tokens`` and ``--run-budget`` say, as `Swarm.with_tokens` takes it; nothing without them."""
    if args.run_tokens is None and args.run_budget is None:
        return {}
    if args.run_tokens is None:
        raise InputError("--run-budget needs --run-tokens, the tokens of each domain that the runs could read")
    if args.run_budget is None:
        raise InputError("--run-tokens needs --run-budget, the tokens that each run reads, for example --run-budget 5B")
    read: float | str = args.run_budget
    with suppress(ValueError):
        read = count(args.run_budget)
    return {"tokens": reading.run_tokens(args.run_tokens, getattr(args, "mixture_paths", None)), "budget": read}


def without(args: argparse.Namespace, swarm: Swarm) -> Swarm:
    """Return the runs without those that ``--without`` names."""
    return swarm.without(*args.without) if args.without else swarm


def drop_weak(args: argparse.Namespace, swarm: Swarm) -> Swarm:
    """Return the runs without the metrics that cannot rank them, if ``--drop-weak`` is given, and note which these are."""
    if not args.drop_weak:
        return swarm
    found = swarm.noise
    if not found.sd:
        raise InputError(
            "--drop-weak has no effect: no mixture was trained twice, so the noise of the metrics is unknown"
        )
    if not found.strong:
        raise InputError("--drop-weak leaves no metric: none can rank the runs")
    if found.weak:
        note(f"--drop-weak leaves out {listing(found.weak)}")
    return swarm.select(found.strong)


def directed(args: argparse.Namespace, swarm: Swarm) -> Swarm:
    """Return the runs with the directions of metrics that the options set."""
    return swarm.better(more=args.more_is_better or (), less=args.less_is_better or ())
