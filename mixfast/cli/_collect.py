"""The command `collect`: make the csv files that `fit` takes from the files of evaluations and trackers."""

from __future__ import annotations

import argparse
import io
import os
from typing import TYPE_CHECKING, Any

from mixfast._text.atomic import write_together
from mixfast._text.names import counted, listing
from mixfast._text.outputs import RUNS
from mixfast._text.visible import quote
from mixfast.cli import _documents as documents
from mixfast.cli import _options as shared
from mixfast.cli import _outputs as outputs
from mixfast.cli import _reading as reading
from mixfast.cli import _types as types
from mixfast.cli._console import manner, say, show
from mixfast.cli._progress import progress
from mixfast.cli._refusals import InputError, refuse_without

if TYPE_CHECKING:
    from mixfast.readers import Collected
    from mixfast.swarm import SwarmReport

# Names shown in one line of the report; all with --verbose.
_SHOWN = 3

_EXAMPLES = """\
examples:
  mixfast collect runs/* --out metrics.csv
  mixfast collect evals --id 'evals/{run}/*' --metric '*/acc,none' --out metrics.csv --check ratios.csv
  mixfast collect export.csv --domains 'mix.{domain}' --out metrics.csv --ratios ratios.csv
  mixfast collect 'proxies/*' --mixture-file config.yaml --out metrics.csv --ratios ratios.csv --long long.csv
"""


def add(commands: shared.Commands) -> None:
    """Add the command to the parser."""
    collect = shared.add_command(commands, "collect", _collect, _EXAMPLES)
    collect.add_argument(
        "runs",
        metavar="RUNS",
        nargs="+",
        help="folders, files or patterns, each one run with all files below it; or one folder that holds a folder for each run; or one table of several runs",
    )
    _add_outputs(collect)
    _add_runs(collect)
    _add_metrics(collect)


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("outputs")
    group.add_argument(
        "--out",
        metavar="FILE",
        help="csv file of metrics to write, with a row for each run; without any output file, only the report is printed",
    )
    group.add_argument(
        "--long",
        metavar="FILE",
        help="csv file to write, with a row for each value: run, metric, value, stderr, n, unit, direction, step, source, mark; "
        "`mixfast fit` takes it in place of METRICS, with its directions and units",
    )
    group.add_argument(
        "--ratios", metavar="FILE", help="csv file of the mixtures of the runs to write, if the files hold them"
    )
    shared.add_force(group)


def _add_runs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("runs")
    group.add_argument(
        "--id",
        metavar="ID",
        help="how runs are named: a pattern of paths such as 'evals/{run}/*', or a column or field of the files, such as model_name; "
        "default: the part in which the paths differ",
    )
    group.add_argument(
        "--format",
        metavar="NAME",
        help="format of the files, such as lm-eval or wandb (an unknown name lists all); default: recognised by the content of each file",
    )
    group.add_argument(
        "--mixture-file",
        metavar="NAME",
        help=f"file in the folder of each run that holds its mixture, for --ratios: {shared.MIXTURES}",
    )
    group.add_argument(
        "--mixture-paths",
        metavar="PATTERN|FILE",
        help="names of the domains in mixture files that have paths, such as /data/{domain}_text_document",
    )
    group.add_argument(
        "--domains",
        metavar="COLUMN",
        action="append",
        help="columns of a table that hold the shares of domains, for --ratios; mix.{domain} in place of mix.* names the domains without the prefix "
        "(repeatable; * matches several)",
    )
    group.add_argument(
        "--check",
        metavar="RATIOS",
        help="csv file of mixtures to compare with: lists its runs without results, runs with results but no mixture, and runs that share a mixture",
    )


