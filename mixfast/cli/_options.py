"""Groups of options that commands share, and what is read or refused by them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from mixfast._engine.objectives.wear import MEASURED
from mixfast._text.names import listing, shown
from mixfast._text.numbers import count, number, size
from mixfast.cli._console import detail, note
from mixfast.cli._inputs import InputError
from mixfast.cli._progress import progress

if TYPE_CHECKING:
    from mixfast.swarm import Swarm
    from mixfast.tables import ExpertTable

_T = TypeVar("_T")
# What commands are added to, and what options are.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Group: TypeAlias = "argparse.ArgumentParser | argparse._ArgumentGroup"

# What --mixture takes.
MIXTURES = "a mixture of mixfast, or the file of a loader (levanter, megatron, olmix, ...)"
LAWS = ("linear", "log_linear", "autoscale", "bimix", "lightgbm", "gp")


def add_command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int] | None,
    help: str,
    examples: str = "",
    formatter: type[argparse.HelpFormatter] = argparse.RawDescriptionHelpFormatter,
) -> argparse.ArgumentParser:
    """Add a command: what it runs, one line of help, and examples below its options."""
    # No abbreviations: one that works today could stand for two options later.
    parser = commands.add_parser(name, help=help, epilog=examples, formatter_class=formatter, allow_abbrev=False)
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
    """Add which law is fitted."""
    parser.add_argument(option, choices=["auto", *LAWS], help="the law to fit (default auto)")


def add_objective(group: Group, metavar: str, help: str) -> None:
    """Add what is to be minimised."""
    group.add_argument("--objective", metavar=metavar, action="append", help=help)


def add_metric_objective(group: Group, default: str = "the mean of all, if they have one unit") -> None:
    """Add what is to be minimised under laws."""
    add_objective(
        group,
        "worst|standardised|METRIC[=WEIGHT]",
        "metrics not named count 0, * allowed; worst: the largest; standardised: the mean of all, each divided by its standard deviation over the "
        f"runs; default: {default}",
    )


def add_prior(group: Group) -> None:
    """Add the prior."""
    group.add_argument(
        "--prior",
        metavar="FILE",
        help="shares or counts by domain (yaml, json), the mixture file of a loader, or uniform; default: --tokens, else uniform",
    )
    add_domain_paths(group)


def add_domain_paths(group: Group) -> None:
    """Add how the domains of a file are named that has paths in place of names."""
    group.add_argument(
        "--mixture-paths",
        metavar="PATTERN|FILE",
        help="for a mixture file that has paths: the pattern that they follow, such as /data/{domain}_text_document, or yaml or json "
        "of name: path; default: a domain is called by what differs in the paths",
    )


def add_design_output(parser: argparse.ArgumentParser) -> None:
    """Add seed and output of the commands that choose mixtures to train."""
    parser.add_argument(
        "--seed", metavar="N", type=seed, default=0, help="the same seed gives the same runs (default 0)"
    )
    parser.add_argument("--out", metavar="FILE", help="write the mixtures as csv; default: on stdout")
    add_force(parser)


def add_force(group: Group) -> None:
    """Add that an output may replace what it finds."""
    words = "replace the output even if another kind of file, or one that is read, is there and is lost"
    group.add_argument("--force", action="store_true", help=words)


def add_table(parser: argparse.ArgumentParser) -> None:
    """Add the table of experts that a command reads."""
    parser.add_argument("table", metavar="TABLE", help="npz, npy, or a folder of the MixMin code")
    add_table_options(parser)


def add_table_options(parser: Group) -> None:
    """Add how a folder of the MixMin code is read."""
    parser.add_argument("--task", metavar="NAME", action="append", help="task of a folder; several make one group each")
    parser.add_argument(
        "--conditional", action="store_true", help="for folders: subtract the log-likelihood of the prompt"
    )


def load_table(args: argparse.Namespace, path: str) -> ExpertTable:
    """Read the table, as the options say."""
    from mixfast.tables import ExpertTable

    with progress(f"reading {path}"):
        table = ExpertTable.load(path, task=args.task, conditional=args.conditional)
    detail(
        f"read {path}: {table.n_rows:,} rows x {table.n_domains:,} domains, {table.dtype.name}, {size(table.nbytes)}"
    )
    return table


def refuse_task(args: argparse.Namespace) -> None:
    """Refuse the options that choose among the tasks of a folder where the file is no table at all."""
    if given := [option for option in ("--task", "--conditional") if is_given(args, option)]:
        raise InputError(f"{no_effect(given)}: {args.table} is no folder of experts")


def add_held_out(group: Group) -> None:
    """Add the share of the sequences that is held out."""
    group.add_argument(
        "--held-out",
        metavar="SHARE",
        type=share_between,
        help="also fit without this share of the sequences and compare mixtures on it",
    )


def add_measures(group: Group, replicates: int | None, why: str) -> None:
    """Add what is measured around the answer of a solve; `why` is the help of ``--replicates``."""
    group.add_argument("--threads", metavar="N", type=whole(1), help="CPU threads; the answer does not depend on it")
    group.add_argument("--replicates", metavar="N", type=whole(2), default=replicates, help=why)
    group.add_argument("--no-intervals", action="store_true", help="leave out the intervals")
    words = "loss allowed for the ranges (default 1e-3)"
    group.add_argument("--eps", metavar="LOSS", type=positive, default=1e-3, help=words)
    group.add_argument("--no-ranges", action="store_true", help="leave out the ranges")
    group.add_argument("--seed", metavar="N", type=seed, default=0, help="for random draws (default 0)")


def check_measures(args: argparse.Namespace) -> None:
    """Refuse at once the numbers that the library would refuse only after the solve, when it measures around the answer."""
    refuse_together(args, "--replicates", "--no-intervals")
    refuse_together(args, "--eps", "--no-ranges")
    if args.wear is not None and (args.tokens is None or args.budget is None):
        raise InputError("--wear counts how often tokens repeat: give --tokens and --budget")


def check_seed(args: argparse.Namespace, draws: bool, why: str) -> None:
    """Refuse --seed where nothing is drawn."""
    if is_given(args, "--seed") and not draws:
        raise InputError(f"--seed has no effect: {why}")


def note_seed(args: argparse.Namespace, method: str) -> None:
    """Say that --seed had no effect on an exact proposal."""
    if is_given(args, "--seed") and method == "exact":
        note("--seed had no effect: the exact proposal draws nothing")


def add_supply(group: Group, tokens: str, where: str = "") -> None:
    """Add the tokens of the domains, those of the run, and how often tokens may repeat."""
    group.add_argument("--tokens", metavar="FILE", help=tokens)
    group.add_argument("--budget", metavar="N", type=budget, help="tokens of the training run: 1T, 300B, 5e9")
    repeat = f"how often tokens may repeat, for all or for a domain (default 4){where}"
    group.add_argument("--max-epochs", metavar="[NAME=]E", action="append", help=repeat)


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Add the limits of a region; its prior is added by `add_prior`."""
    group = parser.add_argument_group("limits")
    add_supply(group, "tokens of each domain: yaml or json of name: count; 3.2B, 1e9 and 2_000 are fine")
    group.add_argument(
        "--cap",
        metavar="[NAME=]SHARE",
        action="append",
        help='largest share: code=0.2, code=20%% or "code_*=20%%"; a bare number is for the rest',
    )
    group.add_argument("--floor", metavar="[NAME=]SHARE", action="append", help="smallest share, in the same way")
    group.add_argument(
        "--limit",
        metavar="NAME:DOMAINS:LOW..HIGH",
        action="append",
        help="limits on a group's sum, either end may be left out; domains by comma, * allowed, names with a comma or a colon in double quotes",
    )


