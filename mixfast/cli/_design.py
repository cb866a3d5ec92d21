"""The command design: choose the mixtures of a first swarm of proxy runs from the limits alone."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from mixfast._text.names import listing, shown, split_names
from mixfast._text.numbers import number, total
from mixfast._text.outputs import COUNTS, RUNS
from mixfast._text.visible import quote
from mixfast.cli import _documents as documents
from mixfast.cli import _inputs as inputs
from mixfast.cli import _options as shared
from mixfast.cli import _outputs as outputs
from mixfast.cli import _reading as reading
from mixfast.cli import _types as types
from mixfast.cli._console import note, warn
from mixfast.cli._progress import progress
from mixfast.cli._refusals import InputError, is_given, no_effect
from mixfast.cli._runs import add_run_pools, run_pools
from mixfast.cli._trials import add_design_output, add_pools, deliver_design, planned_pools
from mixfast.region import Region

if TYPE_CHECKING:
    from mixfast.designs import Design, Olmix, RegMix
    from mixfast.readers import OlmixGeneration

_EXAMPLES = """\
examples:
  mixfast design --tokens counts.yaml --budget 1T --out ratios.csv
  mixfast design --domains web,code,books --cap books=10% --runs 32 --seed 1 > ratios.csv
  mixfast design --tokens counts.yaml --budget 1T --method olmix --strength 1..20 --minimum 1e-4 --out ratios.csv
  mixfast design --tokens counts.yaml --budget 1T --extend ratios.csv --runs 8 --out more.csv
  mixfast design --tokens counts.yaml --budget 1T --repeats 5 --out ratios.csv
  mixfast design --tokens counts.yaml --budget 1T --proxy-budget 2B --pools pools.yaml --out ratios.csv
  mixfast design --domains web,code,books --frozen groups.yaml --out ratios.csv
  mixfast design --olmix-config generate.yaml --out ratios.csv

groups.yaml holds groups of domains whose ratios to each other are fixed:
  existing:
    web: 0.7
    books: 0.3
"""


class _Setting(NamedTuple):
    """An option of the samplers: the parser of its value, and the fields of RegMix and Olmix that it sets."""

    option: str
    metavar: str
    parse: Callable[[str], Any]
    regmix: str | None
    olmix: str | None
    help: str

    @property
    def name(self) -> str:
        """The name of the parsed value."""
        return self.option[2:].replace("-", "_")


def _span(given: str) -> tuple[float, float]:
    low, dots, high = given.partition("..")
    if not dots:
        raise InputError(f"{shown(given)} is not a span; write it like 0.1..5")
    return number(low), number(high)


def _minimum(given: str) -> float | tuple[float, float]:
    of_source, comma, of_topic = given.partition(",")
    return (number(of_source), number(of_topic)) if comma else number(of_source)


def _prior_shares(path: str) -> dict[str, float]:
    found = reading.by_domain(path, reading.share_or_count)
    # Sources that the file does not name keep their natural shares, so token counts must be converted to shares.
    whole = total(found.values()) if max(found.values()) > 1.0 else 1.0
    return {name: value / whole for name, value in found.items()}


def _shares(path: str) -> dict[str, float]:
    """Read shares that do not sum to 1: those within sources, or of some sources alone. No loader's file has such."""
    return reading.numbers(path, number)


# Options that define the allowed mixtures, as an Olmix configuration does.
_WHERE = (
    "domains",
    "tokens",
    "budget",
    "max_epochs",
    "cap",
    "floor",
    "limit",
    "prior",
    "mixture_paths",
    "proxy_tokens",
    "proxy_epochs",
)

_SETTINGS = tuple(
    _Setting(*row)
    for row in (
        ("--strength", "LOW..HIGH", _span, "strength", "strength", "strengths of the Dirichlet distributions"),
        ("--source-strength", "LOW..HIGH", _span, None, "source_strength", "strengths for sources alone"),
        ("--topic-strength", "LOW..HIGH", _span, None, "topic_strength", "strengths for topics alone"),
        ("--temperature", "T", number, "temper", "temperature", "exponent of the prior, at most 1"),
        ("--source-temperature", "T", number, None, "source_temperature", "exponent of the prior of sources alone"),
        ("--topic-temperature", "T", number, None, "topic_temperature", "exponent of the prior of topics alone"),
        (
            "--minimum", "SHARE[,TOPIC]", _minimum, "minimum", "minimum",
            "smaller shares become 0; with two numbers, the first is for sources without topics, the second for topics within their source",
        ),
        ("--usage", "TIMES", number, "usage", None, "largest share, as a multiple of the prior share"),
        ("--multiplier", "N", types.whole(1), "multiplier", "multiplier", "candidates sampled for each run"),
        ("--source-prior", "FILE", _prior_shares, None, "source_prior", f"prior shares of sources: {shared.MIXTURES}"),
        ("--topic-prior", "FILE", _shares, None, "topic_prior", "yaml or json file with the prior shares of topics within their source"),
        ("--source-share", "FILE", _shares, None, "source_share", "yaml or json file with fixed shares of sources"),
        ("--topic-share", "FILE", _shares, None, "topic_share", "yaml or json file with fixed shares of topics within their source"),
        ("--nonzero", "NAME", str, None, "nonzero", "source or topic that every mixture must contain (repeatable)"),
        ("--nonzero-in", "mixtures|draws", str, None, "nonzero_in", "where --nonzero is checked; draws: before small shares become 0, as in its code"),
        ("--proxy-tokens", "N", types.budget, None, "proxy_tokens", "tokens of a proxy run, which then repeats no token"),
        ("--proxy-epochs", "E", number, None, "max_epochs", "with --proxy-tokens: largest number of passes over a domain in a proxy run"),
        ("--apart", "DISTANCE", number, None, "apart", "smallest Euclidean distance between candidates"),
        ("--existing-apart", "DISTANCE", number, None, "existing_apart", "with --extend: smallest distance to its runs"),
    )
)  # fmt: skip


