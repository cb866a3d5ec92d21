"""Figures with one row for each domain: shares compared with the prior, the near-optimal set, and the cost of limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mixfast.report import _axes as draw
from mixfast.report._answer import Answer, ends_of, percentage
from mixfast.report._axes import BLUE, FLOOR, INK, LIGHT_BLUE, MUTED, ORANGE, PALE, PAPER, VERMILION

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mixfast.mixture import Mixture
    from mixfast.proposers import Proposal, ShareIntervals
    from mixfast.region import Region
    from mixfast.solver import Bootstrap, Solution

# Tokens repeated more often are worth far less than new ones (Muennighoff et al. 2023, arXiv:2305.16264).
MANY_EPOCHS = 4.0


def shares(
    answer: Solution | Proposal | Mixture,
    intervals: Bootstrap | ShareIntervals | Mapping[str, tuple[float, float]] | None = None,
    *,
    region: Region | None = None,
    present: Mixture | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the shares, largest first, beside prior, caps and the present mixture, with intervals and the epochs they imply.

    Parameters
    ----------
    answer : Solution, Proposal or Mixture
    intervals : Bootstrap, ShareIntervals or mapping of str to (float, float), optional
        Drawn as whiskers.
    region : Region, optional
        Prior, caps and token counts for a bare Mixture; solutions and proposals have their own.
    present : Mixture, optional
        Drawn for comparison, for instance the mixture that is trained on now.

    Raises
    ------
    TypeError
        `answer` is of another type.

    Notes
    -----
    At most 100 domains are shown; the rest share one row, which says how many they are.
    """
    seen = Answer.of(answer, region)
    names, rest = _shown(seen)
    with draw.axes(ax, draw.height_of(len(names) + bool(rest))) as ax:
        place = np.arange(len(names))
        ax.barh(place, [seen.mixture[name] for name in names], height=0.62, color=LIGHT_BLUE, label="share")
        ends = ends_of(intervals)
        among = [i for i, name in enumerate(names) if name in ends]
        if among:
            low, high = (np.array([ends[names[i]][side] for i in among]) for side in (0, 1))
            level = "" if isinstance(intervals, Mapping) or intervals is None else f"{100 * intervals.level:.0f}% "
            ax.hlines(among, low, high, color=INK, lw=1.3, label=f"{level}interval")
            ax.plot(np.r_[low, high], among * 2, "|", color=INK, ms=6, mew=1.3)
        _marks(ax, names, seen.prior, "D", "prior", BLUE)
        _marks(ax, names, None if present is None else present.as_dict(), "o", "present mixture", ORANGE)
        capped = [i for i, name in enumerate(names) if name in seen.caps]
        if seen.common_cap is not None:
            # Once for all, and a triangle for each exception.
            ax.axvline(seen.common_cap, color=VERMILION, lw=1.1, ls="--", label=seen.common_cap_words)
            capped = [i for i in capped if seen.caps[names[i]] != seen.common_cap]
        if capped:
            limits = [seen.caps[names[i]] for i in capped]
            # The tip of each triangle touches the cap from the right.
            ax.plot(limits, capped, marker=4, color=VERMILION, ms=6, ls="none", label="cap")
        # Caps do not extend the axis: a distant one would compress the rest.
        marked = (seen.prior or {}, {} if present is None else present, {name: end[1] for name, end in ends.items()})
        _columns(ax, names, seen)
        _finish(ax, names, rest, seen, max(values.get(name, 0.0) for values in marked for name in names))
        ax.set_xlabel("share of the training tokens")
    return ax


