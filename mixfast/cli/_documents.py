"""What ``--json`` prints: one strict JSON object for each command, described by `mixfast/data/output.schema.json`."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mixfast._text.visible import visible_json
from mixfast._version import __version__
from mixfast.cli._console import manner, put

if TYPE_CHECKING:
    from mixfast.designs import Design
    from mixfast.laws import Fit, MetricReport
    from mixfast.reuse import Ledger
    from mixfast.swarm import Swarm

# The number rises when a key changes its meaning or goes away; keys may be added.
SCHEMA = "mixfast-output-1"


def answer(args: argparse.Namespace, found: Mapping[str, Any], *, wrote: Iterable[str | None] = ()) -> None:
    """Print what a command found as JSON, with ``--json`` only.

    ``wrote`` names the files that were written; None is skipped.
    """
    if not args.json:
        return
    how = manner()
    head = {"schema": SCHEMA, "version": __version__, "command": args.parser.prog.partition(" ")[2]}
    told = {"notes": how.notes, "warnings": how.warnings, "wrote": [path for path in wrote if path is not None]}
    _print({**head, **found, **told})


def _print(document: Mapping[str, Any]) -> None:
    """Print the document as strict JSON; in ASCII if stdout is not UTF-8."""
    escaped = (sys.stdout.encoding or "utf-8").lower().replace("-", "") != "utf8"
    put(visible_json(json.dumps(_strict(document), indent=2, ensure_ascii=escaped, allow_nan=False)) + "\n")


def _strict(value: Any) -> Any:
    """Replace infinity and NaN by null, which strict JSON requires."""
    if isinstance(value, Mapping):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def design_found(design: Design) -> dict[str, Any]:
    """Return mixtures to train."""
    rows = zip(design.runs, design.ratios.tolist(), strict=True)
    return {
        "method": design.method,
        "domains": list(design.domains),
        "runs": [{"run": run, "shares": dict(zip(design.domains, row, strict=True))} for run, row in rows],
        "advised": design.advised,
        "different": design.different,
        "repeats": list(design.repeats),
        "rare": dict(design.rare),
        "pools": None if design.pools is None else dict(design.pools),
        "proxy_budget": design.budget,
        "doubts": list(design.doubts),
    }


def fit_found(law: Fit) -> dict[str, Any]:
    """Return fitted laws and how well they predict."""
    return {
        "domains": list(law.domains),
        "metrics": [
            {"name": name, "law": kind, "direction": way, "unit": unit}
            for (name, kind), way, unit in zip(law.laws.items(), law.direction, law.unit, strict=True)
        ],
        "reports": reports_found(law.reports),
    }


def reports_found(reports: Iterable[MetricReport]) -> list[dict[str, Any]]:
    """Return how well laws predict runs that they have not seen, one object for each metric."""
    return [dict(vars(report)) for report in reports]


def swarm_found(swarm: Swarm) -> dict[str, Any]:
    """Return what was read as runs."""
    report = swarm.report
    return {
        "runs": len(swarm),
        "domains": list(swarm.domains),
        "metrics": list(swarm.metrics),
        "rank": report.rank,
        "dropped": [{"run": run, "why": why} for run, why in report.dropped],
        "unused": {reason: list(columns) for reason, columns in report.unused.items()},
        "budget": report.budget,
        "epochs": report.epochs or None,
    }


def ledger_found(ledger: Ledger) -> dict[str, Any]:
    """Return the updates of a ledger, its open plan and its present mixture."""
    entries = [
        {
            "when": entry.when,
            "why": entry.why,
            "kind": entry.kind,
            "domains": len(entry.mixture),
            "frozen": len(entry.frozen),
            "runs": entry.runs,
            "full_runs": entry.full_runs,
            "loss": entry.loss,
        }
        for entry in ledger.entries
    ]
    pending = ledger.pending
    plan = None if pending is None else {"when": pending.when, "why": pending.why, "kind": pending.kind}
    epochs = None
    if ledger.budget is not None and set(ledger.tokens) == set(ledger.mixture):
        epochs = ledger.mixture.epochs(ledger.tokens, ledger.budget)
    return {
        "updates": entries,
        "pending": plan,
        "mixture": ledger.mixture.as_dict(),
        "epochs": epochs,
        "tokens": ledger.tokens,
        "budget": ledger.budget,
    }
