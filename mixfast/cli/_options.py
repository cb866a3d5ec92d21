"""Options that several commands share, the types of their values, and checks of their combinations."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from mixfast._engine.objectives.wear import MEASURED
from mixfast._text.names import listing, shown
from mixfast._text.numbers import count, number, size
from mixfast.cli._console import detail, note
from mixfast.cli._inputs import InputError, run_tokens
from mixfast.cli._progress import progress

if TYPE_CHECKING:
    from mixfast.swarm import Swarm
    from mixfast.tables import ExpertTable

_T = TypeVar("_T")
# Types of what commands and options are added to.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Group: TypeAlias = "argparse.ArgumentParser | argparse._ArgumentGroup"

# What --mixture takes.
MIXTURES = "a mixture of mixfast, or the file of a loader (levanter, megatron, olmix, ...)"
# What --tokens takes.
COUNTS = "yaml or json file of name: count, such as 3.2B, 1e9 or 2_000, also nested, or a file of a loader whose weights are token counts"
LAWS = ("linear", "log_linear", "autoscale", "bimix", "epochs", "lightgbm", "gp")


def add_command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int] | None,
    help: str,
    examples: str = "",
    formatter: type[argparse.HelpFormatter] = argparse.RawDescriptionHelpFormatter,
) -> argparse.ArgumentParser:
    """Add a command: the function to run, one line of help, and examples to print below its options."""
    # No abbreviations: a new option could make one that is in use ambiguous.
    words = f"{help[0].upper()}{help[1:]}."
    parser = commands.add_parser(
        name, help=help, description=words, epilog=examples, formatter_class=formatter, allow_abbrev=False
    )
    parser.set_defaults(run=run, parser=parser)
    return parser


def add_general(parser: argparse.ArgumentParser) -> None:
    """Add the options that every command has, behind its own."""
    general = parser.add_argument_group("general")
    general.add_argument("--json", action="store_true", help="print the result as one JSON object instead of a report")
    general.add_argument("-q", "--quiet", action="store_true", help="print no notes and no progress on stderr")
    general.add_argument(
        "-v", "--verbose", action="store_true", help="also print what is read, the steps of a solve and times on stderr"
    )


def add_law(parser: Group, option: str = "--law") -> None:
    """Add the option that chooses the law."""
    parser.add_argument(
        option,
        choices=["auto", *LAWS],
        help="law to fit; auto (default): for each metric, linear, log_linear, gp or, with --run-tokens, epochs, whichever has the smallest out-of-fold "
        "error",
    )


def add_objective(group: Group, metavar: str, help: str) -> None:
    """Add the objective."""
    group.add_argument("--objective", metavar=metavar, action="append", help=help)


def add_metric_objective(group: Group, default: str = "the mean of all metrics, which must have one unit") -> None:
    """Add the objective over the metrics of laws."""
    add_objective(
        group,
        "worst|standardised|METRIC[=WEIGHT]",
        "metrics to minimise, with weights (repeatable; * matches several; other metrics get weight 0). worst: the largest metric. standardised: "
        f"the mean of all metrics, each divided by its standard deviation over the runs. Default: {default}",
    )


def add_prior(group: Group) -> None:
    """Add the prior."""
    group.add_argument(
        "--prior",
        metavar="FILE",
        help=f"prior shares or token counts by domain: {MIXTURES}, or the word uniform; default: the counts of --tokens, else uniform",
    )
    add_domain_paths(group)


def add_domain_paths(group: Group) -> None:
    """Add the option that names the domains of a file with paths in place of names."""
    group.add_argument(
        "--mixture-paths",
        metavar="PATTERN|FILE",
        help="names of the domains in a mixture file that has paths: a pattern such as /data/{domain}_text_document, or a yaml or json file "
        "of name: path; default: the part in which the paths differ",
    )


def add_design_output(parser: argparse.ArgumentParser) -> None:
    """Add the seed and the output of commands that choose mixtures to train."""
    parser.add_argument(
        "--seed", metavar="N", type=seed, default=0, help="random seed; the same seed gives the same runs (default 0)"
    )
    parser.add_argument("--out", metavar="FILE", help="csv file to write the mixtures to; default: stdout")
    add_force(parser)


def add_pools(parser: argparse.ArgumentParser) -> None:
    """Add the options for pools that are repeated in a proxy run as in the target run."""
    group = parser.add_argument_group(
        "repetition", "How large each domain's pool must be for a proxy run. They need --tokens and --budget."
    )
    group.add_argument(
        "--proxy-budget",
        metavar="N",
        type=budget,
        help="tokens of a proxy run: the pools are then sized so that a share is read as often as in the target run",
    )
    group.add_argument(
        "--sequence-length",
        metavar="N",
        type=whole(1),
        help="with --proxy-budget: tokens of a sequence; pools are whole sequences (default 1)",
    )
    group.add_argument(
        "--pools",
        metavar="FILE",
        help="with --proxy-budget: yaml file to write the tokens of each domain's pool to; --run-tokens reads it",
    )


def planned_pools(args: argparse.Namespace) -> dict[str, Any]:
    """Return what the options of `add_pools` say, as the functions of `designs` take it."""
    if args.proxy_budget is None:
        for option, given in (("--sequence-length", args.sequence_length), ("--pools", args.pools)):
            if given is not None:
                raise InputError(f"{option} needs --proxy-budget, the tokens of a proxy run")
        return {}
    return {"proxy_budget": args.proxy_budget, "sequence_length": args.sequence_length or 1}


def add_force(group: Group) -> None:
    """Add the option that lets an output replace files of other kinds."""
    words = "replace the output file even if it is of another kind, or is one of the input files"
    group.add_argument("--force", action="store_true", help=words)


def add_table(parser: argparse.ArgumentParser) -> None:
    """Add the table of experts that a command reads, and its options."""
    parser.add_argument(
        "table", metavar="TABLE", help="table of experts: npz, npy, a folder of parts, or a folder of the MixMin code"
    )
    add_table_options(parser)


def add_table_options(parser: Group) -> None:
    """Add the options for folders of the MixMin code."""
    parser.add_argument(
        "--task",
        metavar="NAME",
        action="append",
        help="for folders of the MixMin code: task to read (repeatable; each becomes a group)",
    )
    parser.add_argument(
        "--conditional",
        action="store_true",
        help="for folders of the MixMin code: subtract the log-likelihood of the prompt",
    )


def load_table(args: argparse.Namespace, path: str) -> ExpertTable:
    """Read the table with the options of the command."""
    from mixfast.tables import ExpertTable

    with progress(f"reading {path}"):
        table = ExpertTable.load(path, task=args.task, conditional=args.conditional)
    detail(
        f"read {path}: {table.n_rows:,} rows x {table.n_domains:,} domains, {table.dtype.name}, {size(table.nbytes)}"
    )
    return table


def refuse_task(args: argparse.Namespace) -> None:
    """Refuse the options for folders if the file is not a table."""
    if given := [option for option in ("--task", "--conditional") if is_given(args, option)]:
        raise InputError(f"{no_effect(given)}: {args.table} is not a folder of experts")


def add_held_out(group: Group) -> None:
    """Add the share of the sequences to hold out."""
    group.add_argument(
        "--held-out",
        metavar="SHARE",
        type=share_between,
        help="also solve without this share of the sequences and compare mixtures on them",
    )


def add_measures(group: Group, replicates: int | None, why: str) -> None:
    """Add intervals and ranges of shares; ``why`` is the help of ``--replicates``."""
    group.add_argument(
        "--threads",
        metavar="N",
        type=whole(1),
        help="CPU threads; the result does not depend on them (default: all CPUs, at most 16; torchrun divides them "
        "among the processes of a machine)",
    )
    group.add_argument("--replicates", metavar="N", type=whole(2), default=replicates, help=why)
    group.add_argument("--no-intervals", action="store_true", help="do not compute bootstrap intervals of the shares")
    words = "increase of the loss that is allowed for the ranges of shares (default 1e-3)"
    group.add_argument("--eps", metavar="LOSS", type=positive, default=1e-3, help=words)
    group.add_argument("--no-ranges", action="store_true", help="do not compute the ranges of shares")
    group.add_argument("--seed", metavar="N", type=seed, default=0, help="random seed (default 0)")


def check_measures(args: argparse.Namespace) -> None:
    """Refuse, before the solve, options that the library would refuse after it."""
    refuse_together(args, "--replicates", "--no-intervals")
    refuse_together(args, "--eps", "--no-ranges")
    if args.wear is not None and (args.tokens is None or args.budget is None):
        raise InputError("--wear needs --tokens and --budget, from which the repetition of tokens follows")


def check_seed(args: argparse.Namespace, draws: bool, why: str) -> None:
    """Refuse --seed if nothing is random."""
    if is_given(args, "--seed") and not draws:
        raise InputError(f"--seed has no effect: {why}")


def note_seed(args: argparse.Namespace, method: str) -> None:
    """Note that --seed had no effect on an exact proposal."""
    if is_given(args, "--seed") and method == "exact":
        note("--seed had no effect: the exact proposal uses no random numbers")


def add_supply(group: Group, tokens: str, where: str = "") -> None:
    """Add the tokens of the domains, the budget of the run, and the limit of repetition."""
    group.add_argument("--tokens", metavar="FILE", help=tokens)
    group.add_argument(
        "--budget", metavar="N", type=budget, help="tokens of the whole training run, such as 1T, 300B or 5e9"
    )
    repeat = (
        f"largest number of passes over the tokens of a domain, for all domains or one (repeatable; default 4){where}"
    )
    group.add_argument("--max-epochs", metavar="[NAME=]E", action="append", help=repeat)


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Add the limits of a region; its prior is added by `add_prior`."""
    group = parser.add_argument_group("limits")
    add_supply(group, f"tokens of each domain: {COUNTS}")
    group.add_argument(
        "--cap",
        metavar="[NAME=]SHARE",
        action="append",
        help='largest share, such as code=0.2, code=20%% or "code_*=20%%"; a number without a name is for all other domains (repeatable)',
    )
    group.add_argument(
        "--floor", metavar="[NAME=]SHARE", action="append", help="smallest share, written like --cap (repeatable)"
    )
    group.add_argument(
        "--limit",
        metavar="NAME:DOMAINS:LOW..HIGH",
        action="append",
        help="limits on the sum of a group of domains, such as code:python,c:0.1..0.3; either end may be empty; * matches several domains; put names "
        "that hold a comma or a colon in double quotes (repeatable)",
    )


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


