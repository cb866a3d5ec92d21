"""Figures of a law: predicted against measured, the response to one domain's share, and the effect of each domain on each metric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.names import listing, shown
from mixfast.laws import Objective, Target, resolve
from mixfast.report import _axes as draw
from mixfast.report._answer import base_of
from mixfast.report._axes import BAND, BLUE, INK, MUTED, PAPER, VERMILION, WHISKER

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mixfast.laws import Fit
    from mixfast.report._folds import OutOfFold
    from mixfast.swarm import Swarm

# Points of a curve; and the share that moves to a domain to measure the slope of a law without gradients, such as trees.
_POINTS, _MOVE = 61, 0.05
# Inches: the largest and the smallest square of the map, the names around it, and the least width, for the text above it. On a small
# screen names are shorter. Squares smaller than a line of text would make names overlap.
_CELL, _LEAST_CELL, _MARGIN, _MARGIN_NARROW, _LEAST_WIDTH = 0.3, 0.16, 3.0, 1.9, 6.5
# Characters of a name above a panel.
_TITLE = 40
# A curve extends at least to this share if the shares of the runs are unknown.
_LEAST_SPAN = 0.3


def predicted(found: OutOfFold, metric: str, *, ax: Axes | None = None) -> Axes:
    """Draw predicted against measured metrics, for runs that the law was not fitted to, with 90 % intervals.

    Parameters
    ----------
    found : OutOfFold
        As `mixfast.report.out_of_fold` returns it.
    metric : str

    Raises
    ------
    ValueError
        There is no such metric.

    Notes
    -----
    Hollow triangles at the edge are predictions further out than half the range of the measured values.
    """
    j = found.column(metric)
    truth, guess, sd = found.measured[:, j], found.predicted[:, j], found.sd[:, j]
    there = np.isfinite(truth) & np.isfinite(guess)
    truth, guess, sd = truth[there], guess[there], sd[there]
    score = found.scores[j]
    with draw.axes(ax, 3.3, 4.4) as ax:
        if truth.size:
            ends = [truth.min(), truth.max()]
            ax.plot(ends, ends, "-", color=MUTED, lw=0.8)
            # One extreme prediction, or an interval far wider than the data, would compress all others.
            room = 0.5 * (ends[1] - ends[0]) or 1.0
            low, high = ends[0] - room, ends[1] + room
            bars = np.where(np.isfinite(sd), draw.Z90 * sd, 0.0)
            _uprights(ax, truth, guess - bars, guess + bars, color=WHISKER, lw=0.9)
            inside = (guess >= low) & (guess <= high)
            ax.plot(truth[inside], guess[inside], "o", color=BLUE, ms=3.4, mew=0)
            for out, marker, edge in ((guess > high, "^", high), (guess < low, "v", low)):
                if out.any():
                    ax.plot(truth[out], np.full(int(out.sum()), edge), marker, mfc=PAPER, mec=VERMILION, mew=1.2, ms=6,
                            clip_on=False)  # fmt: skip
            drawn = np.r_[ends, (guess - bars)[inside], (guess + bars)[inside], guess[inside]]
            pad = 0.04 * (ends[1] - ends[0]) or 0.5
            bottom = low if (guess < low).any() else max(low, drawn.min() - pad)
            ax.set_ylim(bottom, high if (guess > high).any() else min(high, drawn.max() + pad))
        ax.set_title(f"{draw.labels(found.metrics, _TITLE)[j]}\n{score.law}, Spearman {score.spearman:.3f}, rmse {score.rmse:.3g}",
                     loc="left", fontsize=8.5)  # fmt: skip
        ax.set_xlabel("measured")
        ax.set_ylabel("predicted out of fold")
        ax.grid()
    return ax


def response(
    law: Fit,
    domain: str,
    *,
    objective: Objective = None,
    at: Mapping[str, float] | None = None,
    swarm: Swarm | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw what a law predicts when the share of one domain changes and the others keep their proportions, with a 90 % band.

    Parameters
    ----------
    law : Fit
    domain : str
    objective : optional
        A metric, weights or families of metrics, or "worst", as for `mixfast.propose`; the mean of all by default.
    at : Mixture or mapping, optional
        The mixture where the change starts, marked in the figure; equal shares by default.
    swarm : Swarm, optional
        The shares of the domain in its runs are drawn as ticks. The line is dashed beyond them, where the law extrapolates.

    Raises
    ------
    ValueError
        The law has no such domain, or no such objective.
    """
    if domain not in law.domains:
        raise ValueError(f"the law has no domain {shown(domain)}; its domains are {listing(law.domains)}")
    return respond(law, domain, resolve(objective, law), at, swarm, ax)


