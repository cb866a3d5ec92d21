"""The command baselines: mixtures that follow from token counts alone, side by side."""

from __future__ import annotations

import argparse
import math
from typing import Any

from mixfast import baselines
from mixfast._text.numbers import number, percent
from mixfast._text.outputs import MIXTURE, RUNS
from mixfast._text.table import text_table
from mixfast.cli import _documents as documents
from mixfast.cli import _inputs as inputs
from mixfast.cli import _options as shared
from mixfast.cli import _outputs as outputs
from mixfast.cli import _reading as reading
from mixfast.cli._console import say, show
from mixfast.cli._refusals import InputError, is_given, refuse_without
from mixfast.cli._types import checked, positive
from mixfast.mixture import Mixture
from mixfast.region import Region

_EXAMPLES = """\
examples:
  mixfast baselines --tokens counts.yaml --budget 1T
  mixfast baselines --tokens counts.yaml --budget 1T --max-epochs 8 --temperature 2 --out controls.csv
  mixfast baselines --tokens counts.yaml --budget 1T --utilities utilities.yaml --only utilimax --out mixture.yaml

utilities.yaml holds the utility of each domain, or of each domain for each task; 1 is ideal data:
  web:  {qa: 0.3, code: 0.1}
  code: {qa: 0.1, code: 0.9}
"""

_NAMES = ("natural", "uniform", "temperature", "unimax", "utilimax")
# Rounding may exceed a limit by this share.
_KEPT = 1e-9


def add(commands: shared.Commands) -> None:
    """Add the command to the parser."""
    parser = shared.add_command(
        commands,
        "baselines",
        _baselines,
        _EXAMPLES,
    )
    shared.add_limits(parser)
    more = parser.add_argument_group("baselines")
    more.add_argument(
        "--temperature",
        metavar="T",
        type=checked(_temperature),
        default=baselines.MULTILINGUAL,
        help="for the baseline `temperature`: shares in proportion to tokens^(1/T), T above 0; inf: equal shares (default 10/3)",
    )
    more.add_argument(
        "--utilities",
        metavar="FILE",
        help="also print the baseline UtiliMax: yaml or json file with the utility of each domain, or of each domain for each task; see below",
    )
    more.add_argument(
        "--risk",
        metavar="R",
        type=positive,
        default=1.0,
        help="with --utilities: weight of the term that favours many domains over few (default 1)",
    )
    more.add_argument("--only", choices=_NAMES, help="print this baseline alone; --out then writes a mixture file")
    shared.add_domain_paths(more)
    parser.add_argument(
        "--out", metavar="FILE", help="csv file with a row for each baseline, to train; with --only: .yaml or .json"
    )
    shared.add_force(parser)
    # The natural shares are the prior.
    parser.set_defaults(prior=None)


def _temperature(text: str) -> float:
    found = number(text)
    if not found > 0.0:
        raise InputError(f"got {text}, expected a number above 0, or inf")
    return found


def _baselines(args: argparse.Namespace) -> int:
    outputs.check(args, out=RUNS if args.only is None else MIXTURE)
    if args.tokens is None or args.budget is None:
        raise InputError("baselines follow from --tokens, the tokens of each domain, and --budget, those of the run")
    refuse_without(args, "--risk", "--utilities", "it weighs diversity against them")
    if args.only == "utilimax" and args.utilities is None:
        raise InputError("--only utilimax needs --utilities FILE, the utility of each domain")
    if args.only not in (None, "temperature") and is_given(args, "--temperature"):
        raise InputError(f"--temperature has no effect with --only {args.only}")
    domains = tuple(reading.tokens(args, told=False))
    region = inputs.region(args, domains, args.tokens)
    if region is None:
        raise InputError(f"{args.tokens} defines no region")
    found = _made(args, region)
    show(_table(region, found))
    if lines := _outside(region, found):
        say("", *lines)
    if args.out is not None:
        _write(args, region, found)
        say("", f"wrote {args.out}")
    documents.answer(args, _found(args, region, found), wrote=[args.out])
    return 0


def _made(args: argparse.Namespace, region: Region) -> dict[str, Mixture]:
    """Return the baselines by name."""
    makers: dict[str, Any] = {
        "natural": lambda: baselines.natural(region),
        "uniform": lambda: baselines.uniform(region),
        "temperature": lambda: baselines.temperature(region, args.temperature),
        "unimax": lambda: baselines.unimax(region),
    }
    if args.utilities is not None:
        makers["utilimax"] = lambda: baselines.utilimax(
            region, utilities=reading.utilities(args.utilities), risk=args.risk
        )
    return {name: make() for name, make in makers.items() if args.only in (None, name)}


def _epochs(region: Region, mixture: Mixture) -> dict[str, float]:
    return region.epochs(mixture) or {}


def _table(region: Region, found: dict[str, Mixture]) -> str:
    """Return shares and epochs side by side, the largest domains first."""
    epochs = {name: _epochs(region, mixture) for name, mixture in found.items()}
    tokens = dict(zip(region.domains, (region.available if region.available is not None else []), strict=True))
    rows = [
        [domain, f"{int(count):,}", *(cell for name in found for cell in (percent(found[name][domain]), f"{epochs[name][domain]:.2f}"))]
        for domain, count in sorted(tokens.items(), key=lambda item: -item[1])
    ]  # fmt: skip
    rows.append(
        ["most epochs", "", *(cell for each in epochs.values() for cell in ("", f"{max(each.values(), default=0.0):.2f}"))]
    )  # fmt: skip
    header = ["domain", "tokens", *(cell for name in found for cell in (name, "epochs"))]
    return text_table(header, rows)


def _outside(region: Region, found: dict[str, Mixture]) -> list[str]:
    """Name the baselines that exceed a limit."""
    return [
        f"{name} is outside the limits by up to {100.0 * by:.3g} percentage points"
        for name, mixture in found.items()
        if (by := _violation(region, mixture)) > 0.0
    ]


def _violation(region: Region, mixture: Mixture) -> float:
    by = float(region.violation(mixture.weights))
    return by if by > _KEPT else 0.0


def _write(args: argparse.Namespace, region: Region, found: dict[str, Mixture]) -> None:
    if args.only is not None:
        found[args.only].drop_zeros()[0].save(args.out, force=args.force)
        return
    import numpy as np

    from mixfast.designs import Design

    ratios = np.stack([mixture.align(region.domains).weights for mixture in found.values()])
    Design(ratios, region.domains, tuple(found), "baselines", 0).to_csv(args.out, force=args.force)


def _found(args: argparse.Namespace, region: Region, found: dict[str, Mixture]) -> dict[str, Any]:
    """Return the baselines as plain numbers."""
    return {
        "baselines": [
            {
                "name": name,
                "mixture": mixture.as_dict(),
                "epochs": _epochs(region, mixture),
                "violation": _violation(region, mixture),
            }
            for name, mixture in found.items()
        ],
        "budget": args.budget,
        "temperature": args.temperature if math.isfinite(args.temperature) else None,
    }
