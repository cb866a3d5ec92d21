"""The command info: describe a table with the loss of each expert, a file of mixtures, runs or laws, or this installation."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.versions import versions
from mixfast._text.kinds import kind_of, other_kind
from mixfast._text.names import listing
from mixfast._text.numbers import percent
from mixfast._text.table import text_table
from mixfast._text.visible import quote, visible
from mixfast.cli import _documents as documents
from mixfast.cli import _options as shared
from mixfast.cli import _outputs as outputs
from mixfast.cli import _reading as reading
from mixfast.cli._console import show
from mixfast.cli._experts import add_table_options, load_table, refuse_table_options
from mixfast.cli._progress import progress
from mixfast.cli._refusals import InputError
from mixfast.cli._table_facts import group_sizes, sequence_count, table_facts
from mixfast.cli._versions import versions_report
from mixfast.solver import MOST_LINES, lone_losses
from mixfast.tables import ExpertTable, ShardedTable

# The report of a file, and its content with ``--json``.
Found: TypeAlias = tuple[str, dict[str, Any]]
Losses: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]

_EXAMPLES = """\
examples:
  mixfast info table.npz
  mixfast info mixture.yaml
  mixfast info                    versions of mixfast, Python and packages, for an issue report
"""


def add(commands: shared.Commands) -> None:
    """Add the command to the parser."""
    info = shared.add_command(commands, "info", _info, _EXAMPLES)
    words = f"a table of experts (npz, npy, folder of parts, folder of the MixMin code), mixtures of runs (csv), laws, {shared.MIXTURES}; without a file, versions are printed"
    info.add_argument("table", metavar="FILE", nargs="?", help=words)
    add_table_options(info)
    shared.add_domain_paths(info)


def _info(args: argparse.Namespace) -> int:
    if args.table is None:
        refuse_table_options(args, args.table)
        reading.check_paths(args, [])
        show(versions_report())
        documents.answer(args, {"kind": "versions", **versions()})
        return 0
    kind = kind_of(args.table)
    mixture = partial(_mixture, paths=args.mixture_paths)
    others: dict[str, Callable[[str], Found]] = {
        "csv": _mixtures,
        "fit": _law,
        **dict.fromkeys(("json", "text", "yaml"), mixture),
    }
    reading.check_paths(args, [args.table] if others.get(kind) is mixture else [])
    if kind in others:
        refuse_table_options(args, args.table)
        report, found = others[kind](args.table)
    else:
        table = load_table(args, args.table)
        with progress("computing the losses of the experts"):
            losses = lone_losses(table)
        report, found = info_report(args.table, table, losses), table_found(table, losses)
    show(report)
    documents.answer(args, {"file": args.table, **found})
    return 0


def _mixtures(path: str) -> Found:
    """Describe a csv file of mixtures; refuse any other content, and name it."""
    from mixfast.designs import Design
    from mixfast.swarm import SwarmError

    try:
        design = Design.from_csv(path)
    except SwarmError as problem:
        raise InputError(
            f"{other_kind(path, 'a table of experts, or the mixtures of runs')}. As mixtures: {problem}"
        ) from None
    shares = design.ratios
    columns = zip(
        design.domains,
        shares.mean(axis=0),
        shares.min(axis=0),
        shares.max(axis=0),
        (shares > 0).sum(axis=0),
        strict=True,
    )
    rows = [[name, *map(percent, map(float, numbers)), str(runs)] for name, *numbers, runs in columns]
    facts = [("mixtures", path), ("runs", f"{len(design):,}"), ("domains", f"{len(design.domains):,}")]
    table = text_table(["domain", "mean", "smallest", "largest", "runs with it"], rows[:MOST_LINES])
    more = f"\n... and {len(rows) - MOST_LINES:,} more domains" if len(rows) > MOST_LINES else ""
    text = f"{text_table(None, facts, left=(0, 1))}\n\n{table}{more}\nnext: mixfast fit {visible(quote(path))} METRICS"
    return text, {"kind": "mixtures", "runs": list(design.runs), "domains": _columns(design.domains, shares)}


def _columns(domains: Sequence[str], shares: NDArray[np.float64]) -> list[dict[str, Any]]:
    """Return mean, least and largest share of each domain."""
    ends = zip(
        domains, shares.mean(axis=0).tolist(), shares.min(axis=0).tolist(), shares.max(axis=0).tolist(), strict=True
    )
    return [{"name": name, "mean": mean, "least": least, "most": most} for name, mean, least, most in ends]


def _law(path: str) -> Found:
    from mixfast.laws import Fit

    law = Fit.load(path)
    facts = [("laws", path), ("domains", listing(law.domains)), ("metrics", listing(law.metrics))]
    text = f"{text_table(None, facts, left=(0, 1))}\n\n{law.report}\n{visible(outputs.next_proposal(path, law))}"
    return text, {"kind": "laws", **documents.fit_found(law)}


def _mixture(path: str, paths: str | None) -> Found:
    mixture = reading.mixture(path, paths)
    order = sorted(mixture, key=lambda name: -mixture[name])
    table = text_table(["domain", "share"], [[name, percent(mixture[name])] for name in order[:MOST_LINES]])
    more = f"\n... and {len(order) - MOST_LINES:,} domains with a smaller share" if len(order) > MOST_LINES else ""
    return f"mixture  {visible(path)}\n\n{table}{more}", {"kind": "mixture", "mixture": mixture.as_dict()}


def table_found(table: ExpertTable | ShardedTable, losses: Losses) -> dict[str, Any]:
    """Return the content of ``--json`` for a table."""
    own, uniform = losses
    sizes = group_sizes(table)
    made = {"temperature": table.temperature, "clipped": table.clipped or None}
    return {
        "kind": "table",
        "values": "log-likelihoods" if table.kind == "ce" else "predictions",
        "dtype": table.dtype.name,
        "rows": table.n_rows,
        "sequences": sequence_count(table),
        "bytes": table.nbytes,
        "unit": table.unit,
        "domains": list(table.domains),
        "groups": [{"name": name, "rows": rows} for name, rows in zip(table.group_names, sizes, strict=True)],
        "uniform_loss": dict(zip(table.group_names, uniform.tolist(), strict=True)),
        "expert_losses": {
            name: dict(zip(table.domains, row, strict=True))
            for name, row in zip(table.group_names, own.tolist(), strict=True)
        },
        **{key: value for key, value in made.items() if value is not None},
    }


def info_report(path: str, table: ExpertTable | ShardedTable, losses: Losses) -> str:
    """Return the report of `mixfast info`."""
    facts = table_facts(path, table)
    own, uniform = losses
    several = 1 < table.n_groups <= 6
    header = ["loss of", "mean of groups" if table.n_groups > 1 else "loss", *(table.group_names if several else ())]
    order = np.argsort(own.mean(axis=0), kind="stable")[:MOST_LINES].tolist()
    columns = [("uniform mixture", uniform), *((f"only {table.domains[k]}", own[:, k]) for k in order)]
    rows = [
        [name, f"{values.mean():.5f}", *([f"{v:.5f}" for v in values] if several else [])] for name, values in columns
    ]
    text = f"{text_table(None, facts, left=(0, 1))}\n\n{text_table(header, rows)}"
    if table.n_domains > len(order):
        text += f"\n... and {table.n_domains - len(order):,} experts with a larger loss"
    return text + f"\nin {table.unit}"