def respond(
    law: Fit, domain: str, target: Target, at: Mapping[str, float] | None, swarm: Swarm | None, ax: Axes | None
) -> Axes:
    """Draw the response of a resolved objective."""
    base, _ = base_of(law, at)
    k = law.domains.index(domain)
    seen = _seen(swarm, domain)
    x = np.unique(np.r_[np.linspace(0.0, reach(law, swarm, k, float(base[k])), _POINTS), base[k]])
    value, sd = curve(law, target, base, k, x)
    with draw.axes(ax, 3.2, 4.4) as ax:
        if sd is not None:
            ax.fill_between(x, value - draw.Z90 * sd, value + draw.Z90 * sd, color=BAND, lw=0, label="90 % interval")
        known = np.ones(x.size, dtype=bool) if seen is None else (x >= seen.min()) & (x <= seen.max())
        ax.plot(x, value, "--", color=BLUE, lw=1.0)
        ax.plot(x[known], value[known], "-", color=BLUE, lw=1.8)
        here = int(np.searchsorted(x, base[k]))
        ax.plot(x[here], value[here], "o", mfc=PAPER, mec=INK, mew=1.4, ms=6, zorder=4)
        if seen is not None:
            low, high = np.zeros(seen.size), np.full(seen.size, 0.03)
            _uprights(ax, seen, low, high, color=MUTED, lw=0.8, transform=ax.get_xaxis_transform())
        ax.set_title(draw.labels(law.domains, _TITLE)[k], loc="left")
        draw.percent_axis(ax.xaxis)
        ax.set_xlim(-0.02 * x[-1], 1.02 * x[-1])
        ax.grid()
    return ax


