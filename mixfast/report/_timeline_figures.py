"""Figures of a mixture over time: the updates of a ledger, and the schedule of a loader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast.report import _axes as draw
from mixfast.report._answer import percentage
from mixfast.report._axes import EDGE, INK, REST, STACK
from mixfast.sampler import MixtureSampler, MixtureSchedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mixfast.reuse import Ledger

# A schedule without an end is drawn up to this multiple of its last change.
_LONGER = 1.25


def history(ledger: Ledger, *, ax: Axes | None = None) -> Axes:
    """Draw the mixture after every update of a ledger as stacked bars.

    The nine domains with the largest shares at any time have bars of their own; the others share one bar.
    """
    entries = ledger.entries
    names = list(dict.fromkeys(name for entry in entries for name in entry.mixture))
    shares = np.array([[entry.mixture.get(name, 0.0) for name in names] for entry in entries])
    with draw.axes(ax, 4.6) as ax:
        place = np.arange(len(entries))
        for bottom, part, look in _stacked(names, shares):
            ax.bar(place, part, 0.72, bottom, **look)
        ticks = [f"{number}  {entry.kind}\n{entry.when[:10]}" for number, entry in enumerate(entries, start=1)]
        slanted = len(entries) > 10
        ax.set_xticks(place, ticks, rotation=60 if slanted else 0, ha="right" if slanted else "center")
        ax.set_xlim(-0.6, len(entries) - 0.4)
        _finish(ax)
    return ax


def schedule(given: MixtureSchedule | MixtureSampler, *, length: int | None = None, ax: Axes | None = None) -> Axes:
    """Draw the shares of a schedule over the samples of a run, or over its tokens if the schedule knows the tokens of a sample.

    Parameters
    ----------
    given : MixtureSchedule or MixtureSampler
    length : int, optional
        Number of samples to show; by default the length of the sampler, else 1.25 times the sample of the last change.
    """
    plan = plan_of(given)
    samples, shares = course(given, length)
    with draw.axes(ax, 4.0) as ax:
        x = samples * float(plan.sample_tokens or 1)
        for bottom, part, look in _stacked(plan.domains, shares):
            ax.fill_between(x, bottom, bottom + part, **look)
        ax.set_xlim(0.0, x[-1])
        draw.count_axis(ax.xaxis)
        ax.set_xlabel("tokens" if plan.sample_tokens else "samples")
        if len(plan.changes) == 1 and length is None and getattr(given, "length", None) is None:
            ax.set_xticks([])
            ax.set_xlabel("constant from the first sample on")
        _finish(ax)
    return ax


def plan_of(given: MixtureSchedule | MixtureSampler) -> MixtureSchedule:
    """Return the schedule of a sampler, or the schedule itself."""
    return given.schedule if isinstance(given, MixtureSampler) else given


def course(given: MixtureSchedule | MixtureSampler, length: int | None) -> tuple[Vector, Matrix]:
    """Return samples (T,) at which the shares (T, K) change direction; the samples before and after each jump."""
    plan = plan_of(given)
    changes = plan.changes
    last = max(change.stop or change.start for change in changes)
    length = length if length is not None else getattr(given, "length", None)
    end = int(length) if length else max(int(_LONGER * last), last + 1)
    samples: list[int] = []
    for change in changes:
        if change.start >= end:
            break
        # A change may be a jump, so both the last sample before it and the first sample after it are needed.
        samples += [change.start - 1, change.start] if change.start else [0]
        if change.stop is not None:
            samples.append(min(change.stop, end))
    # A change may begin before the ramp of the previous one ends.
    turns = sorted(sample for sample in {*samples, end} if 0 <= sample <= end)
    shares = np.array([plan.at(sample).weights for sample in turns])
    return np.array(turns, dtype=np.float64), shares


def _stacked(names: Sequence[str], shares: Matrix) -> Iterator[tuple[Vector, Vector, dict[str, Any]]]:
    """Yield bottom, height and look of each layer: the domains with the largest shares at any time, then the sum of the others."""
    order = np.argsort(-shares.max(axis=0), kind="stable")
    top, rest = order[: len(STACK)], order[len(STACK) :]
    top = top[np.argsort(-shares[:, top].mean(axis=0), kind="stable")]
    called = draw.labels(names[k] for k in top)
    layers = [(name, shares[:, k], look) for name, k, look in zip(called, top, STACK, strict=False)]
    if rest.size:
        name = f"other {rest.size} domains: {percentage(float(shares[-1, rest].sum()))} at the end"
        layers.append((name, shares[:, rest].sum(axis=1), REST))
    bottom = np.zeros(len(shares))
    for name, part, (colour, hatch) in layers:
        yield (
            bottom,
            part,
            {"facecolor": colour, "hatch": hatch, "edgecolor": EDGE, "lw": 0.5, "label": name},
        )
        bottom = bottom + part


def _finish(ax: Axes) -> None:
    ax.set_ylim(0.0, 1.0)
    draw.percent_axis(ax.yaxis)
    ax.set_ylabel("share of the training tokens")
    handles, words = ax.get_legend_handles_labels()
    # From top to bottom, in the order of the stack; on a small screen below it.
    place: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}
    if draw.is_narrow():
        place = {"loc": "upper left", "bbox_to_anchor": (0.0, -0.2), "ncols": 2}
    ax.legend(handles[::-1], words[::-1], handlelength=2.2, handleheight=1.4, labelcolor=INK, **place)
