"""Figures of a solve: its convergence, and the losses of mixtures on held-out rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mixfast.report import _axes as draw
from mixfast.report._axes import BLUE, INK, MUTED, ORANGE, PAPER
from mixfast.solver import Solution

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mixfast.proposers import Proposal
    from mixfast.solver import HeldOut, HeldOutRow

# Losses that exceed the best by more than this factor times the spread of the others are written at the edge.
_FAR = 1.5


def convergence(answer: Solution | Proposal, *, ax: Axes | None = None) -> Axes:
    """Draw the gap after each step of a solve, or the best value found so far after each step of a search.

    Hollow marks are steps that used a sample of the rows.
    """
    with draw.axes(ax, 3.0) as ax:
        from matplotlib.ticker import MaxNLocator

        trace = answer.trace
        step = np.arange(1, len(trace) + 1)
        gaps = np.array([line.gap for line in trace], dtype=np.float64)
        ax.set_xlabel("step")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(axis="y")
        if not np.isfinite(gaps).any():
            ax.plot(step, [line.value for line in trace], "-o", color=BLUE, ms=4)
            ax.set_ylabel("best value found")
            draw.words_above(ax, "a search has no gap: a better mixture may exist")
            return ax
        # A logarithmic axis has no 0: gaps that rounding made negative are drawn at the smallest positive one.
        least = max(float(np.min(gaps[gaps > 0.0], initial=1e-16)), 1e-16)
        gaps = np.where(gaps > 0.0, gaps, least)
        rows = np.array([line.rows for line in trace])
        whole = rows == rows.max()
        # Another sample of the rows is another problem, so its steps are not connected to the previous ones.
        for change in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows)) + 1):
            ax.plot(step[change], gaps[change], "-", color=MUTED, lw=0.8)
        ax.plot(step[whole], gaps[whole], "o", color=BLUE, ms=4.5, label="all rows")
        if not whole.all():
            ax.plot(step[~whole], gaps[~whole], "o", mfc=PAPER, mec=BLUE, ms=4.5, label="a sample of the rows")
        ax.set_yscale("log")
        if isinstance(answer, Solution):
            ax.axhline(answer.tol, color=INK, lw=0.8, ls="--", label=f"tolerance {answer.tol:g}")
        ax.set_ylabel("gap")
        draw.legend(ax)
    return ax


def held_out(report: HeldOut, *, ax: Axes | None = None) -> Axes:
    """Draw the losses of mixtures, baselines and single experts on held-out rows, best first.

    Parameters
    ----------
    report : HeldOut
        As `mixfast.solver.holdout` returns it.

    Notes
    -----
    Filled circles are fitted mixtures, hollow squares baselines, hollow circles single experts. Losses far from the others are written
    at the edge.
    """
    rows = report.rows[: draw.MOST_ROWS]
    with draw.axes(ax, draw.height_of(len(rows))) as ax:
        losses = np.array([row.held_out_loss for row in rows])
        edge = _edge(report, losses)
        for kind, marker, fill, colour in (
            ("fitted mixture", "o", BLUE, BLUE),
            ("baseline", "s", PAPER, INK),
            ("single expert", "o", PAPER, ORANGE),
        ):
            among = [i for i, row in enumerate(rows) if _kind(row) == kind and row.held_out_loss <= edge]
            if among:
                ax.plot(losses[among], among, marker, mfc=fill, mec=colour, mew=1.3, ms=5.5, ls="none", label=kind)
        here = [i for i, row in enumerate(rows) if row.held_out_loss <= edge and row.fit_loss <= edge]
        ax.plot([rows[i].fit_loss for i in here], here, "|", color=MUTED, ms=9, mew=1.2, label="on the fitted rows")
        for i, row in enumerate(rows):
            if row.held_out_loss > edge:
                ax.annotate(f"{row.held_out_loss:.4g} ▸", (1.0, i), xycoords=("axes fraction", "data"), ha="right",
                            va="center", fontsize=8, color=INK)  # fmt: skip
        ax.set_yticks(np.arange(len(rows)), draw.labels(row.name for row in rows))
        ax.set_ylim(len(rows) - 0.4, -0.6)
        ax.tick_params(axis="y", length=0)
        ax.set_xlabel("held-out loss, nats (lower is better)")
        ax.grid(axis="both")
        draw.legend(ax)
        if len(rows) < len(report.rows):
            draw.words_above(ax, f"{len(report.rows) - len(rows)} more with a larger loss")
    return ax


def _kind(row: HeldOutRow) -> str:
    return "fitted mixture" if row.fitted else "single expert" if row.name.startswith("only ") else "baseline"


def _edge(report: HeldOut, losses: np.ndarray) -> float:
    """Return the largest loss that is drawn to scale."""
    best = float(losses.min())
    close = [row.held_out_loss for row in report.rows if _kind(row) != "single expert"]
    experts = sorted(row.held_out_loss for row in report.rows if _kind(row) == "single expert")
    far = max([*close, *experts[: max(3 * len(experts) // 4, 1)]], default=best)
    return best + _FAR * (far - best) if math.isfinite(far) and far > best else math.inf
