"""The commands design and next: which mixtures to train, from the limits alone and from runs that are trained already."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixfast._text.atomic import write_together
from mixfast._text.names import listing
from mixfast.cli import _inputs as inputs
from mixfast.cli import _options as shared
from mixfast.cli import _solve_report as text
from mixfast.cli import _swarm as swarm_commands
from mixfast.cli._inputs import InputError
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

_NEXT_EXAMPLES = """\
examples:
  mixfast next ratios.csv metrics.csv --runs 8 --out next.csv
  mixfast next ratios.csv metrics.csv law.json --runs 8 --objective worst --tokens counts.yaml --budget 1T --out next.csv
  mixfast next ratios.csv metrics.csv --runs 4 --among pool.csv --law log_linear --way information
"""

# The settings of a sampler, by option: the field of RegMix and of Olmix.
_SETTINGS = {
    "--strength": ("strength", "strength"),
    "--minimum": ("minimum", "minimum"),
    "--temperature": ("temper", "temperature"),
    "--nonzero": (None, "nonzero"),
    "--proxy-tokens": (None, "proxy_tokens"),
}


def add_design(commands: Any) -> None:
    """Add the command design to the parser."""
    design = commands.add_parser(
        "design",
        help="choose the mixtures of a swarm to train",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    design.set_defaults(run=_design)
    design.add_argument("--runs", metavar="N", type=int, help="default: as many as are advised for a log-linear law")
    design.add_argument(
        "--method",
        choices=["cover", "regmix", "olmix"],
        default="cover",
        help="cover (default) spreads runs over the region; regmix, olmix: the samplers of these papers",
    )
    design.add_argument("--domains", metavar="A,B,C", help="where neither --tokens nor --prior names them")
    design.add_argument("--frozen", metavar="FILE", help="groups of domains whose ratios are kept: yaml or json")
    design.add_argument("--extend", metavar="RATIOS", help="csv of runs that exist: choose runs far from them too")
    _common(design)
    shared.limits(design)
    design.add_argument("--prior", metavar="FILE", help="shares or counts by domain, or uniform; default: --tokens")
    sampler = design.add_argument_group("settings of regmix and olmix", "default: those of their code")
    sampler.add_argument("--strength", metavar="LOW..HIGH", type=shared.checked(_span), help="of the Dirichlet draws")
    sampler.add_argument(
        "--minimum", metavar="SHARE", type=shared.checked(inputs.number), help="smaller shares become 0"
    )
    sampler.add_argument("--temperature", metavar="T", type=float, help="exponent of the prior, at most 1")
    sampler.add_argument("--nonzero", metavar="NAME", action="append", help="olmix: a source or topic in every mixture")
    sampler.add_argument(
        "--proxy-tokens",
        metavar="N",
        type=shared.checked(shared.budget),
        help="olmix: proxies of this size repeat nothing",
    )


def add_next(commands: Any) -> None:
    """Add the command next to the parser."""
    following = commands.add_parser(
        "next",
        help="choose the runs to train next, given those there are",
        epilog=_NEXT_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    following.set_defaults(run=_next)
    following.add_argument("ratios", metavar="RATIOS", help="csv: a run a line, a domain a column")
    following.add_argument("metrics", metavar="METRICS", help="csv: the same runs, a metric a column")
    following.add_argument("fitted", metavar="LAW", nargs="?", help="what `mixfast fit --out` wrote; default: fit now")
    following.add_argument("--runs", metavar="Q", type=int, required=True, help="how many runs to choose")
    following.add_argument("--law", choices=["auto", *swarm_commands.LAWS], help="the law to fit (default auto)")
    shared.columns(following)
    following.add_argument(
        "--way",
        choices=["auto", "information", "improvement", "thompson"],
        default="auto",
        help="information: learn most of log-linear laws; improvement: try what may be best; thompson: the same by draws, "
        "for many runs at once; auto (default): by the laws",
    )
    following.add_argument(
        "--objective",
        metavar="worst|METRIC|METRIC=WEIGHT",
        action="append",
        help="metrics not named count 0; default: the mean of all",
    )
    following.add_argument("--among", metavar="POOL", help="csv of mixtures to choose from; default: drawn")
    _common(following)
    shared.limits(following)
    following.add_argument("--prior", metavar="FILE", help="shares or counts by domain, or uniform; default: --tokens")


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seed", metavar="N", type=int, default=0, help="the same seed gives the same runs (default 0)"
    )
    parser.add_argument("--out", metavar="FILE", help="write the mixtures as csv; default: on stdout")


def _span(given: str) -> tuple[float, float]:
    low, dots, high = given.partition("..")
    if not dots:
        raise InputError(f"{given!r} is no span; write it like 0.1..5")
    return inputs.number(low), inputs.number(high)


def _design(args: argparse.Namespace) -> int:
    from mixfast.designs import Design, design, extend

    shared.check_folder("--out", args.out)
    there = None if args.extend is None else Design.from_csv(args.extend)
    region = _region(args, there)
    frozen = None if args.frozen is None else inputs.groups(args.frozen)
    method = _method(args)
    if there is None:
        with shared.progress("choosing mixtures"):
            found = design(region, args.runs, seed=args.seed, method=method, frozen=frozen)
        advice = _advice(found.advised)
    else:
        if args.method != "cover":
            raise InputError(
                f"--extend keeps away from runs that exist, which --method {args.method} cannot: use cover"
            )
        if args.runs is None:
            raise InputError("--extend needs --runs: how many to add")
        with shared.progress("choosing mixtures"):
            found = extend(there, region, args.runs, seed=args.seed, frozen=frozen)
        advice = f"{_advice(found.advised + len(there))}, of which {len(there)} exist"
        if found.advised == 0:
            advice = f"the {len(there)} runs that exist are as many as are advised"
    fewer = "" if len(found) >= found.advised else f"; {len(found)} are fewer than that"
    lines = [f"{len(found)} runs of {len(found.domains)} domains, {found.method}", advice + fewer]
    if found.different < len(found):
        lines.append(
            f"only {found.different} of these mixtures differ: the limits leave no room for more; loosen them, or train each of "
            "these once"
        )
    _emit(args.out, found, lines)
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


def _region(args: argparse.Namespace, there: Design | None) -> Region:
    """The region of the options, whose domains the first of them names that can."""
    if args.domains is not None:
        domains, owner = tuple(name.strip() for name in args.domains.split(",")), "--domains"
    elif args.tokens is not None:
        domains, owner = tuple(inputs.numbers(args.tokens, inputs.count)), args.tokens
    elif args.prior not in (None, "uniform"):
        domains, owner = tuple(inputs.numbers(args.prior, str)), args.prior
    elif there is not None:
        domains, owner = there.domains, args.extend
    else:
        raise InputError("which domains? Name them by --tokens counts.yaml, --prior shares.yaml or --domains a,b,c")
    return inputs.region(args, domains, owner) or Region(domains)


def _next(args: argparse.Namespace) -> int:
    from mixfast.designs import Design, next_runs
    from mixfast.laws import Fit, fit

    shared.check_folder("--out", args.out)
    if args.runs < 1:
        raise InputError(f"--runs is {args.runs}, expected at least 1")
    if args.fitted is not None and args.law is not None:
        raise InputError(f"--law {args.law} fits a law, and {args.fitted} is one: leave out one of them")
    if args.fitted is not None and (args.more_is_better or args.less_is_better):
        raise InputError(
            f"--more-is-better and --less-is-better are for laws that are fitted now: {args.fitted} has its directions"
        )
    swarm = shared.read_runs(args, args.ratios, args.metrics)
    among = None if args.among is None else Design.from_csv(args.among)
    if args.fitted is not None:
        law, told = Fit.load(args.fitted), args.fitted
    else:
        with shared.progress("fitting"):
            law = fit(swarm, args.law or "auto", seed=args.seed)
        told = listing(dict.fromkeys(law.laws.values()))
    region = inputs.region(args, law.domains, args.fitted or args.ratios) or Region(law.domains)
    objective = swarm_commands.objective_of(args.objective, law)
    with shared.progress("choosing runs"):
        found = next_runs(swarm, law, region, args.runs, objective=objective, way=args.way, among=among, seed=args.seed)
    numbers = zip(found.design.runs, *(v.tolist() for v in (found.gain, found.predicted, found.sd)), strict=True)
    rows = [[run, f"{gain:.3g}", f"{value:.6g}", f"{sd:.2g}"] for run, gain, value, sd in numbers]
    lines = [
        f"{len(swarm)} runs, law: {told}; the best of them is predicted {found.best:.6g}",
        text.grid(["run", "buys", "predicted", "+-"], rows),
        f"buys: {found.bought}, each given those before it",
    ]
    _emit(args.out, found.design, lines)
    return 0


def _emit(out: str | None, design: Design, lines: list[str]) -> None:
    """Write the file and tell of it; without one the mixtures go to stdout and the words to stderr."""
    if out is None:
        print("\n".join(lines), file=sys.stderr)
        print(shared.design_text(design), end="")
        return
    write_together({out: shared.design_text(design)})
    print("\n".join([*lines, f"wrote {Path(out)}: train a proxy on each row"]))
