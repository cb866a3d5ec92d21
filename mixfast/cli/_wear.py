"""The command wear: how fast repeated tokens of each domain wear out, from runs that repeat them."""

from __future__ import annotations

import argparse

from mixfast._text.outputs import WEAR
from mixfast._text.visible import quote
from mixfast.cli import _documents as documents
from mixfast.cli import _options as shared
from mixfast.cli import _outputs as outputs
from mixfast.cli._console import say, show
from mixfast.cli._progress import progress
from mixfast.cli._runs import add_columns, add_drop_weak, add_runs, drop_weak, read_runs

_EXAMPLES = """\
examples:
  mixfast wear ratios.csv metrics.csv --run-tokens pools.yaml --run-budget 5B --out wear.yaml
  mixfast wear ratios.csv metrics.csv --run-tokens pools.yaml --run-budget 5B --form threshold
  mixfast solve table.npz --tokens counts.yaml --budget 1T --max-epochs 32 --wear wear.yaml
"""


def add(commands: shared.Commands) -> None:
    """Add the command to the parser."""
    wear = shared.add_command(
        commands,
        "wear",
        _wear,
        _EXAMPLES,
    )
    add_runs(wear)
    add_columns(wear)
    add_drop_weak(wear)
    wear.add_argument(
        "--form",
        choices=("fade", "threshold"),
        default="fade",
        help="fade (default): repeated tokens lose their value gradually. threshold: tokens count fully up to a number of epochs, and further epochs do not "
        "count. The form with the smaller residual fits better",
    )
    wear.add_argument(
        "--out", metavar="FILE", help="yaml file to write a number for each domain to, for `mixfast solve --wear FILE`"
    )
    shared.add_force(wear)


def _wear(args: argparse.Namespace) -> int:
    from mixfast.laws import fit_wear

    outputs.check(args, out=WEAR)
    swarm = drop_weak(args, read_runs(args, args.ratios, args.metrics))
    show(swarm.report)
    with progress("fitting the wear of repeated tokens"):
        found = fit_wear(swarm, form=args.form)
    show(f"\n{found.summary()}")
    if args.out is not None:
        found.save(args.out, force=args.force)
        say(
            "",
            f"wrote {args.out}",
            f"next: mixfast solve TABLE --tokens FILE --budget N --max-epochs 32 --wear {quote(args.out)}",
        )
    documents.answer(args, {"swarm": documents.swarm_found(swarm), **found.to_dict()}, wrote=[args.out])
    return 0