def add_runs(parser: Group, nargs: str | None = None) -> None:
    """Add the two files of runs."""
    parser.add_argument("ratios", metavar="RATIOS", nargs=nargs, help="csv: a run a line, a domain a column")
    words = "csv: the same runs, a metric a column; one table with both is given here, too, with --domains"
    parser.add_argument("metrics", metavar="METRICS", nargs=nargs, help=words)


def add_columns(parser: Group) -> None:
    """Add which columns of runs are used or left out, and which metrics are better when larger or smaller."""
    parser.add_argument(
        "--id", metavar="COLUMN", help="the column with the ids of the runs (default: run, run_id, index, id or name)"
    )
    parser.add_argument(
        "--domains",
        metavar="COLUMN",
        action="append",
        help="only these columns are shares of domains (repeated; * allowed)",
    )
    parser.add_argument(
        "--metric",
        metavar="NAME",
        action="append",
        help="only this metric; no other column is looked at (repeated; * allowed)",
    )
    parser.add_argument(
        "--ignore", metavar="COLUMN", action="append", help="a column to leave out (repeated; * allowed)"
    )
    parser.add_argument(
        "--without",
        metavar="RUN",
        action="append",
        help="a run to leave out, such as one that diverged (repeated; * allowed)",
    )
    parser.add_argument(
        "--normalise",
        "--normalize",
        action="store_true",
        help="divide each run's shares by their sum: counts of tokens, percentages",
    )
    parser.add_argument(
        "--more-is-better",
        metavar="METRIC",
        action="append",
        help="a metric to raise, where its name does not say so, such as mmlu (repeated; * allowed)",
    )
    parser.add_argument(
        "--less-is-better", metavar="METRIC", action="append", help="a metric to lower (repeated; * allowed)"
    )


