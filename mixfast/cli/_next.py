"""The command next: choose the mixtures to train next, given the runs that are trained."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from mixfast._text.names import listing
from mixfast._text.outputs import COUNTS, RUNS
from mixfast._text.table import text_table
from mixfast.cli import _documents as documents
from mixfast.cli import _inputs as inputs
from mixfast.cli import _options as shared
from mixfast.cli import _outputs as outputs
from mixfast.cli import _types as types
from mixfast.cli._console import note, warn
from mixfast.cli._progress import progress
from mixfast.cli._refusals import InputError, check_seed
from mixfast.cli._runs import add_columns, add_drop_weak, add_runs, drop_weak, read_runs
from mixfast.cli._trials import add_design_output, add_pools, deliver_design, planned_pools
from mixfast.region import Region

if TYPE_CHECKING:
    from mixfast.designs import NextRuns
    from mixfast.laws import Fit

_EXAMPLES = """\
examples:
  mixfast next ratios.csv metrics.csv --runs 8 --out next.csv
  mixfast next ratios.csv metrics.csv law.json --runs 8 --objective worst --tokens counts.yaml --budget 1T --out next.csv
  mixfast next ratios.csv metrics.csv --runs 4 --among pool.csv --law log_linear --way information
"""


def add(commands: shared.Commands) -> None:
    """Add the command to the parser."""
    following = shared.add_command(commands, "next", _next, _EXAMPLES)
    add_runs(following)
    following.add_argument(
        "fitted", metavar="LAW", nargs="?", help="laws that `mixfast fit --out` wrote; default: fit them now"
    )
    following.add_argument("--runs", metavar="N", type=types.whole(1), required=True, help="number of runs to choose")
    shared.add_law(following)
    add_columns(following)
    add_drop_weak(following)
    following.add_argument(
        "--way",
        choices=["auto", "information", "improvement", "thompson"],
        default="auto",
        help="information: learn most about log-linear laws. improvement: the largest expected improvement of the objective. thompson: Thompson sampling, "
        "for large batches. auto (default): information if all laws are log-linear, else improvement",
    )
    shared.add_metric_objective(following)
    following.add_argument(
        "--among", metavar="POOL", help="csv file of mixtures to choose from; default: sampled within the limits"
    )
    add_design_output(following)
    add_pools(following)
    shared.add_limits(following)
    shared.add_prior(following)


def _next(args: argparse.Namespace) -> int:
    from mixfast.designs import Design, next_runs, rarely_sampled
    from mixfast.laws import Fit, fit
    from mixfast.swarm import doubts_of_directions

    outputs.check(args, out=RUNS, pools=COUNTS)
    pools = planned_pools(args)
    if args.fitted is not None and args.law is not None:
        raise InputError(f"--law {args.law} fits a law, and {args.fitted} already holds laws: leave out one of them")
    if args.fitted is not None and (args.more_is_better or args.less_is_better):
        raise InputError(
            f"--more-is-better and --less-is-better are for laws that are fitted now: {args.fitted} already holds the directions"
        )
    if args.fitted is not None and args.drop_weak:
        raise InputError(f"--drop-weak is for laws that are fitted now: {args.fitted} already holds its metrics")
    draws = args.fitted is None or args.among is None or args.way == "thompson"
    check_seed(
        args, draws, f"{args.fitted} holds fitted laws, --among holds the candidates, and only --way thompson is random"
    )
    swarm = drop_weak(args, read_runs(args, args.ratios, args.metrics))
    among = None if args.among is None else Design.from_csv(args.among)
    if args.fitted is not None:
        law, told = Fit.load(args.fitted), args.fitted
    else:
        with progress("fitting"):
            law = fit(swarm, args.law or "auto", seed=args.seed)
        told = listing(dict.fromkeys(law.laws.values()))
    region = inputs.region(args, law.domains, args.fitted or args.ratios) or Region(law.domains)
    if among is not None:
        inputs.same_names(args.among, among.domains, region.domains, "the region")
    objective = inputs.objective(args.objective, law.metrics, "metric")
    with progress("choosing runs"):
        found = next_runs(
            swarm, law, region, args.runs, objective=objective, way=args.way, among=among, seed=args.seed, **pools
        )
    numbers = zip(found.design.runs, *(v.tolist() for v in (found.gain, found.predicted, found.sd)), strict=True)
    rows = [[run, f"{gain:.3g}", f"{value:.6g}", f"{sd:.2g}"] for run, gain, value, sd in numbers]
    notes = law.notes if args.fitted is None else doubts_of_directions(law.doubted_directions)
    for text in notes:
        note(text)
    for text in rarely_sampled(found.design.rare):
        warn(text)
    lines = [
        f"{len(swarm)} runs, law: {told}; the lowest predicted objective of a run is {found.best:.6g}",
        *text_table(["run", "buys", "predicted", "+-"], rows).splitlines(),
        f"buys: {found.bought}, each given those before it",
    ]
    deliver_design(args, found.design, lines)
    documents.answer(args, _found(found, law), wrote=[args.out, args.pools])
    return 0


def _found(found: NextRuns, law: Fit) -> dict[str, Any]:
    """Return the runs with what each is expected to bring."""
    document = documents.design_found(found.design)
    expected = zip(found.gain.tolist(), found.predicted.tolist(), found.sd.tolist(), strict=True)
    for run, (gain, predicted, sd) in zip(document["runs"], expected, strict=True):
        run |= {"gain": gain, "predicted": predicted, "sd": sd}
    return {"laws": law.laws, **document, "bought": found.bought, "best": found.best}
