"""Options that commands share, what is refused about them, and the line that shows that something is going on."""

from __future__ import annotations

import argparse
import io
import math
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from mixfast._engine.objectives.wear import MEASURED
from mixfast.cli import _inputs as inputs
from mixfast.cli._inputs import InputError

if TYPE_CHECKING:
    from mixfast.designs import Design
    from mixfast.mixture import Mixture
    from mixfast.swarm import Swarm

# Shorter than this, nobody wonders whether it still runs.
_QUIET_SECONDS = 1.0


def limits(parser: argparse.ArgumentParser) -> None:
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


def columns(parser: Any) -> None:
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
    """The runs of two files, with what `columns` tells of them."""
    from mixfast.swarm import Swarm

    with progress(f"reading {ratios}"):
        swarm = Swarm.from_csv(ratios, metrics, ignore=args.ignore or ())
    return directed(args, swarm)


def directed(args: argparse.Namespace, swarm: Swarm) -> Swarm:
    """The runs with the directions that the options name."""
    return swarm.better(more=args.more_is_better or (), less=args.less_is_better or ())


def check_wear(args: argparse.Namespace) -> None:
    """Refuse a wear out of range, or without what it is counted by."""
    inputs.positive("--wear", args.wear)
    if args.wear is not None and (args.tokens is None or args.budget is None):
        raise InputError("--wear counts how often tokens repeat: give --tokens and --budget")


def wear(group: Any) -> None:
    """Add how repeated tokens wear out."""
    group.add_argument(
        "--wear",
        metavar="REPEATS",
        type=checked(inputs.number),
        nargs="?",
        const=MEASURED,
        help="count repeated tokens for less: after so many repeats a token is worth 1/e of a new one "
        f"({MEASURED}, as measured by Muennighoff et al., if no number follows); needs --tokens and --budget",
    )


def pull(group: Any) -> None:
    """Add the KL term and its prior."""
    group.add_argument(
        "--kl",
        metavar="NATS",
        type=checked(inputs.number),
        default=0.0,
        help="weight of the KL divergence to the prior (default 0)",
    )
    group.add_argument(
        "--prior",
        metavar="FILE",
        help="shares or counts by domain (yaml, json), or uniform; default: --tokens, else uniform",
    )


def checked(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """A type for argparse that keeps the message of an InputError."""

    def convert(value: str) -> Any:
        try:
            return parse(value)
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def budget(value: str) -> int:
    """Tokens of a run."""
    tokens = inputs.count(value)
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


def plain(value: Any) -> Any:
    """Make strict JSON of it: infinity and NaN, which JSON has not, become null."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


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


def mixture_text(mixture: Mixture, path: str) -> str:
    """A mixture file without the shares of 0, which most loaders refuse."""
    kept, _ = mixture.drop_zeros()
    return kept.to_json() if path.lower().endswith(".json") else kept.to_yaml()


def design_text(design: Design) -> str:
    """The csv file of mixtures to train."""
    text = io.StringIO(newline="")
    design.to_csv(text)
    return text.getvalue()
