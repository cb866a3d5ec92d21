"""Figures with one line for each domain: shares beside the prior, the near-optimal set, and what the limits cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mixfast.report import _axes as draw
from mixfast.report._answer import Answer, ends_of
from mixfast.report._axes import BLUE, INK, LIGHT_BLUE, MUTED, ORANGE, PALE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mixfast.mixture import Mixture
    from mixfast.proposers import Proposal, ShareIntervals
    from mixfast.region import Region
    from mixfast.solver import Bootstrap, Solution

# More repeats than this are worth far less than new tokens (Muennighoff et al. 2023, arXiv:2305.16264).
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
        Prior, caps and token counts of a bare Mixture; the others have their own.
    present : Mixture, optional
        Drawn beside it, for instance what is trained on now.

    Raises
    ------
    TypeError
        An object that is neither of these.

    Notes
    -----
    At most 100 domains are shown; the rest share one line, which says so.
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
        if capped:
            limits = [seen.caps[names[i]] for i in capped]
            # The tip of each triangle touches the cap from the right.
            ax.plot(limits, capped, marker=4, color=draw.VERMILION, ms=6, ls="none", label="cap")
        # Caps do not extend the axis: one far out would compress the rest.
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
    """Draw the near-optimal set: how far each share can go while the objective stays within `eps`.

    Parameters
    ----------
    answer : Solution or Proposal
    eps : float, default 1e-3
        In the unit of the objective.
    ranges : mapping of str to (float, float), optional
        What ``answer.ranges(eps)`` gave, if at hand; it is computed otherwise.

    Raises
    ------
    ValueError
        An objective without ranges, see `Solution.ranges` and `Proposal.ranges`.
    """
    seen = Answer.of(answer)
    if ranges is None:
        if seen.source is None:
            raise TypeError("ranges are known of a Solution or a Proposal; got a Mixture")
        ranges = seen.source.ranges(eps)
    names, rest = _shown(seen)
    with draw.axes(ax, draw.height_of(len(names) + bool(rest))) as ax:
        place = np.arange(len(names))
        low, high = (np.array([ranges[name][side] for name in names]) for side in (0, 1))
        ax.barh(place, high - low, left=low, height=0.5, color=PALE, edgecolor=MUTED, lw=0.7, label=f"within {eps:g}")
        ax.plot([seen.mixture[name] for name in names], place, "o", color=BLUE, ms=4.5, label="this mixture")
        _finish(ax, names, rest, seen, float(high.max()))
        ax.set_xlabel(f"share, while the objective stays within {eps:g} of the best found")
    return ax


def prices(answer: Solution | Proposal, *, ax: Axes | None = None) -> Axes:
    """Draw what the binding limits cost: loss saved for each percentage point by which one gives way, dearest first.

    A sentence stands in place of bars where no limit binds.
    """
    seen = Answer.of(answer)
    found = seen.prices[: draw.MOST_ROWS]
    with draw.axes(ax, draw.height_of(len(found))) as ax:
        ax.set_xlabel(f"{seen.unit} saved per percentage point")
        if not found:
            ax.set_yticks([])
            ax.text(0.5, 0.5, "no limit binds", transform=ax.transAxes, ha="center", va="center", color=MUTED)
            return ax
        place, cost = np.arange(len(found)), np.array([price.price / 100.0 for price in found])
        upper = np.array([price.limit in ("cap", "at most") for price in found])
        for mask, colour, hatch, words in (
            (upper, LIGHT_BLUE, "", "cap: more of it would help"),
            (~upper, "#f5c768", "////", "floor: less of it would help"),
        ):
            if mask.any():
                ax.barh(place[mask], cost[mask], 0.62, color=colour, hatch=hatch, edgecolor=MUTED, lw=0.5, label=words)
        for y, price in enumerate(found):
            ax.annotate(
                f"{price.price / 100.0:.2g}  ({price.limit} {draw.share(price.value)})",
                (cost[y], y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8,
            )  # fmt: skip
        ax.set_yticks(place, [draw.label(price.name) for price in found])
        ax.set_ylim(len(found) - 0.4, -0.6)
        ax.set_xlim(0.0, 1.35 * cost.max())
        ax.grid(axis="x")
        if len(found) < len(seen.prices):
            draw.words_above(ax, f"{len(seen.prices) - len(found)} more limits bind, each at a lower price")
        draw.legend(ax)
    return ax


def _shown(seen: Answer) -> tuple[list[str], list[str]]:
    """Return the domains that get lines of their own, and those that share one."""
    order = seen.order()
    return order[: draw.MOST_ROWS], order[draw.MOST_ROWS :]


def _finish(ax: Axes, names: list[str], rest: list[str], seen: Answer, most: float) -> None:
    """Name the lines, add the line of the domains that share one, and end the axis of shares beyond all of them."""
    most = max(most, *seen.mixture.values())
    lines = [draw.label(name) for name in names]
    if rest:
        total = math.fsum(seen.mixture[name] for name in rest)
        most = max(most, total)
        lines.append(f"other {len(rest)} domains: {draw.share(total)}")
        ax.barh(len(names), total, height=0.62, color="white", edgecolor=MUTED, lw=0.7)
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
    """Draw hollow marks, which differ in shape."""
    if values is None:
        return
    among = [i for i, name in enumerate(names) if name in values]
    ax.plot(
        [values[names[i]] for i in among], among, marker, ms=5, mfc="white", mec=colour, mew=1.3, label=words, zorder=4
    )


def _columns(ax: Axes, names: list[str], seen: Answer) -> None:
    """Write shares and epochs as numbers to the right of the bars."""
    heads = [("share", 1.065)]
    heads += [("epochs", 1.14)] if seen.epochs else []
    for words, x in heads:
        ax.annotate(words, (x, 1.0), xycoords="axes fraction", xytext=(0, 5), textcoords="offset points",
                    ha="right", fontsize=8, color=MUTED)  # fmt: skip
    at = ax.get_yaxis_transform()
    for y, name in enumerate(names):
        ax.text(1.065, y, draw.share(seen.mixture[name]), transform=at, ha="right", va="center", fontsize=8)
        if seen.epochs:
            passes = seen.epochs[name]
            many = passes > MANY_EPOCHS * (1.0 + 1e-6)
            ax.text(1.14, y, f"{passes:.2f}" + (" !" if many else ""), transform=at, ha="right", va="center", fontsize=8,
                    fontweight="bold" if many else "normal")  # fmt: skip