def _add_metrics(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("metrics")
    group.add_argument(
        "--metric",
        metavar="NAME",
        action="append",
        help="metric to keep; all others are left out. An exact name also keeps a metric that is left out by default, such as an aggregate (repeatable; * matches several)",
    )
    group.add_argument(
        "--ignore", metavar="NAME", action="append", help="metric to leave out (repeatable; * matches several)"
    )
    group.add_argument(
        "--more-is-better",
        metavar="METRIC",
        action="append",
        help="metric for which higher is better, whatever its file or its name says (repeatable; * matches several)",
    )
    group.add_argument(
        "--less-is-better",
        metavar="METRIC",
        action="append",
        help="metric for which lower is better, whatever its file or its name says (repeatable; * matches several)",
    )
    group.add_argument(
        "--samples",
        action="store_true",
        help="also read the samples that lm-evaluation-harness logged, and compute bits per byte of multiple choice",
    )
    group.add_argument(
        "--step",
        metavar="N",
        type=types.whole(0),
        help="training step whose values are taken; default: the last step of each run and metric",
    )


def _collect(args: argparse.Namespace) -> int:
    from mixfast.readers import metrics

    _check(args)
    with progress("collecting"):
        found = metrics(
            args.runs[0] if len(args.runs) == 1 else args.runs,
            format=args.format,
            id=args.id,
            metric=args.metric,
            ignore=args.ignore or (),
            more=args.more_is_better or (),
            less=args.less_is_better or (),
            samples=args.samples,
            step=args.step,
            domains=args.domains,
        )
    if args.mixture_file is not None:
        found = found.with_mixtures(args.mixture_file, paths=reading.domain_paths(args.mixture_paths))
    checked = None if args.check is None else _compared(args, found)
    if args.ratios is not None and not found.mixtures:
        raise InputError(
            "--ratios needs the mixtures of the runs, and none of the files holds one: name the columns of shares in a table by --domains, or a mixture "
            "file in the folder of each run by --mixture-file"
        )
    show(found.report.text(None if manner().verbose else _SHOWN))
    if checked is not None:
        say(*_sides(args, checked))
    wrote = _write(args, found)
    following = _next(args, found)
    say(f"next: {following}")
    documents.answer(args, {**_found(found, checked), "next": following}, wrote=wrote)
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse outputs that cannot be written, and options without effect, before any file is read."""
    outputs.check(args, out=RUNS, long=RUNS, ratios=RUNS)
    given = {f"--{name}": path for name in ("out", "long", "ratios") if (path := getattr(args, name)) is not None}
    places: dict[str, str] = {}
    for option, path in given.items():
        first = places.setdefault(os.path.realpath(path), option)
        if first != option:
            raise InputError(f"{first} and {option} name the same file, {path}: two outputs need two files")
    refuse_without(args, "--mixture-file", "--ratios", "the mixtures are written to the file of --ratios")
    refuse_without(args, "--mixture-paths", "--mixture-file", "it names the domains of files that have paths")


def _compared(args: argparse.Namespace, found: Collected) -> SwarmReport:
    """Join the runs with the mixtures of ``--check``, as `mixfast fit` will."""
    from mixfast.swarm import SwarmError

    try:
        return found.swarm(args.check).report
    except SwarmError as problem:
        hint = _how_to_name(args, found) if "no run in common" in str(problem) else ""
        raise InputError(f"--check {args.check}: {problem}{hint}") from problem


def _how_to_name(args: argparse.Namespace, found: Collected) -> str:
    """Return which ``--id`` gives the runs the names of ``--check``."""
    from mixfast.readers import naming
    from mixfast.swarm import read_mixtures

    pattern = naming(found.runs, read_mixtures(args.check)[1])
    if pattern:
        return f"; --id {quote(pattern)} names the runs as in {args.check}"
    return f"; --id 'FOLDER/{{run}}/*' or --id FIELD names the runs as in {args.check}"


def _sides(args: argparse.Namespace, checked: SwarmReport) -> list[str]:
    """Return the lines on the mixtures of ``--check``."""
    limit = len(checked.dropped) + 1 if manner().verbose else _SHOWN
    lines = [f"{args.check}: {counted(checked.kept, 'run')} with a mixture and results"]
    for what, reason in _SIDES.items():
        if runs := _dropped(checked, reason):
            lines.append(f"{what}, {counted(len(runs), 'run')}: {listing(runs, limit=limit)}")
    repeats = checked.duplicates
    shown = repeats if manner().verbose else repeats[:_SHOWN]
    lines += [f"one mixture, {counted(len(runs), 'run')}: {listing(runs)}" for runs in shown]
    if len(repeats) > len(shown):
        lines.append(f"and {len(repeats) - len(shown)} more mixtures of several runs")
    return lines


# Words of the report for runs that `Swarm` leaves out, with the reasons that `Swarm` gives.
_SIDES = {
    "no results": ("no row of metrics", "no value of any metric"),
    "results without a mixture": ("no row of ratios",),
}


def _dropped(checked: SwarmReport, reasons: tuple[str, ...]) -> list[str]:
    return [run for run, reason in checked.dropped if reason in reasons]


def _write(args: argparse.Namespace, found: Collected) -> list[str]:
    """Write the tables that were asked for and return their paths; if one cannot be written, none is."""
    domains = {name for shares in found.mixtures.values() for name in shares}
    tables = (
        (args.out, found.to_csv, f"{counted(len(found.runs), 'run')}, {counted(len(found.metrics), 'metric')}"),
        (args.long, found.to_long_csv, f"{counted(len(found), 'value')} with directions and units"),
        (
            args.ratios,
            found.ratios_to_csv,
            f"mixtures of {counted(len(found.mixtures), 'run')}, {counted(len(domains), 'domain')}",
        ),
    )
    texts: dict[str, str] = {}
    for path, write, _ in tables:
        if path is not None:
            write(text := io.StringIO(newline=""))
            texts[path] = text.getvalue()
    write_together(texts)
    if texts:
        say(*(f"wrote {path}: {what}" for path, _, what in tables if path is not None))
    return list(texts)


def _next(args: argparse.Namespace, found: Collected) -> str:
    """Return the command to run next: `mixfast fit` on the tables, with the directions that a csv file of metrics cannot hold."""
    from mixfast.swarm import is_bookkeeping, is_by_product

    if args.out is None and args.long is None:
        return f"mixfast {' '.join(map(quote, args.argv))} --out metrics.csv"
    ratios = args.ratios or args.check
    # `fit` leaves columns with such names out, unless they are asked for.
    is_asked = any(is_bookkeeping(name) or is_by_product(name, found.metrics) for name in found.metrics)
    directions = _directions(found)
    # The long table holds the directions.
    table, directions = (args.long, []) if args.out is None or (args.long and directions) else (args.out, directions)
    words = ["mixfast fit", "RATIOS" if ratios is None else quote(ratios), quote(table)]
    return " ".join([*words, *["--metric '*'"] * is_asked, *directions, "--out law.json"])


def _directions(found: Collected) -> list[str]:
    """Return the direction options of `mixfast fit` for the metrics whose names do not tell the direction."""
    from mixfast.readers import covering
    from mixfast.swarm import told_direction

    words = []
    for way, option in (("max", "--more-is-better"), ("min", "--less-is-better")):
        known = {name for name, told in found.directions.items() if told == way}
        untold = [name for name in found.metrics if name in known and told_direction(name) != way]
        words += [f"{option} {quote(name)}" for name in covering(untold, set(found.metrics) - known)]
    return words


def _found(found: Collected, checked: SwarmReport | None) -> dict[str, Any]:
    """Return what was collected, for ``--json``."""
    report = found.report
    without = {name: len(runs) for name, runs in report.missing.items()}
    return {
        "runs": list(found.runs),
        "metrics": [
            {
                "name": name,
                "direction": found.directions.get(name),
                "told_by": report.told_by.get(name),
                "unit": found.units.get(name),
                "runs": len(found.runs) - without.get(name, 0),
            }
            for name in found.metrics
        ],
        "values": len(found),
        "formats": dict(report.formats),
        "left_out": {reason: list(names) for reason, names in report.left_out.items()},
        "conflicts": [
            {
                "run": one.run,
                "metric": one.metric,
                "value": one.kept,
                "source": one.kept_from,
                "other": one.dropped,
                "other_source": one.dropped_from,
            }
            for one in report.conflicts
        ],
        "missing": {name: list(runs) for name, runs in report.missing.items()},
        "diverged": dict(report.diverged),
        "doubted": dict(report.doubted),
        "without_results": [*report.without_results, *report.without_metrics],
        "skipped": [{"file": where, "why": why} for where, why in report.skipped],
        "mixtures": len(found.mixtures),
        "check": None
        if checked is None
        else {
            **{key: _dropped(checked, _SIDES[what]) for key, what in _KEYS.items()},
            "repeats": [list(runs) for runs in checked.duplicates],
        },
    }


_KEYS = {"without_results": "no results", "without_mixture": "results without a mixture"}