def add_drop_weak(parser: Group) -> None:
    """Add the option that leaves out metrics that cannot rank the runs."""
    parser.add_argument(
        "--drop-weak",
        action="store_true",
        help="leave out metrics that cannot rank the runs: of runs that repeat a mixture, the standard deviation is larger than between mixtures",
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
    return {"tokens": run_tokens(args.run_tokens, getattr(args, "mixture_paths", None)), "budget": read}


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


def add_wear(group: Group) -> None:
    """Add the discount for repeated tokens."""
    group.add_argument(
        "--wear",
        metavar="[NAME=]REPEATS|FILE",
        action="append",
        nargs="?",
        const=str(MEASURED),
        help="discount repeated tokens: after this many repeats a token is worth 1/e of a new one "
        f"(without a number {MEASURED}, as measured by Muennighoff et al. 2023); for all domains, for one (NAME=REPEATS, repeatable, inf: repeats "
        "count fully), or a yaml or json file of name: repeats. A number without a name is for all other domains. Needs --tokens and --budget",
    )


def add_kl_options(group: Group) -> None:
    """Add the KL term and its prior."""
    group.add_argument(
        "--kl",
        metavar="NATS",
        type=not_negative,
        default=0.0,
        help="weight of the KL divergence to the prior (default 0)",
    )
    add_prior(group)


def refuse_together(args: argparse.Namespace, option: str, other: str) -> None:
    """Refuse an option that has no effect together with another one."""
    if is_given(args, option) and is_given(args, other):
        raise InputError(f"{option} has no effect with {other}: leave out one of them")


def refuse_without(args: argparse.Namespace, option: str, other: str, why: str) -> None:
    """Refuse an option that has no effect unless another one is given."""
    if is_given(args, option) and not is_given(args, other):
        raise InputError(f"{option} has no effect without {other}: {why}")


def no_effect(options: Sequence[str]) -> str:
    """Return the words for one or several options without effect."""
    return f"{listing(options)} {'has' if len(options) == 1 else 'have'} no effect"


def is_given(args: argparse.Namespace, option: str) -> bool:
    """Return whether an option was given on the command line, with any value."""
    return option in getattr(args, "given", ())


def checked(parse: Callable[[str], _T]) -> Callable[[str], _T]:
    """Return a type for argparse that keeps the message of a ValueError."""

    def convert(value: str) -> _T:
        try:
            return parse(value)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def whole(least: int, most: float = math.inf, what: str = "a whole number") -> Callable[[str], int]:
    """Return a type for argparse that takes whole numbers within limits."""

    def convert(value: str) -> int:
        try:
            found = int(value)
        except ValueError:
            found = least - 1
        if not least <= found <= most:
            limits = f"of at least {least}" if math.isinf(most) else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"got {shown(value)}, expected {what} {limits}")
        return found

    return convert


def _real(above: bool, what: str) -> Callable[[str], float]:
    """Return a type for argparse that takes finite numbers above 0, or at least 0."""

    def convert(value: str) -> float:
        found = number(value)
        if not (math.isfinite(found) and (found > 0.0 if above else found >= 0.0)):
            raise InputError(f"got {shown(value)}, expected {what}")
        return found

    return checked(convert)


seed = whole(0, 2**32 - 1)
positive = _real(True, "a number above 0")
not_negative = _real(False, "a number of at least 0")


def folds(value: str) -> int:
    """Return the number of folds; 0 means that no runs are held out."""
    found = whole(0)(value)
    if found == 1:
        raise argparse.ArgumentTypeError("got '1', expected 0 for none, or 2 or more")
    return found


def share_between(value: str) -> float:
    """Return a share between 0 and 1, both excluded."""
    found = positive(value)
    if not found < 1.0:
        raise argparse.ArgumentTypeError(f"got {shown(value)}, expected a share between 0 and 1")
    return found


def budget(value: str) -> int:
    """Return the tokens of a training run, at least 1."""
    try:
        tokens = count(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if tokens < 1:
        raise argparse.ArgumentTypeError("a budget must be at least one token")
    return tokens
