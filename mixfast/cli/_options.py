"""Options that commands share, what is refused about them, and the line that shows that something is going on."""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from mixfast._engine.objectives.wear import MEASURED
from mixfast._text.atomic import write_together
from mixfast._text.numbers import count, number
from mixfast.cli._inputs import InputError

if TYPE_CHECKING:
    from mixfast.designs import Design
    from mixfast.mixture import Mixture
    from mixfast.swarm import Swarm
    from mixfast.tables import ExpertTable

LAWS = ("linear", "log_linear", "autoscale", "bimix", "lightgbm", "gp")

# Shorter than this, nobody wonders whether it still runs.
_QUIET_SECONDS = 1.0


def add_command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], int] | None,
    help: str,
    examples: str = "",
    formatter: type[argparse.HelpFormatter] = argparse.RawDescriptionHelpFormatter,
) -> argparse.ArgumentParser:
    """Add a command: what it runs, one line of help, and examples below its options."""
    # No abbreviations: one that works today could stand for two options later.
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=help, epilog=examples, formatter_class=formatter, allow_abbrev=False
    )
    parser.set_defaults(run=run)
    return parser


def add_law(parser: Any, option: str = "--law") -> None:
    """Add which law is fitted."""
    parser.add_argument(option, choices=["auto", *LAWS], help="the law to fit (default auto)")


def add_metric_objective(group: Any, default: str = "the mean of all") -> None:
    """Add what is to be minimised under laws."""
    group.add_argument(
        "--objective",
        metavar="worst|METRIC|METRIC=WEIGHT",
        action="append",
        help=f"metrics not named count 0; default: {default}",
    )


def add_prior(group: Any) -> None:
    """Add the prior."""
    group.add_argument(
        "--prior",
        metavar="FILE",
        help="shares or counts by domain (yaml, json), or uniform; default: --tokens, else uniform",
    )


def add_design_output(parser: argparse.ArgumentParser) -> None:
    """Add what all commands have that choose mixtures to train."""
    parser.add_argument(
        "--seed", metavar="N", type=int, default=0, help="the same seed gives the same runs (default 0)"
    )
    parser.add_argument("--out", metavar="FILE", help="write the mixtures as csv; default: on stdout")


def deliver_design(out: str | None, design: Design, lines: Sequence[str]) -> None:
    """Write the mixtures to a file and print the lines; without a file, print the mixtures and send the lines to stderr."""
    if out is None:
        print("\n".join(lines), file=sys.stderr)
        print(design_text(design), end="")
        return
    write_together({out: design_text(design)})
    print("\n".join([*lines, f"wrote {Path(out)}: train a proxy on each row"]))


def add_table(parser: argparse.ArgumentParser) -> None:
    """Add the table of experts that a command reads."""
    parser.add_argument("table", metavar="TABLE", help="npz, npy, or a folder of the MixMin code")
    add_table_options(parser)


def add_table_options(parser: Any) -> None:
    """Add how a folder of the MixMin code is read."""
    parser.add_argument("--task", metavar="NAME", action="append", help="task of a folder; several make one group each")
    parser.add_argument(
        "--conditional", action="store_true", help="for folders: subtract the log-likelihood of the prompt"
    )


def load_table(args: argparse.Namespace, path: str) -> ExpertTable:
    """Read the table, as the options say."""
    from mixfast.tables import ExpertTable

    with progress(f"reading {path}"):
        return ExpertTable.load(path, task=args.task, conditional=args.conditional)


def add_held_out(group: Any) -> None:
    """Add the share of the sequences that is held out."""
    group.add_argument(
        "--held-out",
        metavar="SHARE",
        type=checked(number),
        help="also fit without this share of the sequences and compare mixtures on it",
    )


