"""The commands fit, compare and propose: from files of proxy runs to a mixture."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mixfast._text.names import listing, shown
from mixfast._text.outputs import FIT, MIXTURE
from mixfast._text.table import text_table
from mixfast._text.visible import quote
from mixfast.cli import _documents as documents
from mixfast.cli import _goals as goals
from mixfast.cli import _inputs as inputs
from mixfast.cli import _options as shared
from mixfast.cli import _outputs as outputs
from mixfast.cli import _types as types
from mixfast.cli._console import note, say, show
from mixfast.cli._options import LAWS
from mixfast.cli._progress import progress
from mixfast.cli._refusals import InputError, note_seed
from mixfast.cli._runs import (
    add_columns,
    add_drop_weak,
    add_runs,
    check_folds,
    directed,
    drop_weak,
    read_runs,
    run_pools,
    without,
)

if TYPE_CHECKING:
    from mixfast.laws import Fit
    from mixfast.proposers import Proposal
    from mixfast.readers import OlmixConfig
    from mixfast.region import Region
    from mixfast.swarm import Swarm

# Names of methods in Olmix. Its "search" takes the best run of the swarm, which `fit` reports.
_PROPOSERS = {"exact": "exact", "simulation": "simulation"}

_EXAMPLES = """\
examples:
  mixfast fit ratios.csv metrics.csv --out law.json
  mixfast compare ratios.csv metrics.csv
  mixfast propose law.json --tokens counts.yaml --budget 1T --kl 0.05 --out mixture.yaml
  mixfast propose law.json --objective pile_cc=1 --cap code=20%
  mixfast propose law.json --target 'math_*' --guard '*=1 sd' --prior today.yaml
  mixfast propose law.json --reach 'gsm8k_bpb<=0.9' --near today.yaml
  mixfast fit --olmix-config fit.yaml --out law.json && mixfast propose law.json --olmix-config fit.yaml
