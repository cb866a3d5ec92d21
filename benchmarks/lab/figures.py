"""The laboratory's figures: the gain of every method, the effect of experts' losses with few runs, and the ranks of proxies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.lab.claims import Row
from benchmarks.lab.evidence import OBJECTIVES
from benchmarks.lab.judge import Verdict
from benchmarks.lab.methods import OWN_CAPS
from benchmarks.lab.store import Store

# Safe for colour-blind readers; in grey the markers differ.
_OURS, _THEIRS, _BOTH = "#0072b2", "#d55e00", "#009e73"


def methods(rows: Sequence[Verdict], path: Path) -> None:
    """Draw the change of each objective against natural, methods from best to worst in the mean, with caps (common or their own) or without."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    cells = {(row.capped or row.method in OWN_CAPS, row.method, row.objective): row for row in rows}
    changes = {
        (capped, method): np.mean([cells[capped, method, each].change for each in OBJECTIVES])
        for capped, method in dict.fromkeys((capped, method) for capped, method, _ in cells)
        if all((capped, method, each) in cells for each in OBJECTIVES)
    }
    # A method without caps only is sorted by its change without caps.
    names = dict.fromkeys(method for _, method in changes)
    order = sorted(names, key=lambda name: changes[(True, name) in changes, name])
    with rc_context({"svg.hashsalt": "mixfast", "font.size": 8}):
        figure = Figure(figsize=(12, 0.26 * len(order) + 1.3), layout="constrained")
        axes = figure.subplots(1, len(OBJECTIVES), sharey=True)
        for ax, objective in zip(axes, OBJECTIVES, strict=True):
            for y, method in enumerate(order):
                colour = _OURS if method.startswith("mixfast") else _THEIRS
                for capped, marker, shift in ((True, "o", -0.15), (False, "s", 0.15)):
                    row = cells.get((capped, method, objective))
                    if row is not None:
                        half = 0 if np.isnan(row.half) else row.half
                        face = colour if capped else "white"
                        ax.errorbar(row.change, y + shift, xerr=half, fmt=marker, ms=4, color=colour, mfc=face, lw=0.9)
            ax.axvline(0, color="0.6", lw=0.7)
            ax.set(title=objective.removeprefix("target_"), xlabel="change of loss, %")
            ax.grid(axis="x", color="0.9", lw=0.5)
            ax.spines[["top", "right"]].set_visible(False)
        proxies = {row.method: row.proxies for row in rows}
        axes[0].set_yticks(range(len(order)), [f"{name} ({proxies[name]})" for name in order])
        axes[0].invert_yaxis()
        figure.suptitle(
            "Final models against the natural mixture; in brackets the proxy runs used. Filled: no token read more than 4 times, or the limits named. Hollow: any shares.",
            fontsize=9,
        )
        figure.savefig(path, metadata={"Date": None})


def features(rows: Sequence[Row], path: Path) -> None:
    """Draw rank correlation on unseen runs against the number of runs, laws with the experts' losses and without."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    kept = [row for row in rows if row.claim.startswith("MDE features")]
    claims = list(dict.fromkeys(row.claim for row in kept))
    with rc_context({"svg.hashsalt": "mixfast", "font.size": 9}):
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        for ax, claim in zip(figure.subplots(1, len(claims), sharey=True), claims, strict=True):
            for law, marker in (("linear", "^"), ("lightgbm", "s"), ("gp", "o")):
                for shown, colour, line in (("shares", _THEIRS, "--"), ("shares and MDE", _OURS, "-")):
                    found = [row for row in kept if row.claim == claim and row.case == f"{law}, {shown}"]
                    x, y, e = ([getattr(row, name) for row in found] for name in ("runs", "value", "error"))
                    ax.errorbar(x, y, e, marker=marker, ms=5, color=colour, ls=line, lw=1, label=f"{law}, {shown}")
            alone = next(row.value for row in kept if row.claim == claim and row.runs == 0)
            ax.axhline(alone, color="0.4", lw=0.8, ls=":")
            ax.annotate("the experts' ensemble alone", (50, alone), ha="right", va="bottom", fontsize=8, color="0.3")
            ax.set(title=claim.removeprefix("MDE features, "), xlabel="runs fitted on", ylim=(0, 1.03))
            ax.set_xticks([8, 16, 25, 50])
            ax.spines[["top", "right"]].set_visible(False)
        figure.axes[0].set_ylabel("rank correlation on unseen runs")
        figure.axes[-1].legend(frameon=False, fontsize=8, loc="center right", bbox_to_anchor=(1, 0.4))
        figure.savefig(path, metadata={"Date": None})


def ranks(store: Store, path: Path) -> None:
    """Draw the loss of final models against that of proxies of the same mixtures: nothing repeated, only the final model repeats, both repeat."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    shown = (
        ("fresh", "", "nothing repeated", "o", _OURS, _OURS),
        ("large", "", "only the final model repeats", "s", _THEIRS, "white"),
        ("large", "matched-", "both repeat alike", "D", _BOTH, _BOTH),
    )
    with rc_context({"svg.hashsalt": "mixfast", "font.size": 8}):
        figure = Figure(figsize=(12, 2.9), layout="constrained")
        for ax, (objective, metrics) in zip(figure.subplots(1, len(OBJECTIVES)), OBJECTIVES.items(), strict=True):
            for kind, prefix, label, marker, colour, face in shown:
                runs = store.runs(lambda row, kind=kind: row["kind"] == kind)
                proxies = [prefix + run.removeprefix(f"{kind}-") for run in runs]
                if any(run not in store for run in proxies):
                    continue
                small, large = (
                    [np.mean([store.metric(run, name) for name in metrics]) for run in names]
                    for names in (proxies, runs)
                )
                ax.plot(small, large, marker, ms=4, color=colour, mfc=face, mew=0.9, label=label)
            ax.set(title=objective.removeprefix("target_"), xlabel="loss of the proxy")
            ax.spines[["top", "right"]].set_visible(False)
        figure.axes[0].set_ylabel("loss of the final model, nats per byte")
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
        figure.savefig(path, metadata={"Date": None})
