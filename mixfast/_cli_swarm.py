"""The commands fit, compare and propose: from the files of proxy runs to a mixture."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixfast import _cli_inputs as inputs
from mixfast import _cli_options as shared
from mixfast._cli_inputs import InputError

if TYPE_CHECKING:
    from mixfast.laws import Fit
    from mixfast.swarm import Swarm

_LAWS = ("linear", "log_linear", "autoscale", "bimix", "lightgbm", "gp")

_EXAMPLES = """\
examples:
  mixfast fit ratios.csv metrics.csv --out law.json
  mixfast compare ratios.csv metrics.csv
  mixfast propose law.json --tokens counts.yaml --budget 1T --kl 0.05 --out mixture.yaml
  mixfast propose law.json --objective pile_cc=1 --cap code=20%
"""


def add(commands: Any) -> None:
    """Add the commands to the parser."""
    raw = argparse.RawDescriptionHelpFormatter
    fit = commands.add_parser(
        "fit", help="fit laws to proxy runs", epilog=_EXAMPLES, formatter_class=raw, allow_abbrev=False
    )
    fit.set_defaults(run=_fit)
    _swarm_options(fit)
    fit.add_argument(
        "--law", metavar="NAME", default="auto", choices=["auto", *_LAWS], help=f"auto, {', '.join(_LAWS)}"
    )
    fit.add_argument("--out", metavar="FILE", help="write the laws: .json or .npz")
    compare = commands.add_parser("compare", help="every law, cross-validated, in one table", allow_abbrev=False)
    compare.set_defaults(run=_compare)
    _swarm_options(compare)
    propose = commands.add_parser(
        "propose", help="propose a mixture from laws", epilog=_EXAMPLES, formatter_class=raw, allow_abbrev=False
    )
    propose.set_defaults(run=_propose)
    propose.add_argument("law", metavar="LAW", help="what `mixfast fit --out` wrote")
    shared.limits(propose)
    goal = propose.add_argument_group("objective")
    goal.add_argument(
        "--objective",
        metavar="worst|METRIC|METRIC=WEIGHT",
        action="append",
        help="metrics not named count 0; default: the mean of all",
    )
    shared.pull(goal)
    propose.add_argument("--method", default="auto", help="auto, exact, search or regmix (default auto)")
    propose.add_argument("--seed", metavar="N", type=int, default=0, help="for what is drawn (default 0)")
    propose.add_argument("--out", metavar="FILE", help="write the mixture: .yaml or .json; shares of 0 are left out")
    propose.add_argument("--json", action="store_true", help="print everything as one JSON object")


def _swarm_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ratios", metavar="RATIOS", nargs="?", help="csv: a run a line, a domain a column")
    parser.add_argument("metrics", metavar="METRICS", nargs="?", help="csv: the same runs, a metric a column")
    parser.add_argument("--olmix-config", metavar="FILE", help="take the files and settings from an Olmix fit YAML")
    parser.add_argument("--metric", metavar="NAME", action="append", help="only this metric (repeated)")
    parser.add_argument("--folds", metavar="N", type=int, default=5, help="parts for out-of-fold errors (default 5)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the folds (default 0)")


def _swarm(args: argparse.Namespace) -> Swarm:
    from mixfast.swarm import Swarm

    ratios, metrics = args.ratios, args.metrics
    if args.olmix_config is not None:
        from mixfast._olmix_config import read

        config = read(args.olmix_config)
        ratios, metrics = ratios or config.ratios, metrics or config.metrics
    if ratios is None or metrics is None:
        raise InputError("two files are needed: the runs' RATIOS and their METRICS, both csv")
    with shared.progress(f"reading {ratios}"):
        swarm = Swarm.from_csv(ratios, metrics)
    print(swarm.report)
    return swarm


def _fit(args: argparse.Namespace) -> int:
    from mixfast.laws import fit

    if args.out is not None and Path(args.out).suffix not in (".json", ".npz"):
        raise InputError(f"--out {args.out}: laws are written as .json or .npz")
    swarm = _swarm(args)
    with shared.progress("fitting"):
        found = fit(swarm, args.law, metrics=args.metric, seed=args.seed, folds=args.folds)
    print(f"\n{found.report}")
    for note in found.notes:
        print(f"note: {note}")
    if args.out is not None:
        found.save(args.out)
        print(f"\nwrote {args.out}\nnext: mixfast propose {args.out}")
    return 0


def _compare(args: argparse.Namespace) -> int:
    from mixfast.laws import fit

    swarm = _swarm(args)
    reports = {}
    for law in _LAWS:
        try:
            with shared.progress(f"fitting {law}"):
                reports[law] = fit(swarm, law, metrics=args.metric, seed=args.seed, folds=args.folds).reports
        except (ValueError, RuntimeError) as problem:
            print(f"{law}: left out, {problem}")
    print("\n" + _rivals(reports))
    return 0


def _rivals(reports: dict[str, Any]) -> str:
    """Out-of-fold rmse of every metric under every law, the least marked, and the mean rank correlation."""
    from mixfast import _cli_text as text

    names = [one.metric for one in next(iter(reports.values()))]
    rows = []
    for j, name in enumerate(names):
        errors = [reports[law][j].rmse for law in reports]
        least = min(errors)
        rows.append([name, *(f"{error:.4g}{'*' if error == least else ' '}" for error in errors)])
    rows.append(["mean Spearman", *(f"{_mean([one.spearman for one in ones]):.4f} " for ones in reports.values())])
    return text.grid(["out-of-fold rmse", *reports], rows)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _propose(args: argparse.Namespace) -> int:
    from mixfast.laws import Fit
    from mixfast.proposers import propose

    shared.check_out(args.out)
    law = Fit.load(args.law)
    if args.kl > 0.0 and args.prior is None and args.tokens is None:
        args.prior = "uniform"
    region = inputs.region(args, law.domains)
    with shared.progress("searching"):
        found = propose(
            law, region, objective=_objective(args.objective, law), kl=args.kl, method=args.method, seed=args.seed
        )
    if args.out is not None:
        found.mixture.drop_zeros()[0].save(args.out)
    if args.json:
        print(json.dumps(shared.plain(found.to_dict()), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print(found.summary())
        if args.out is not None:
            print(f"\nwrote {args.out}")
    return 0 if found.status in ("optimal", "searched") else 1


def _objective(given: Sequence[str] | None, law: Fit) -> Any:
    if not given:
        return None
    if len(given) == 1 and "=" not in given[0]:
        return given[0]
    wrong = [text for text in given if "=" not in text]
    if wrong:
        raise InputError(f"--objective {wrong[0]}: expected worst, one METRIC, or METRIC=WEIGHT (repeated)")
    return inputs.named("--objective", given, law.metrics, "metric")