def coefficients(law: Fit, at: Mapping[str, float] | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw the effect of each domain on each metric as the domain gets more and the others keep their proportions.

    Parameters
    ----------
    law : Fit
    at : Mixture or mapping, optional
        The mixture at which slopes are taken; equal shares by default. For log-linear laws the figure shows their coefficients around
        their mean at this mixture.

    Notes
    -----
    Filled squares: more of the domain makes the metric better. Hollow squares: worse. Areas are relative to the largest in each metric.
    """
    base, words = base_of(law, at)
    better = -effects(law, base) * signs(law)[:, None]
    # Each metric to its own scale.
    scale = np.abs(better).max(axis=1, keepdims=True)
    better /= np.where(scale > 0.0, scale, 1.0)
    order = np.argsort(-better.mean(axis=0), kind="stable")[: draw.MOST_ROWS]
    size = np.sqrt(np.abs(better))[:, order]
    helps = better[:, order] > 0.0
    rows, columns = len(order), len(law.metrics)
    margin = _MARGIN_NARROW if draw.is_narrow() else _MARGIN
    cell = max(min(_CELL, (draw.most_wide() - margin) / columns), _LEAST_CELL)
    width = max(cell * columns + margin, min(_LEAST_WIDTH, draw.most_wide()))
    with draw.axes(ax, cell * rows + margin, width) as ax:
        from matplotlib.patches import PathPatch
        from matplotlib.path import Path

        for mask, face, edge, name in ((helps, BLUE, BLUE, "helps"), (~helps, PAPER, VERMILION, "hurts")):
            boxed = np.argwhere(mask & (size > 0.02))
            if len(boxed):
                # One path, not thousands of patches: the page stays small.
                corners = np.array([[-0.45, -0.45], [0.45, -0.45], [0.45, 0.45], [-0.45, 0.45]])
                boxes = boxed[:, None, :] + size[boxed[:, 0], boxed[:, 1]][:, None, None] * corners
                path = Path.make_compound_path_from_polys(boxes)
                ax.add_patch(PathPatch(path, facecolor=face, edgecolor=edge, linewidth=1.1))
            ax.plot([], [], "s", mfc=face, mec=edge, mew=1.2, ms=7, label=f"more of it {name}")
        ax.set_xticks(np.arange(columns), draw.labels(law.metrics), rotation=55, ha="right",
                      rotation_mode="anchor")  # fmt: skip
        ax.set_yticks(np.arange(rows), draw.labels(law.domains[k] for k in order))
        ax.set_xlim(-0.6, columns - 0.4)
        ax.set_ylim(rows - 0.4, -0.6)
        ax.tick_params(length=0)
        ax.set_aspect("equal", adjustable="box", anchor="W")
        ax.grid()
        draw.legend(ax)
        left_out = len(law.domains) - rows
        more = f"; {left_out} domains with smaller gains are not shown" if left_out else ""
        draw.words_above(ax, f"slopes at {words}, each metric on its own scale{more}")
    return ax


def curve(law: Fit, target: Target, base: Vector, k: int, x: Vector) -> tuple[Vector, Vector | None]:
    """Return the objective at shares x of domain k while the others keep their proportions, and its standard deviation."""
    others = np.delete(base, k)
    total = float(others.sum())
    # If the domain has all of the mixture, the others share the rest equally.
    others = others / total if total > 0.0 else np.full(others.size, 1.0 / max(others.size, 1))
    rows = np.insert(np.outer(1.0 - x, others), k, x, axis=1) if others.size else np.ones((x.size, 1))
    values = law.predict(rows)
    spread = target.spread(values, law.sd(rows))
    return target.score(values), spread if np.isfinite(spread).all() else None


def reach(law: Fit, swarm: Swarm | None, k: int, here: float) -> float:
    """Return the share of domain k up to which its response is drawn: the largest in the runs, and beyond that in the mixture."""
    seen = _seen(swarm, law.domains[k])
    return min(max(_LEAST_SPAN if seen is None else float(seen.max()), 1.4 * here), 1.0)


def effects(law: Fit, base: Vector) -> Matrix:
    """Return the slope (J, K) of each metric as one domain gets more and the others keep their proportions.

    Slopes are in the unit of the metric for each unit of share. Laws without gradients have the mean slope over the next five points.
    """
    if law.smooth:
        own = law.slopes(base[None, :])[1][0]
        return own - (own @ base)[:, None]
    moved = (1.0 - _MOVE) * base + _MOVE * np.eye(base.size)
    values = law.predict(np.vstack([base, moved]))
    return (values[1:] - values[0]).T / _MOVE


def signs(law: Fit) -> Vector:
    """Return 1 for each metric (J,) of which less is better, and -1 for the others."""
    return np.array([-1.0 if way == "max" else 1.0 for way in law.direction])


def _uprights(ax: Axes, x: Vector, low: Vector, high: Vector, **look: Any) -> None:
    """Draw vertical lines as one path: one path for each of thousands of runs would make a page of megabytes."""
    none = np.full(x.size, np.nan)
    ax.plot(np.c_[x, x, none].ravel(), np.c_[low, high, none].ravel(), "-", **look)


def _seen(swarm: Swarm | None, domain: str) -> Vector | None:
    """Return the runs' shares of a domain."""
    if swarm is None or domain not in swarm.domains:
        return None
    return np.asarray(swarm.ratios[:, swarm.domains.index(domain)])