"""


def add(commands: shared.Commands) -> None:
    """Add the commands to the parser."""
    fit = shared.add_command(commands, "fit", _fit, _EXAMPLES)
    _add_runs(fit)
    shared.add_law(fit)
    fit.add_argument("--out", metavar="FILE", help="file to write the laws to: .json or .npz")
    shared.add_force(fit)
    compare = shared.add_command(commands, "compare", _compare)
    _add_runs(compare)
    propose = shared.add_command(commands, "propose", _propose, _EXAMPLES)
    propose.add_argument("law", metavar="LAW", help="laws that `mixfast fit --out` wrote")
    shared.add_limits(propose)
    goal = propose.add_argument_group("objective")
    shared.add_metric_objective(goal)
    goals.add(goal)
    shared.add_kl_options(goal)
    # None means not given: then the file of --olmix-config sets it.
    propose.set_defaults(kl=None)
    propose.add_argument(
        "--olmix-config", metavar="FILE", help="read prior, limits, objective, KL and method from an Olmix fit YAML"
    )
    propose.add_argument("--seed", metavar="N", type=types.seed, help="random seed (default 0)")
    propose.add_argument(
        "--out", metavar="FILE", help="file to write the mixture to: .yaml or .json; domains with share 0 are left out"
    )
    shared.add_force(propose)


def _add_runs(parser: argparse.ArgumentParser) -> None:
    add_runs(parser, "?")
    parser.add_argument(
        "--olmix-config", metavar="FILE", help="read files, law, seed and metrics from an Olmix fit YAML"
    )
    add_columns(parser)
    add_drop_weak(parser)
    parser.add_argument(
        "--folds",
        metavar="N",
        type=types.folds,
        default=5,
        help="number of cross-validation folds (default 5); 0: none",
    )
    parser.add_argument("--seed", metavar="N", type=types.seed, help="random seed of the folds (default 0)")


def _config(args: argparse.Namespace) -> OlmixConfig | None:
    if args.olmix_config is None:
        return None
    from mixfast.readers import olmix_config

    config = olmix_config(args.olmix_config)
    for text in config.notes:
        note(f"{args.olmix_config}: {text}")
    return config


def _swarm(args: argparse.Namespace, config: OlmixConfig | None) -> Swarm:
    if config is not None:
        given = [f"--{name}" for name in ("id", "domains", "normalise") if getattr(args, name)]
        if given:
            raise InputError(
                f"{listing(given)} is for RATIOS and METRICS, but --olmix-config names the runs: leave out one of them"
            )
        config = replace(config, ratios=args.ratios or config.ratios, metrics=args.metrics or config.metrics)
        with progress(f"reading {config.ratios}"):
            swarm, notes = config.swarm(ignore=args.ignore or ())
            swarm = directed(args, swarm if args.metric is None else swarm.select(args.metric))
            swarm = without(args, swarm)
            if pools := run_pools(args):
                swarm = swarm.with_tokens(**pools)
        for text in notes:
            note(text)
    elif args.ratios is None:
        raise InputError(
            "two csv files are needed, RATIOS and METRICS of the runs; or one file with both, and --domains for the columns of shares"
        )
    else:
        swarm = read_runs(args, args.ratios, args.metrics)
    swarm = drop_weak(args, swarm)
    show(swarm.report)
    check_folds(args, swarm)
    return swarm


def _seed(args: argparse.Namespace, config: OlmixConfig | None) -> int:
    return int(args.seed) if args.seed is not None else 0 if config is None else config.seed


def _fit(args: argparse.Namespace) -> int:
    from mixfast.laws import fit

    outputs.check(args, out=FIT)
    config = _config(args)
    law = args.law or ("auto" if config is None else config.regression)
    if config is not None and law == "search":
        return _best_run(args, config)
    if law not in ("auto", *LAWS):
        raise InputError(
            f"{args.olmix_config}: regression.type is {shown(law)}, expected one of {', '.join(LAWS)}, search; name another with --law"
        )
    swarm = _swarm(args, config)
    with progress("fitting") as now:
        found = fit(swarm, law, seed=_seed(args, config), folds=args.folds, progress=now)
    show(f"\n{found.report}")
    for text in found.notes:
        note(text)
    if args.out is not None:
        with progress(f"writing {args.out}"):
            found.save(args.out, force=args.force)
        say("", f"wrote {args.out}")
        if config is None:
            say(outputs.next_proposal(args.out, found))
        elif not (config.fit_only or config.n_test):
            # The configuration sets the objective.
            say(f"next: mixfast propose {quote(args.out)} --olmix-config {quote(args.olmix_config)}")
    found_all = {"swarm": documents.swarm_found(swarm), **documents.fit_found(found), "seconds": found.seconds}
    documents.answer(args, found_all, wrote=[args.out])
    return 0


def _best_run(args: argparse.Namespace, config: OlmixConfig) -> int:
    """Report the run that the search of Olmix proposes."""
    if args.out is not None:
        raise InputError(
            f"{args.olmix_config}: regression.type is 'search', which fits no law to write: leave out --out, or name a --law"
        )
    swarm = _swarm(args, config)
    config.check_proposal()
    run, mean = config.best_run(swarm)
    if config.obj_weights:
        note("the search ignores obj_weights, as in Olmix")
    say(
        "",
        "regression.type is 'search': no law is fitted; Olmix proposes the best run within the limits",
        f"run {run}, mean of the metrics {mean:.6g}",
        "",
    )
    shares = swarm.ratios[swarm.runs.index(run)]
    show(
        text_table(
            ["domain", "share"], [[name, f"{share:.6g}"] for name, share in zip(swarm.domains, shares, strict=True)]
        )
    )
    best = {"run": run, "mean": mean, "mixture": dict(zip(swarm.domains, shares.tolist(), strict=True))}
    documents.answer(args, {"swarm": documents.swarm_found(swarm), "best_run": best})
    return 0


def _compare(args: argparse.Namespace) -> int:
    from mixfast.laws import compare

    if args.folds < 2:
        raise InputError(f"--folds {args.folds}: laws are compared on runs left out, which takes at least 2 folds")
    config = _config(args)
    swarm = _swarm(args, config)
    with progress("comparing") as now:
        found = compare(swarm, LAWS, seed=_seed(args, config), folds=args.folds, progress=now)
    for line in found.left_out:
        say(line)
    if not found.reports:
        raise InputError("no law could be compared, for the reasons above")
    show(f"\n{found.report}")
    for text in found.notes:
        note(text)
    laws = {law: documents.reports_found(reports.values()) for law, reports in found.reports.items()}
    found_all = {"swarm": documents.swarm_found(swarm), "laws": laws, "left_out": list(found.left_out)}
    documents.answer(args, found_all)
    if found.untried:
        raise InputError(
            f"{listing(found.untried)} could not be compared and may be better than the marked law: {'; '.join(dict.fromkeys(found.untried.values()))}"
        )
    return 0


def _propose(args: argparse.Namespace) -> int:
    from mixfast.laws import Fit
    from mixfast.proposers import propose

    outputs.check(args, out=MIXTURE)
    goals.check(args)
    law = Fit.load(args.law)
    config = None
    if args.olmix_config is not None:
        from mixfast.readers import olmix_config

        config = olmix_config(args.olmix_config)
        config.check_proposal()
        for text in config.notes:
            note(f"{args.olmix_config}: {text}")
    method = args.method or ("auto" if config is None else _proposer(config, args))
    region = _region(args, config, law, method)
    if args.reach is not None:
        with progress("searching"):
            found: Proposal = goals.reached(args, law, region, args.law)
    else:
        objective, kl = _goal(args, config, law)
        more = goals.options(args, law, args.law)
        with progress("searching"):
            found = propose(law, region, objective=objective, kl=kl, method=method, seed=_seed(args, config), **more)
    note_seed(args, found.method)
    if args.out is not None:
        found.mixture.drop_zeros()[0].save(args.out, force=args.force)
    show(found.summary())
    if args.out is not None:
        say("", f"wrote {args.out}")
    documents.answer(args, found.to_dict(), wrote=[args.out])
    return outputs.exit_status(found.status)


def _proposer(config: OlmixConfig, args: argparse.Namespace) -> str:
    """Return the method of the configuration; refuse settings that Olmix refuses."""
    path = args.olmix_config
    if config.proposer == "search":
        raise InputError(
            f"{path}: proposer.type is 'search', which takes the best run of the swarm and needs no law: `mixfast fit --olmix-config {quote(path)}` "
            "reports it; to search with this law, give --method search"
        )
    if config.proposer == "exact" and config.kl is None and args.kl is None:
        raise InputError(
            f"{path}: proposer.kl_reg is not given, which the exact proposer of Olmix requires: set it (0.05 in the examples of Olmix), or "
            "give --kl (--kl 0 for none)"
        )
    return _PROPOSERS[config.proposer]


def _goal(args: argparse.Namespace, config: OlmixConfig | None, law: Fit) -> tuple[Any, float]:
    """Return the objective and the weight of the KL term."""
    objective = goals.objective(args, law)
    if config is None:
        return objective, args.kl or 0.0
    weights = config.objective(law.metrics) if objective is None else None
    kl = args.kl
    if kl is None:
        # Unlike Olmix, `propose` divides by the sum of the weights.
        kl = (config.kl or 0.0) / (1.0 if weights is None else sum(weights.values()))
    return (objective if weights is None else weights), kl


def _region(args: argparse.Namespace, config: OlmixConfig | None, law: Fit, method: str) -> Region | None:
    if config is None:
        if method in ("regmix", "simulation") and args.prior is None and args.tokens is None:
            note(f"--method {method} samples around equal shares, because neither --prior nor --tokens is given")
            args.prior = "uniform"
        return inputs.region(args, law.domains, args.law)
    named = ("tokens", "budget", "max_epochs", "cap", "floor", "limit", "prior", "mixture_paths")
    twice = [f"--{name.replace('_', '-')}" for name in named if getattr(args, name) is not None]
    if twice:
        raise InputError(f"--olmix-config sets the prior and the limits: leave out {listing(twice)}, or the file")
    return config.region(law.domains)
