"""Figures of a mixture over time: the updates of a ledger, and the schedule of a loader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mixfast.report import _axes as draw
from mixfast.report._axes import INK, MUTED, REST, STACK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mixfast.reuse import Ledger

Matrix = NDArray[np.float64]

# A schedule without an end is drawn to this multiple of its last change.
_LONGER = 1.25


def history(ledger: Ledger, *, ax: Axes | None = None) -> Axes:
    """Draw the mixture after every update of a ledger as stacked bars.

    Parameters
    ----------
    ledger : Ledger
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        The nine domains that were largest at any time; the others together, as the figure says.

    Raises
    ------
    BackendError
        matplotlib is not installed.
    """
    entries = ledger.entries
    names = list(dict.fromkeys(name for entry in entries for name in entry.mixture))
    shares = np.array([[entry.mixture.get(name, 0.0) for name in names] for entry in entries])
    with draw.style(ax):
        ax = draw.axes(ax, 4.6)
        words, parts = folded(names, shares)
        bottom = np.zeros(len(entries))
        place = np.arange(len(entries))
        for (colour, hatch), name, part in zip(_looks(words, names), words, parts, strict=True):
            ax.bar(
                place, part, 0.72, bottom, color=colour, hatch=hatch, edgecolor=MUTED, lw=0.5, label=draw.label(name)
            )
            bottom = bottom + part
        ticks = [f"{number}  {entry.kind}\n{entry.when[:10]}" for number, entry in enumerate(entries, start=1)]
        slanted = len(entries) > 10
        ax.set_xticks(place, ticks, rotation=60 if slanted else 0, ha="right" if slanted else "center")
        ax.set_xlim(-0.6, len(entries) - 0.4)
        _finish(ax)
    return ax


def schedule(given: Any, *, length: int | None = None, ax: Axes | None = None) -> Axes:
    """Draw the shares of a schedule over the samples of a run, or over its tokens where the schedule counts them.

    Parameters
    ----------
    given : MixtureSchedule or MixtureSampler
    length : int, optional
        Samples to show; by default those of the sampler, else a quarter more than until the last change.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    BackendError
        matplotlib is not installed.
    """
    plan = getattr(given, "schedule", given)
    samples, shares = course(given, length)
    with draw.style(ax):
        ax = draw.axes(ax, 4.0)
        words, parts = folded(list(plan.domains), shares)
        x = samples * float(plan.sample_tokens or 1)
        bottom = np.zeros(len(x))
        for (colour, hatch), name, part in zip(_looks(words, plan.domains), words, parts, strict=True):
            ax.fill_between(x, bottom, bottom + part, facecolor=colour, hatch=hatch, edgecolor=MUTED, lw=0.5,
                            label=draw.label(name))  # fmt: skip
            bottom = bottom + part
        ax.set_xlim(0.0, x[-1])
        draw.count_axis(ax.xaxis)
        ax.set_xlabel("tokens" if plan.sample_tokens else "samples")
        if len(plan.changes) == 1 and length is None and getattr(given, "length", None) is None:
            ax.set_xticks([])
            ax.set_xlabel("the same from the first sample on")
        _finish(ax)
    return ax


def course(given: Any, length: int | None) -> tuple[NDArray[np.float64], Matrix]:
    """Return samples (T,) at which the shares (T, K) change direction; the samples before and after each jump."""
    plan = getattr(given, "schedule", given)
    changes = plan.changes
    last = max(change.stop or change.start for change in changes)
    length = length if length is not None else getattr(given, "length", None)
    end = int(length) if length else max(int(_LONGER * last), last + 1)
    samples: list[int] = []
    for change in changes:
        if change.start >= end:
            break
        # A change may be a jump: the last sample before it, and the first after it.
        samples += [change.start - 1, change.start] if change.start else [0]
        if change.stop is not None:
            samples.append(min(change.stop, end))
    # A change may begin before the ramp of the previous one ends.
    turns = sorted(sample for sample in {*samples, end} if 0 <= sample <= end)
    shares = np.array([plan.at(sample).weights for sample in turns])
    return np.array(turns, dtype=np.float64), shares


def folded(names: list[str], shares: Matrix) -> tuple[list[str], list[NDArray[np.float64]]]:
    """Return names and shares of the domains that were largest at any time, by mean share, and the sum of the others."""
    kept = len(STACK)
    order = np.argsort(-shares.max(axis=0), kind="stable")
    top, rest = (order, order[:0]) if len(order) <= kept else (order[:kept], order[kept:])
    top = top[np.argsort(-shares[:, top].mean(axis=0), kind="stable")]
    words, parts = [names[k] for k in top], [shares[:, k] for k in top]
    if rest.size:
        words.append(f"other {rest.size} domains: {draw.share(float(shares[-1, rest].sum()))} at the end")
        parts.append(shares[:, rest].sum(axis=1))
    return words, parts


def _looks(words: list[str], names: Any) -> list[tuple[str, str]]:
    looks = list(STACK[: len(words)])
    return looks if len(words) <= len(names) and len(words) <= len(STACK) else [*looks, REST]


def _finish(ax: Axes) -> None:
    ax.set_ylim(0.0, 1.0)
    draw.percent_axis(ax.yaxis)
    ax.set_ylabel("share of the training tokens")
    handles, words = ax.get_legend_handles_labels()
    # From top to bottom, in the order of the stack.
    ax.legend(handles[::-1], words[::-1], loc="center left", bbox_to_anchor=(1.01, 0.5), handlelength=2.2, handleheight=1.4,
              labelcolor=INK)  # fmt: skip
