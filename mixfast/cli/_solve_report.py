"""The report of a solve, as text and for ``--json``: the table of shares, the certificate in words, the held-out comparison."""

from __future__ import annotations

from typing import Any

from mixfast._text.table import text_table
from mixfast._text.visible import in_lines
from mixfast.cli._advice import next_steps
from mixfast.cli._answer import Answer
from mixfast.solver import MOST_LINES, HeldOut, solve_summary


def solve_report(answer: Answer) -> str:
    """Return the report of `mixfast solve`."""
    parts = [
        solve_summary(
            answer.solution, intervals=answer.intervals, ranges=answer.ranges, eps=answer.eps, budget=answer.budget
        )
    ]
    steps = next_steps(answer)
    if steps:
        parts.append("What to do next\n" + in_lines(f"  - {step}" for step in steps))
    return "\n\n".join(parts)


def held_out_report(report: HeldOut, limited: bool) -> str:
    """Return the held-out comparison as text."""
    shown = report.rows[:MOST_LINES]
    rows = [[row.name, f"{row.fit_loss:.5f}", f"{row.held_out_loss:.5f}"] for row in shown]
    header = ["mixture", "loss where fitted", "loss on held-out rows"]
    text = f"fitted on {report.sizes[0]:,} rows, compared on the other {report.sizes[1]:,}\n{text_table(header, rows)}"
    if len(report.rows) > len(shown):
        text += f"\n... and {len(report.rows) - len(shown):,} more with a larger loss"
    if limited:
        text += "\nOnly `mixfast` respects the limits here; the other mixtures ignore them."
    return text


def solve_found(answer: Answer, held_out: HeldOut | None) -> dict[str, Any]:
    """Return the content of ``--json`` for a solve."""
    solution, table, intervals = answer.solution, answer.solution.table, answer.intervals
    extra: dict[str, Any] = {
        "table": {"rows": table.n_rows, "domains": table.n_domains, "groups": list(table.group_names)},
        **dict.fromkeys(("tokens", "intervals", "ranges", "unconstrained", "held_out")),
        "next": next_steps(answer),
    }
    if answer.budget is not None:
        extra["tokens"] = solution.mixture.tokens(answer.budget)
    if intervals is not None:
        extra["intervals"] = {"level": intervals.level, "units": intervals.units, "shares": intervals.intervals}
    if answer.ranges is not None:
        extra["ranges"] = {"eps": answer.eps, "shares": answer.ranges}
    if answer.limited:
        free = solution.unconstrained
        extra["unconstrained"] = {"mixture": free.mixture.as_dict(), "value": free.value, "gap": free.gap}
    if held_out is not None:
        extra["held_out"] = [vars(row) for row in held_out.rows]
    return solution.to_dict() | extra
