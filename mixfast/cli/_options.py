"""Options that several commands share: laws, objectives, limits, priors, intervals, and checks of their combinations."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeAlias

from mixfast._engine.objectives.wear import MEASURED
from mixfast.cli import _types as types
from mixfast.cli._commands import HELP
from mixfast.cli._commands import Commands as Commands
from mixfast.cli._refusals import InputError, refuse_together

# What options are added to.
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
    examples: str = "",
    formatter: type[argparse.HelpFormatter] = argparse.RawDescriptionHelpFormatter,
) -> argparse.ArgumentParser:
    """Add a command: the function to run, and examples to print below its options."""
    return _add(commands, name, run, HELP[name], examples, formatter)


def add_step(
    steps: Commands, name: str, run: Callable[[argparse.Namespace], int], help: str
) -> argparse.ArgumentParser:
    """Add a step of a command: the function to run, and one line of help."""
    return _add(steps, name, run, help, "", argparse.RawDescriptionHelpFormatter)


def _add(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int] | None,
    help: str,
    examples: str,
    formatter: type[argparse.HelpFormatter],
) -> argparse.ArgumentParser:
    # No abbreviations: a new option could make one that is in use ambiguous.
    words = f"{help[0].upper()}{help[1:]}."
    parser = commands.add_parser(
        name, help=help, description=words, epilog=examples, formatter_class=formatter, allow_abbrev=False
    )
    parser.set_defaults(run=run, parser=parser)
    return parser


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


def add_force(group: Group) -> None:
    """Add the option that lets an output replace files of other kinds."""
    words = "replace the output file even if it is of another kind, or is one of the input files"
    group.add_argument("--force", action="store_true", help=words)


def add_held_out(group: Group) -> None:
    """Add the share of the sequences to hold out."""
    group.add_argument(
        "--held-out",
        metavar="SHARE",
        type=types.share_between,
        help="also solve without this share of the sequences and compare mixtures on them",
    )


def add_measures(group: Group, replicates: int | None, why: str) -> None:
    """Add intervals and ranges of shares; ``why`` is the help of ``--replicates``."""
    group.add_argument(
        "--threads",
        metavar="N",
        type=types.whole(1),
        help="CPU threads; the result does not depend on them (default: all CPUs, at most 16; torchrun divides them "
        "among the processes of a machine)",
    )
    group.add_argument("--replicates", metavar="N", type=types.whole(2), default=replicates, help=why)
    group.add_argument("--no-intervals", action="store_true", help="do not compute bootstrap intervals of the shares")
    words = "increase of the loss that is allowed for the ranges of shares (default 1e-3)"
    group.add_argument("--eps", metavar="LOSS", type=types.positive, default=1e-3, help=words)
    group.add_argument("--no-ranges", action="store_true", help="do not compute the ranges of shares")
    group.add_argument("--seed", metavar="N", type=types.seed, default=0, help="random seed (default 0)")


def check_measures(args: argparse.Namespace) -> None:
    """Refuse, before the solve, options that the library would refuse after it."""
    refuse_together(args, "--replicates", "--no-intervals")
    refuse_together(args, "--eps", "--no-ranges")
    if args.wear is not None and (args.tokens is None or args.budget is None):
        raise InputError("--wear needs --tokens and --budget, from which the repetition of tokens follows")


def add_supply(group: Group, tokens: str, where: str = "") -> None:
    """Add the tokens of the domains, the budget of the run, and the limit of repetition."""
    group.add_argument("--tokens", metavar="FILE", help=tokens)
    group.add_argument(
        "--budget", metavar="N", type=types.budget, help="tokens of the whole training run, such as 1T, 300B or 5e9"
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
        "count fully), or a yaml or json file of name: repeats. A number without a name is for all other domains. '4 epochs' instead of a number: tokens "
        "count fully up to it and nothing beyond. Needs --tokens and --budget",
    )


def add_kl_options(group: Group) -> None:
    """Add the KL term and its prior."""
    group.add_argument(
        "--kl",
        metavar="NATS",
        type=types.not_negative,
        default=0.0,
        help="weight of the KL divergence to the prior (default 0)",
    )
    add_prior(group)
