"""Mixtures to train, as the commands design, next and reuse plan choose and write them."""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixfast.cli import _types as types
from mixfast.cli._console import beside, say, warn
from mixfast.cli._options import add_force
from mixfast.cli._outputs import print_file
from mixfast.cli._refusals import InputError

if TYPE_CHECKING:
    from mixfast.designs import Design


def add_design_output(parser: argparse.ArgumentParser) -> None:
    """Add the seed and the output of commands that choose mixtures to train."""
    parser.add_argument(
        "--seed",
        metavar="N",
        type=types.seed,
        default=0,
        help="random seed; the same seed gives the same runs (default 0)",
    )
    parser.add_argument("--out", metavar="FILE", help="csv file to write the mixtures to; default: stdout")
    add_force(parser)


def add_pools(parser: argparse.ArgumentParser) -> None:
    """Add the options for pools that are repeated in a proxy run as in the target run."""
    group = parser.add_argument_group(
        "repetition", "Compute the size of each domain's pool for proxy runs. These options need --tokens and --budget."
    )
    group.add_argument(
        "--proxy-budget",
        metavar="N",
        type=types.budget,
        help="tokens of a proxy run: the pools are then sized so that a share is read as often as in the target run",
    )
    group.add_argument(
        "--sequence-length",
        metavar="N",
        type=types.whole(1),
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


def design_text(design: Design) -> str:
    """Return the text of a csv file of mixtures to train."""
    text = io.StringIO(newline="")
    design.to_csv(text)
    return text.getvalue()


def _pools_in_words(design: Design) -> str:
    """Say how much of each domain a proxy run may read."""
    pools = design.pools or {}
    epochs = design.epochs
    most = 0.0 if epochs is None else float(epochs.max())
    return (
        f"pools for proxy runs of {design.budget:,} tokens: {sum(pools.values()):,} tokens together; a run reads a pool at most {most:.3g} times, as the "
        "target run would"
    )


def deliver_design(args: argparse.Namespace, design: Design, lines: Sequence[str]) -> None:
    """Write the mixtures to ``--out``, the pools to ``--pools``, and print the lines; without ``--out``, print the mixtures, and the lines on stderr."""
    if design.pools is None:
        lines = [*lines, *design.doubts]
    for doubt in () if design.pools is None else design.doubts:
        warn(doubt)
    if design.pools is not None and design.budget is not None:
        lines = [*lines, _pools_in_words(design)]
    if args.pools is not None:
        design.save_pools(args.pools, force=args.force)
        lines = [*lines, f"wrote {Path(args.pools)}: tokens of each domain's pool, for --run-tokens"]
    if args.out is not None:
        design.to_csv(args.out, force=args.force)
        say(*lines, f"wrote {Path(args.out)}: train a proxy on each row")
    elif not args.json:
        text = design_text(design)
        beside(*lines)
        print_file(text)
