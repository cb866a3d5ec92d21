"""The command design: which mixtures to train, from the limits alone."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from mixfast._text.numbers import count, number
from mixfast.cli import _inputs as inputs
from mixfast.cli import _options as shared
from mixfast.cli import _outputs as outputs
from mixfast.cli._inputs import InputError
from mixfast.cli._progress import progress
from mixfast.region import Region

if TYPE_CHECKING:
    from mixfast.designs import Design, Olmix, RegMix

_EXAMPLES = """\
examples:
  mixfast design --tokens counts.yaml --budget 1T --out ratios.csv
  mixfast design --domains web,code,books --cap books=10% --runs 32 --seed 1 > ratios.csv
  mixfast design --tokens counts.yaml --budget 1T --method olmix --strength 1..20 --minimum 1e-4 --out ratios.csv
  mixfast design --tokens counts.yaml --budget 1T --extend ratios.csv --runs 8 --out more.csv
  mixfast design --domains web,code,books --frozen groups.yaml --out ratios.csv

groups.yaml, domains whose ratios to each other are kept:
  existing:
    web: 0.7
    books: 0.3
"""

# The settings of a sampler, by option: the field of RegMix and of Olmix.
_SETTINGS = {
    "--strength": ("strength", "strength"),
    "--minimum": ("minimum", "minimum"),
    "--temperature": ("temper", "temperature"),
    "--nonzero": (None, "nonzero"),
    "--proxy-tokens": (None, "proxy_tokens"),
}


def add(commands: shared.Commands) -> None:
    """Add the command to the parser."""
    design = shared.add_command(commands, "design", _design, "choose the mixtures of a swarm to train", _EXAMPLES)
    design.add_argument("--runs", metavar="N", type=int, help="default: as many as are advised for a log-linear law")
    design.add_argument(
        "--method",
        choices=["cover", "regmix", "olmix"],
        default="cover",
        help="cover (default) spreads runs over the region; regmix, olmix: the samplers of these papers",
    )
    design.add_argument("--domains", metavar="A,B,C", help="if neither --tokens nor --prior names them")
    design.add_argument("--frozen", metavar="FILE", help="groups of domains whose ratios are kept: yaml or json")
    design.add_argument("--extend", metavar="RATIOS", help="csv of runs that exist: choose runs far from them too")
    shared.add_design_output(design)
    shared.add_limits(design)
    shared.add_prior(design)
    sampler = design.add_argument_group("settings of regmix and olmix", "default: those of their code")
    sampler.add_argument("--strength", metavar="LOW..HIGH", type=shared.checked(_span), help="of the Dirichlet draws")
    sampler.add_argument("--minimum", metavar="SHARE", type=shared.checked(number), help="smaller shares become 0")
    sampler.add_argument("--temperature", metavar="T", type=float, help="exponent of the prior, at most 1")
    sampler.add_argument("--nonzero", metavar="NAME", action="append", help="olmix: a source or topic in every mixture")
    sampler.add_argument(
        "--proxy-tokens",
        metavar="N",
        type=shared.checked(shared.budget),
        help="olmix: proxies of this size repeat nothing",
    )


def _span(given: str) -> tuple[float, float]:
    low, dots, high = given.partition("..")
    if not dots:
        raise InputError(f"{given!r} is no span; write it like 0.1..5")
    return number(low), number(high)


def _design(args: argparse.Namespace) -> int:
    from mixfast.designs import Design, design, extend

    outputs.check_folder("--out", args.out)
    existing = None if args.extend is None else Design.from_csv(args.extend)
    region = _region(args, existing)
    frozen = None if args.frozen is None else inputs.groups(args.frozen)
    method = _method(args)
    if existing is None:
        with progress("choosing mixtures"):
            found = design(region, args.runs, seed=args.seed, method=method, frozen=frozen)
        advice = _advice(found.advised)
    else:
        if args.method != "cover":
            raise InputError(
                f"--extend keeps away from runs that exist, which --method {args.method} cannot: use cover"
            )
        if args.runs is None:
            raise InputError("--extend needs --runs: how many to add")
        with progress("choosing mixtures"):
            found = extend(existing, region, args.runs, seed=args.seed, frozen=frozen)
        advice = f"{_advice(found.advised + len(existing))}, of which {len(existing)} exist"
        if found.advised == 0:
            advice = f"the {len(existing)} runs that exist are as many as are advised"
    fewer = "" if len(found) >= found.advised else f"; {len(found)} are fewer than that"
    lines = [f"{len(found)} runs of {len(found.domains)} domains, {found.method}", advice + fewer]
    if found.different < len(found):
        lines.append(
            f"only {found.different} of these mixtures differ: the limits leave no room for more; loosen them, or train each of "
            "these once"
        )
    outputs.deliver_design(args.out, found, lines)
    return 0


def _advice(runs: int) -> str:
    numbers = -(-runs // 3)
    return (
        f"advised: {runs} runs, 3 for each of the {numbers} numbers of a log-linear law (one for each domain, frozen groups "
        "counted once, and a constant): beyond that, Olmix found its proposals to get little better"
    )


def _method(args: argparse.Namespace) -> str | RegMix | Olmix:
    from mixfast.designs import Olmix, RegMix

    place = {"cover": None, "regmix": 0, "olmix": 1}[args.method]
    given: dict[str, Any] = {}
    for option, fields in _SETTINGS.items():
        value = getattr(args, option[2:].replace("-", "_"))
        if value is None:
            continue
        name = None if place is None else fields[place]
        if name is None:
            raise InputError(f"{option} is no setting of --method {args.method}")
        given[name] = tuple(value) if isinstance(value, list) else value
    return "cover" if place is None else (RegMix, Olmix)[place](**given)


def _region(args: argparse.Namespace, existing: Design | None) -> Region:
    """Return the region of the options; the first option that can names the domains."""
    if args.domains is not None:
        domains, owner = tuple(name.strip() for name in args.domains.split(",")), "--domains"
    elif args.tokens is not None:
        domains, owner = tuple(inputs.numbers(args.tokens, count)), args.tokens
    elif args.prior not in (None, "uniform"):
        domains, owner = tuple(inputs.numbers(args.prior, str)), args.prior
    elif existing is not None:
        domains, owner = existing.domains, args.extend
    else:
        raise InputError("which domains? Name them by --tokens counts.yaml, --prior shares.yaml or --domains a,b,c")
    return inputs.region(args, domains, owner) or Region(domains)