def check_measures(args: argparse.Namespace) -> None:
    """Refuse at once what the library would refuse only after a solve, when it comes to measure around the answer."""
    if not 0.0 < args.eps < math.inf:
        raise InputError(f"--eps is {args.eps:g}, expected a number above 0")
    if args.replicates is not None and args.replicates < 2:
        raise InputError(f"--replicates is {args.replicates}, expected at least 2; --no-intervals leaves them out")
    if args.seed < 0:
        raise InputError(f"--seed is {args.seed}, expected at least 0")
    if args.held_out is not None and not 0.0 < args.held_out < 1.0:
        raise InputError(f"--held-out is {args.held_out:g}, expected a share of the sequences between 0 and 1")
    if args.wear is not None and (args.tokens is None or args.budget is None):
        raise InputError("--wear counts how often tokens repeat: give --tokens and --budget")


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Add what describes a region, but for the prior."""
    group = parser.add_argument_group("limits")
    group.add_argument(
        "--tokens",
        metavar="FILE",
        help="tokens of each domain: yaml or json of name: count; 3.2B, 1e9 and 2_000 are fine",
    )
    group.add_argument("--budget", metavar="N", type=checked(budget), help="tokens of the training run: 1T, 300B, 5e9")
    group.add_argument(
        "--max-epochs",
        metavar="[NAME=]E",
        action="append",
        help="how often tokens may repeat, for all or for a domain (default 4)",
    )
    group.add_argument(
        "--cap",
        metavar="[NAME=]SHARE",
        action="append",
        help="largest share: code=0.2 or code=20%%; a bare number is for the rest",
    )
    group.add_argument("--floor", metavar="[NAME=]SHARE", action="append", help="smallest share")
    group.add_argument(
        "--limit",
        metavar="NAME:DOMAINS:LOW..HIGH",
        action="append",
        help="limits on a group's sum, either end may be left out; domains by comma, * allowed",
    )


def add_columns(parser: Any) -> None:
    """Add what is told of the columns of runs."""
    parser.add_argument("--ignore", metavar="COLUMN", action="append", help="a column to leave out (repeated)")
    parser.add_argument(
        "--more-is-better",
        metavar="METRIC",
        action="append",
        help="a metric to raise, where its name does not say so, such as mmlu (repeated; * allowed)",
    )
    parser.add_argument(
        "--less-is-better", metavar="METRIC", action="append", help="a metric to lower (repeated; * allowed)"
    )


def read_runs(args: argparse.Namespace, ratios: str, metrics: str) -> Swarm:
    """The runs of two files, with what the options of `add_columns` say of their columns."""
    from mixfast.swarm import Swarm

    with progress(f"reading {ratios}"):
        swarm = Swarm.from_csv(ratios, metrics, ignore=args.ignore or ())
    return directed(args, swarm)


def directed(args: argparse.Namespace, swarm: Swarm) -> Swarm:
    """The runs with the directions that the options name."""
    return swarm.better(more=args.more_is_better or (), less=args.less_is_better or ())


def add_wear(group: Any) -> None:
    """Add how repeated tokens wear out."""
    group.add_argument(
        "--wear",
        metavar="REPEATS",
        type=checked(number),
        nargs="?",
        const=MEASURED,
        help="count repeated tokens for less: after so many repeats a token is worth 1/e of a new one "
        f"({MEASURED}, as measured by Muennighoff et al., if no number follows); needs --tokens and --budget",
    )


def add_kl_options(group: Any) -> None:
    """Add the KL term and its prior."""
    group.add_argument(
        "--kl",
        metavar="NATS",
        type=checked(number),
        default=0.0,
        help="weight of the KL divergence to the prior (default 0)",
    )
    add_prior(group)


def checked(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """A type for argparse that keeps the message of a ValueError."""

    def convert(value: str) -> Any:
        try:
            return parse(value)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def budget(value: str) -> int:
    """Tokens of a run."""
    tokens = count(value)
    if tokens < 1:
        raise InputError("a budget must be at least one token")
    return tokens


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Show what is going on and for how long, once it takes more than a second, where a person looks at stderr."""
    if not sys.stderr.isatty():
        yield
        return
    done = threading.Event()

    def show() -> None:
        began = perf_counter()
        if done.wait(_QUIET_SECONDS):
            return
        while True:
            print(f"\r\x1b[Kmixfast: {what}, {perf_counter() - began:.0f} s", end="", file=sys.stderr, flush=True)
            if done.wait(0.5):
                break
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    teller = threading.Thread(target=show, daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


def print_json(document: dict[str, Any]) -> None:
    """Print the document as strict JSON."""
    print(json.dumps(_strict(document), indent=2, ensure_ascii=False, allow_nan=False))


def _strict(value: Any) -> Any:
    """Replace infinity and NaN by null, which strict JSON requires."""
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def exit_status(status: str) -> int:
    """Return 0 for an answer that holds as it says, 1 for one above its tolerance."""
    return 0 if status in ("optimal", "searched", "given") else 1


def check_out(given: str | None) -> None:
    """Refuse a mixture file that could not be written, before the work begins."""
    if given is not None and Path(given).suffix.lower() not in (".yaml", ".yml", ".json"):
        raise InputError(f"--out {given}: a mixture file ends in .yaml, .yml or .json")
    check_folder("--out", given)


def check_folder(option: str, given: str | None) -> None:
    """Refuse a file in a folder that is not there, or in the place of one, before the work begins."""
    if given is None:
        return
    out = Path(given)
    if not out.parent.is_dir():
        raise InputError(f"{option} {given}: there is no folder {out.parent}")
    if out.is_dir():
        raise InputError(f"{option} {given}: this is a folder")


def check_law_out(option: str, given: str) -> None:
    """Refuse a file of laws that could not be written, before the work begins."""
    if Path(given).suffix not in (".json", ".npz"):
        raise InputError(f"{option} {given}: laws are written as .json or .npz")
    check_folder(option, given)


def mixture_text(mixture: Mixture, path: str) -> str:
    """A mixture file without the shares of 0, which most loaders refuse."""
    kept, _ = mixture.drop_zeros()
    return kept.to_json() if path.lower().endswith(".json") else kept.to_yaml()


def design_text(design: Design) -> str:
    """The csv file of mixtures to train."""
    text = io.StringIO(newline="")
    design.to_csv(text)
    return text.getvalue()