def ranges(
    answer: Solution | Proposal,
    eps: float = 1e-3,
    *,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the near-optimal set: the range of each share over mixtures whose objective is within `eps` of this one.

    Parameters
    ----------
    answer : Solution or Proposal
    eps : float, default 1e-3
        Tolerance in the unit of the objective.
    ranges : mapping of str to (float, float), optional
        The result of ``answer.ranges(eps)``; computed by default.

    Raises
    ------
    ValueError
        The objective has no ranges, see `Solution.ranges` and `Proposal.ranges`.
    """
    seen = Answer.of(answer)
    if ranges is None:
        if seen.source is None:
            raise TypeError("got a Mixture, expected a Solution or a Proposal: a bare mixture has no ranges")
        ranges = seen.source.ranges(eps)
    names, rest = _shown(seen)
    with draw.axes(ax, draw.height_of(len(names) + bool(rest))) as ax:
        place = np.arange(len(names))
        low, high = (np.array([ranges[name][side] for name in names]) for side in (0, 1))
        ax.barh(place, high - low, left=low, height=0.5, color=PALE, edgecolor=MUTED, lw=0.7, label=f"within {eps:g}")
        ax.plot([seen.mixture[name] for name in names], place, "o", color=BLUE, ms=4.5, label="this mixture")
        _finish(ax, names, rest, seen, float(high.max()))
        ax.set_xlabel(f"share, while the objective stays within {eps:g} of the best")
    return ax


def prices(answer: Solution | Proposal, *, ax: Axes | None = None) -> Axes:
    """Draw what the binding limits cost: the gain from relaxing each by one percentage point, most expensive first.

    If no limit binds, the figure says so.
    """
    seen = Answer.of(answer)
    found = seen.prices[: draw.MOST_ROWS]
    with draw.axes(ax, draw.height_of(len(found))) as ax:
        ax.set_xlabel(f"gain per percentage point, {seen.unit}")
        if not found:
            ax.set_yticks([])
            ax.text(0.5, 0.5, "no limit binds", transform=ax.transAxes, ha="center", va="center", color=MUTED)
            return ax
        place, cost = np.arange(len(found)), np.array([price.price / 100.0 for price in found])
        upper = np.array([price.limit in ("cap", "at most") for price in found])
        for mask, colour, hatch, words in (
            (upper, LIGHT_BLUE, "", "cap: more would help"),
            (~upper, FLOOR, "////", "floor: less would help"),
        ):
            if mask.any():
                ax.barh(place[mask], cost[mask], 0.62, color=colour, hatch=hatch, edgecolor=MUTED, lw=0.5, label=words)
        for y, price in enumerate(found):
            ax.annotate(
                f"{price.price / 100.0:.2g}  ({price.limit} {percentage(price.value)})",
                (cost[y], y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8,
            )  # fmt: skip
        ax.set_yticks(place, draw.labels(price.name for price in found))
        ax.set_ylim(len(found) - 0.4, -0.6)
        ax.set_xlim(0.0, 1.35 * cost.max())
        ax.grid(axis="x")
        if len(found) < len(seen.prices):
            draw.words_above(ax, f"{len(seen.prices) - len(found)} more limits bind, each at a lower price")
        draw.legend(ax)
    return ax


def _shown(seen: Answer) -> tuple[list[str], list[str]]:
    """Return the domains that have rows of their own, and those that share one."""
    order = seen.order()
    return order[: draw.MOST_ROWS], order[draw.MOST_ROWS :]


def _finish(ax: Axes, names: list[str], rest: list[str], seen: Answer, most: float) -> None:
    """Label the rows, add the row that the other domains share, and end the axis of shares beyond all of them."""
    most = max(most, *seen.mixture.values())
    lines = draw.labels(names)
    if rest:
        total = math.fsum(seen.mixture[name] for name in rest)
        most = max(most, total)
        lines.append(f"other {len(rest)} domains: {percentage(total)}")
        ax.barh(len(names), total, height=0.62, color=PAPER, edgecolor=MUTED, lw=0.7)
    ax.set_yticks(np.arange(len(lines)), lines)
    ax.set_ylim(len(lines) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(0.0, min(1.06 * most, 1.02) or 1.0)
    draw.percent_axis(ax.xaxis)
    ax.grid(axis="x")
    draw.legend(ax)


def _marks(
    ax: Axes, names: list[str], values: Mapping[str, float] | None, marker: str, words: str, colour: str
) -> None:
    """Draw hollow marks of one shape."""
    if values is None:
        return
    among = [i for i, name in enumerate(names) if name in values]
    ax.plot(
        [values[names[i]] for i in among], among, marker, ms=5, mfc=PAPER, mec=colour, mew=1.3, label=words, zorder=4
    )


def _columns(ax: Axes, names: list[str], seen: Answer) -> None:
    """Write shares and epochs as numbers to the right of the bars, at fixed distances in points."""
    at = [("share", 40, [percentage(seen.mixture[name]) for name in names])]
    passes = [] if seen.epochs is None else [seen.epochs[name] for name in names]
    many = [count > MANY_EPOCHS * (1.0 + 1e-6) for count in passes]
    if passes:
        at.append(
            ("epochs", 84, [f"{count:.2f}" + (" !" if over else "") for count, over in zip(passes, many, strict=True)])
        )
    for head, x, texts in at:
        ax.annotate(head, (1.0, 1.0), xycoords="axes fraction", xytext=(x, 5), textcoords="offset points", ha="right",
                    fontsize=8, color=MUTED)  # fmt: skip
        for y, text in enumerate(texts):
            ax.annotate(text, (1.0, y), xycoords=("axes fraction", "data"), xytext=(x, 0), textcoords="offset points", ha="right",
                        va="center", fontsize=8, fontweight="bold" if text.endswith("!") else "normal")  # fmt: skip
