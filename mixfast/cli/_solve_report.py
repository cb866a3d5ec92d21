"""The report of a solve as text: the table of shares, the certificate in words, the held-out comparison."""

from __future__ import annotations

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
        text += "\nOnly `mixfast` keeps to the limits here; the others are free of them."
    return text
