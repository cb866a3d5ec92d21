"""The command info: what a table holds, and how each expert does on it; of mixtures, runs and laws in files, what they are."""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from mixfast._text.kinds import kind_of, other_kind
from mixfast._text.names import listing
from mixfast._text.numbers import percent, size
from mixfast._text.table import text_table
from mixfast._text.visible import quote, visible
from mixfast.cli import _inputs as inputs
from mixfast.cli import _options as shared
from mixfast.cli import _outputs as outputs
from mixfast.cli._console import show
from mixfast.cli._inputs import InputError
from mixfast.cli._progress import progress
from mixfast.solver import MOST_LINES, expert_losses, group_losses
from mixfast.tables import ExpertTable


def add(commands: shared.Commands) -> None:
    """Add the command to the parser."""
    words = "say what a file holds: a table of experts, mixtures to train (csv), a mixture, or laws"
    shared.add_table(shared.add_command(commands, "info", _info, words))


def _info(args: argparse.Namespace) -> int:
    kind = kind_of(args.table)
    others = {"csv": _mixtures_report, "fit": _law_report, **dict.fromkeys(("json", "text", "yaml"), _mixture_report)}
    if kind in others:
        shared.refuse_task(args)
        show(others[kind](args.table))
        return 0
    table = shared.load_table(args, args.table)
    with progress("computing the losses of the experts"):
        report = info_report(args.table, table)
    show(report)
    return 0


def _mixtures_report(path: str) -> str:
    """Return what a csv file of mixtures holds; of metrics or anything else, say what it is."""
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
    table = text_table(["domain", "mean", "least", "most", "runs with it"], rows[:MOST_LINES])
    more = f"\n... and {len(rows) - MOST_LINES:,} more domains" if len(rows) > MOST_LINES else ""
    return f"{text_table(None, facts, left=(0, 1))}\n\n{table}{more}\nnext: mixfast fit {visible(quote(path))} METRICS"


def _law_report(path: str) -> str:
    from mixfast.laws import Fit

    law = Fit.load(path)
    facts = [("laws", path), ("domains", listing(law.domains)), ("metrics", listing(law.metrics))]
    return f"{text_table(None, facts, left=(0, 1))}\n\n{law.report}\n{visible(outputs.next_proposal(path, law))}"


def _mixture_report(path: str) -> str:
    mixture = inputs.mixture(path)
    order = sorted(mixture, key=lambda name: -mixture[name])
    table = text_table(["domain", "share"], [[name, percent(mixture[name])] for name in order[:MOST_LINES]])
    more = f"\n... and {len(order) - MOST_LINES:,} domains with a smaller share" if len(order) > MOST_LINES else ""
    return f"mixture  {visible(path)}\n\n{table}{more}"


def table_facts(path: str, table: ExpertTable) -> list[tuple[str, str]]:
    """Return the facts of a table, name and text."""
    mapped = "mapped from disk" if isinstance(_root(table.values), np.memmap) else "in memory"
    outputs = f"predictions with {table.n_outputs} output{'s' * (table.n_outputs > 1)}"
    kind = "log-likelihoods" if table.kind == "ce" else outputs
    sizes = np.diff(table.group_offsets).tolist()
    facts = [
        ("table", path),
        ("shape", f"{table.n_rows:,} rows x {table.n_domains:,} domains"),
        ("values", f"{kind}, {table.dtype.name}"),
        ("domains", listing(table.domains)),
        ("groups", listing(f"{n} ({rows:,} rows)" for n, rows in zip(table.group_names, sizes, strict=True))),
    ]
    if table.sequence is None:
        facts.append(("sequences", "no ids: every row counts as a sequence of its own"))
    else:
        facts.append(("sequences", f"{np.unique(table.sequence).size:,}"))
    if table.length is None:
        facts.append(("lengths", "none: rows are not divided by a length"))
    else:
        facts.append(("lengths", f"{table.length.min():g} to {table.length.max():g}, mean {table.length.mean():.6g}"))
    if table.weight is not None:
        facts.append(("weights", f"{table.weight.min():.3g} to {table.weight.max():.3g}, sum {table.weight.sum():.6g}"))
    if table.kind == "ce":
        low, high, top = table.extremes
        facts.append(("extremes", f"{low:.4g} to {high + 0.0:.4g} nats; the worst row's best expert has {top:.4g}"))
    else:
        targets = f"targets {table.target.min():.4g} to {table.target.max():.4g}"
        facts.append(("extremes", f"predictions {table.values.min():.4g} to {table.values.max():.4g}, {targets}"))
    work = max(0.1 * table.nbytes, 50e6)
    facts.append(("memory", f"{size(table.nbytes)} {mapped}; a solve needs up to {size(work)} beside it"))
    return facts


def _root(array: NDArray[np.float64]) -> object:
    while not isinstance(array, np.memmap) and isinstance(array.base, np.ndarray):
        array = array.base
    return array


def info_report(path: str, table: ExpertTable) -> str:
    """Return the report of `mixfast info`."""
    facts = table_facts(path, table)
    k = table.n_domains
    own, uniform = expert_losses(table), group_losses(table, np.full(k, 1.0 / k))[:, 0]
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