def check_folds(args: argparse.Namespace, swarm: Swarm) -> None:
    """Refuse more parts than there are runs, before the library takes as many as there are, and a seed for none."""
    check_seed(args, args.folds > 0, "--folds 0 holds out no runs, and nothing is drawn")
    if is_given(args, "--folds") and args.folds > len(swarm):
        raise InputError(f"--folds {args.folds} is more than the {len(swarm)} runs: each part needs one")


def read_runs(args: argparse.Namespace, ratios: str, metrics: str | None) -> Swarm:
    """Read the runs of two files, or of one with both, as the options of `add_columns` say."""
    from mixfast.swarm import Swarm

    with progress(f"reading {ratios}"):
        swarm = Swarm.from_csv(
            ratios,
            metrics,
            id=args.id,
            domains=args.domains,
            metric_names=args.metric,
            ignore=args.ignore or (),
            normalise=args.normalise,
        )
    files = ratios if metrics in (None, ratios) else f"{ratios} and {metrics}"
    detail(f"read {files}: {len(swarm):,} runs, {len(swarm.domains):,} domains, {len(swarm.metrics):,} metrics")
    return directed(args, without(args, swarm))


def without(args: argparse.Namespace, swarm: Swarm) -> Swarm:
    """Return the runs without those that the options leave out."""
    return swarm.without(*args.without) if args.without else swarm


def directed(args: argparse.Namespace, swarm: Swarm) -> Swarm:
    """Return the runs with the directions of metrics that the options name."""
    return swarm.better(more=args.more_is_better or (), less=args.less_is_better or ())


def add_wear(group: Group) -> None:
    """Add how much repeated tokens count."""
    group.add_argument(
        "--wear",
        metavar="REPEATS",
        type=positive,
        nargs="?",
        const=MEASURED,
        help="count repeated tokens for less: after so many repeats a token is worth 1/e of a new one "
        f"({MEASURED}, as measured by Muennighoff et al., if no number follows); needs --tokens and --budget",
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
    """Refuse an option that has no effect beside another one."""
    if is_given(args, option) and is_given(args, other):
        raise InputError(f"{option} has no effect with {other}: leave out one of them")


def refuse_without(args: argparse.Namespace, option: str, other: str, why: str) -> None:
    """Refuse an option that has no effect unless another one is given."""
    if is_given(args, option) and not is_given(args, other):
        raise InputError(f"{option} has no effect without {other}: {why}")


def no_effect(options: Sequence[str]) -> str:
    """Say of one option that it has no effect, or of several that they have none."""
    return f"{listing(options)} {'has' if len(options) == 1 else 'have'} no effect"


def is_given(args: argparse.Namespace, option: str) -> bool:
    """Whether an option stands on the command line, with its default value or another one."""
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
    """Return a type for argparse that takes finite numbers above 0, or of at least 0."""

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
    """Return into how many parts runs are split; none are held out without any."""
    found = whole(0)(value)
    if found == 1:
        raise argparse.ArgumentTypeError("got '1', expected 0 for none, or 2 or more")
    return found


def share_between(value: str) -> float:
    """Return a share between none and all."""
    found = positive(value)
    if not found < 1.0:
        raise argparse.ArgumentTypeError(f"got {shown(value)}, expected a share between 0 and 1")
    return found


def budget(value: str) -> int:
    """Return the tokens of a training run, at least one."""
    try:
        tokens = count(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if tokens < 1:
        raise argparse.ArgumentTypeError("a budget must be at least one token")
    return tokens
