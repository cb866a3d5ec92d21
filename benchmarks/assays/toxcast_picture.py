"""The figure of the ToxCast part: how every method differs from natural pooling, in average precision and in log-loss, with 95 % intervals."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.assays.intervals import Paired
from benchmarks.assays.toxcast_tables import Results
from benchmarks.studies.front_picture import TEXT

METHODS = (
    "balanced", "best single source", "random search", "RegMix", "MixMin's loop", "exact", "exact, KL", "exact, doubtful sources dropped",
    "exact, out-of-fold", "exact, calibrated", "natural, rates matched", "exact, rates matched", "target only", "target only, rates matched",
    "target and sources", "target and sources, rates matched",
)  # fmt: skip
# Mid tones: readable on white and on black.
COLOURS = {"ensemble": "#3f86d6", "retrained": "#d07a2d"}
PANELS = (("ap", "Average precision, difference from natural"), ("loss", "Log-loss, difference from natural"))
NAMES, PANEL, SPACE, ROW, TOP, BOTTOM = 250, 290, 40, 24, 66, 46
WIDTH = NAMES + 2 * PANEL + SPACE + 16


def picture(found: Results) -> str:
    """Return the figure as svg."""
    height = TOP + ROW * len(METHODS) + BOTTOM
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
        'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" font-size="13">',
        "<title>Average precision and log-loss of each method on ToxCast, less those of natural pooling</title>",
    ]
    out += [_text(NAMES - 10, _y(place) + 4, method, "end") for place, method in enumerate(METHODS)]
    for i, (metric, title) in enumerate(PANELS):
        left = NAMES + i * (PANEL + SPACE)
        out.append(_text(left, 18, title, weight=600))
        out += _panel(found, metric, left, height)
    for i, (way, colour) in enumerate(COLOURS.items()):
        out += [
            f'<circle cx="{NAMES + 6 + 110 * i}" cy="40" r="4" fill="{colour}"/>',
            _text(NAMES + 16 + 110 * i, 44, way),
        ]
    out.append(_text(NAMES + 240, 44, "Means over targets, 95 % intervals, split by molecule", size=12))
    return "\n".join([*out, "</svg>"]) + "\n"


def _panel(found: Results, metric: str, left: float, height: float) -> list[str]:
    differences = {
        (method, way): found.difference(method, "natural", f"{way}_{metric}") for method in METHODS for way in COLOURS
    }
    low = min(0.0, *(one.mean - one.half for one in differences.values()))
    high = max(0.0, *(one.mean + one.half for one in differences.values()))

    def x(value: float) -> float:
        return left + PANEL * (value - low) / (high - low)

    bottom = height - BOTTOM
    out = [f'<path d="M{x(0.0):.1f} {TOP - 6}V{bottom}" stroke="{TEXT}" stroke-width="1"/>']
    for tick in _ticks(low, high):
        out += [
            f'<path d="M{x(tick):.1f} {bottom}v5" stroke="{TEXT}"/>',
            _text(x(tick), bottom + 20, f"{tick:+.2f}" if tick else "0", "middle", size=12),
        ]
    for (method, way), one in differences.items():
        y = _y(METHODS.index(method)) + (-4 if way == "ensemble" else 4)
        out += _interval(one, x, y, COLOURS[way])
    return out


def _interval(one: Paired, x: Callable[[float], float], y: float, colour: str) -> list[str]:
    ends = f"M{x(one.mean - one.half):.1f} {y}H{x(one.mean + one.half):.1f}"
    return [
        f'<path d="{ends}" stroke="{colour}" stroke-width="2"/>',
        f'<circle cx="{x(one.mean):.1f}" cy="{y}" r="3.5" fill="{colour}"/>',
    ]


def _ticks(low: float, high: float) -> list[float]:
    step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if (high - low) / step <= 7.0)
    return [round(step * k, 4) for k in range(-100, 101) if low <= step * k <= high]


def _y(place: int) -> float:
    return TOP + ROW * place + 8


def _text(x: float, y: float, text: str, anchor: str = "start", *, size: int = 13, weight: int = 400) -> str:
    return f'<text x="{x:.1f}" y="{y:g}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" fill="{TEXT}">{text}</text>'