def add(commands: shared.Commands) -> None:
    """Add the command to the parser."""
    design = shared.add_command(commands, "design", _design, _EXAMPLES)
    design.add_argument(
        "--runs",
        metavar="N",
        type=types.whole(1),
        help="number of mixtures; default: the number advised for a log-linear law",
    )
    design.add_argument(
        "--method",
        choices=["cover", "regmix", "olmix"],
        help="cover (default): spread the runs over the allowed region. regmix, olmix: the samplers of these papers",
    )
    design.add_argument(
        "--domains",
        metavar="A,B,C",
        help="names of the domains, if neither --tokens nor --prior gives them; put names that hold a comma in double quotes",
    )
    design.add_argument(
        "--frozen",
        metavar="FILE",
        help="yaml or json file of groups of domains whose ratios to each other are fixed; see below",
    )
    design.add_argument(
        "--extend", metavar="RATIOS", help="csv file of existing runs; the new mixtures are placed far from these"
    )
    add_run_pools(
        design.add_argument_group("existing runs", "These options say how often the runs of --extend read each domain.")
    )
    design.add_argument(
        "--repeats",
        metavar="N",
        type=types.whole(2),
        default=0,
        help="give this many of the runs the same mixture, the allowed one nearest to the prior; train them with different seeds to measure the noise of "
        "the metrics",
    )
    design.add_argument(
        "--olmix-config",
        metavar="FILE",
        help="read domains, limits, sampler, runs and seed from an Olmix generate YAML; options override sampler, runs and seed",
    )
    add_design_output(design)
    # None means that --seed was not given; then the file of --olmix-config may set it.
    design.set_defaults(seed=None)
    add_pools(design)
    shared.add_limits(design)
    shared.add_prior(design)
    sampler = design.add_argument_group("settings of regmix and olmix", "The defaults are those of their code.")
    for setting in _SETTINGS:
        whose = "" if setting.regmix and setting.olmix else "regmix: " if setting.regmix else "olmix: "
        sampler.add_argument(
            setting.option,
            metavar=setting.metavar,
            type=types.checked(setting.parse),
            action="append" if setting.olmix == "nonzero" else "store",
            help=whose + setting.help,
        )
    sampler.add_argument(
        "--no-bound", action="store_true", help="olmix: apply caps to chosen mixtures only, not to candidates"
    )


def _design(args: argparse.Namespace) -> int:
    from mixfast.designs import Design, design, extend

    outputs.check(args, out=RUNS, pools=COUNTS)
    pools = planned_pools(args)
    if args.extend is None and (given := [one for one in ("--run-tokens", "--run-budget") if is_given(args, one)]):
        raise InputError(f"{no_effect(given)} without --extend, the existing runs that they describe")
    existing = None if args.extend is None else Design.from_csv(args.extend, **run_pools(args))
    config = _config(args)
    region = _region(args, existing) if config is None else config.region
    frozen = None if args.frozen is None else reading.groups(args.frozen)
    method = _method(args, config)
    runs = config.runs if config is not None and args.runs is None else args.runs
    seed = args.seed if args.seed is not None else 0 if config is None else config.seed
    for text in () if config is None else config.notes:
        note(f"{args.olmix_config}: {text}")
    if existing is None:
        with progress("choosing mixtures"):
            found = design(region, runs, seed=seed, method=method, frozen=frozen, repeats=args.repeats, **pools)
        advice = _advice(found.advised)
    else:
        if args.method == "regmix":
            raise InputError(
                "--extend keeps away from existing runs, which --method regmix cannot do: use cover or olmix"
            )
        if runs is None:
            raise InputError("--extend needs --runs: how many to add")
        with progress("choosing mixtures"):
            found = extend(
                existing, region, runs, seed=seed, method=method, frozen=frozen, repeats=args.repeats, **pools
            )
        advice = f"{_advice(found.advised + len(existing))}, of which {len(existing)} exist"
        if found.advised == 0:
            advice = f"the {len(existing)} existing runs are as many as are advised"
    fewer = "" if len(found) >= found.advised else f"; {len(found)} are fewer than that"
    lines = [f"{len(found)} runs of {len(found.domains)} domains, {found.method}", advice + fewer]
    if found.repeats:
        lines.append(
            f"runs {listing(found.repeats)} repeat one mixture, the allowed one nearest to the prior: train each with another seed, and the noise of the "
            "metrics is known"
        )
    if found.different < len(found) - len(found.repeats[1:]):
        lines.append(
            f"only {found.different} of these mixtures are different, because the limits allow no more: loosen them, or train each "
            "mixture once"
        )
    deliver_design(args, found, lines + _rare(found, region))
    documents.answer(args, documents.design_found(found), wrote=[args.out, args.pools])
    return 0


def _advice(runs: int) -> str:
    numbers = -(-runs // 3)
    return (
        f"advised: {runs} runs, 3 for each of the {numbers} coefficients of a log-linear law (a constant, and one for each domain or "
        "frozen group); beyond that, Olmix found that the error of proposals levels off"
    )


def _rare(found: Design, region: Region) -> list[str]:
    """Warn of domains that few runs sample, and return what to do about them."""
    from mixfast.designs import rarely_sampled

    if not found.rare:
        return []
    name = next(iter(found.rare))
    cap = float(region.cap[region.domains.index(name)])
    floor = f"--floor {quote(f'{name}={min(0.01, cap / 2):.2g}')}"
    ways = f"give it a floor ({floor})"
    if found.method != "cover":
        ways = f"lower --temperature or --minimum, or use --method cover, which takes a floor ({floor})"
    others = "drop it" if found.method == "regmix" else "drop it, or merge it with another (--frozen)"
    for line in rarely_sampled(found.rare):
        warn(line)
    return [
        f"a law cannot learn the effect of such a domain: {ways}, or {others}",
    ]


def _method(args: argparse.Namespace, config: OlmixGeneration | None) -> str | RegMix | Olmix:
    """Return the sampler that the options set; they override a configuration."""
    from mixfast.designs import Olmix, RegMix

    method = args.method or ("cover" if config is None else "olmix")
    given: dict[str, Any] = {} if not args.no_bound else {"bound": False}
    if args.no_bound and method != "olmix":
        raise InputError(f"--no-bound is not a setting of --method {method}")
    for setting in _SETTINGS:
        value = getattr(args, setting.name)
        if value is None:
            continue
        name = {"cover": None, "regmix": setting.regmix, "olmix": setting.olmix}[method]
        if name is None:
            raise InputError(f"{setting.option} is not a setting of --method {method}")
        if method == "regmix" and name == "minimum" and isinstance(value, tuple):
            raise InputError("--minimum takes one share with --method regmix, which has no topics")
        given[name] = tuple(value) if isinstance(value, list) else value
    if method == "cover":
        return "cover"
    if config is not None:
        return replace(config.sampler, **given)
    return (RegMix if method == "regmix" else Olmix)(**given)


def _config(args: argparse.Namespace) -> OlmixGeneration | None:
    """Read the Olmix configuration; refuse options that it replaces."""
    if args.olmix_config is None:
        return None
    from mixfast.readers import olmix_generate

    for option in _WHERE:
        if getattr(args, option) is not None:
            name = option.replace("_", "-")
            raise InputError(f"--{name} and --olmix-config both define the allowed mixtures: leave out one of them")
    if args.method not in (None, "olmix"):
        raise InputError(
            f"--olmix-config gives settings of Olmix's sampler, and --method {args.method} has none of them"
        )
    config = olmix_generate(args.olmix_config)
    if config.existing is not None and args.extend is None:
        raise InputError(
            f"{args.olmix_config} names existing runs in {config.existing}, a pickle file, which is not read because it can run code: write its "
            "runs to a csv file (pandas.read_pickle(...).to_csv(...)) and give it with --extend"
        )
    return config


def _region(args: argparse.Namespace, existing: Design | None) -> Region:
    """Return the region that the options define; the domains come from the first option that names them."""
    if args.domains is not None:
        domains, owner = tuple(split_names(args.domains)), "--domains"
    elif args.tokens is not None:
        domains, owner = tuple(reading.tokens(args, told=False)), args.tokens
    elif args.prior not in (None, "uniform"):
        domains, owner = tuple(reading.prior_shares(args, told=False)), args.prior
    elif existing is not None:
        domains, owner = existing.domains, args.extend
    else:
        raise InputError(
            "no option names the domains: give --tokens counts.yaml, --prior shares.yaml or --domains a,b,c"
        )
    return inputs.region(args, domains, owner) or Region(domains)
