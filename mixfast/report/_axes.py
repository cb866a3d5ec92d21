"""What all figures of a report share: matplotlib without global state, colours that also differ in grey, names drawn literally."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from textwrap import fill
from typing import TYPE_CHECKING, Any

from mixfast._text.names import distinct
from mixfast._text.optional import needed
from mixfast.errors import BackendError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours of the page and its figures, in light and in dark surroundings. The marks are those of Okabe and Ito, which all kinds of colour
# vision tell apart, with a darker orange for lines. Some have similar greys, so marks also differ in shape, filling or hatch.
PALETTE = {
    "ink": ("#1a1a1a", "#e8e8e8"), "muted": ("#666666", "#a3a3a3"), "pale": ("#d9d9d9", "#454b52"), "paper": ("#ffffff", "#16191d"),
    "grid": ("#e6e6e6", "#2e3338"), "mark": ("#0072b2", "#5db4e8"), "bar": ("#8fc1e3", "#2f6f9e"), "amber": ("#b87700", "#e3a53c"),
    "red": ("#d55e00", "#ff8a3d"), "floor": ("#f5c768", "#b98a2c"), "whisker": ("#b8cfe0", "#3f5d73"), "band": ("#dbe9f4", "#22384a"),
}  # fmt: skip
# The variables of the style sheet by the colour that stands for them in figures.
VARIABLES = {light: name for name, (light, _) in PALETTE.items()}
INK, MUTED, PALE, PAPER, _GRID, BLUE, LIGHT_BLUE, ORANGE, VERMILION, FLOOR, WHISKER, BAND = (
    light for light, _ in PALETTE.values()
)
# Hatches of stacks, on grounds that are as light in dark surroundings.
EDGE = "#5a5a5a"
STACK = (
    ("#0072b2", ""), ("#f5c768", "////"), ("#56b4e9", "...."), ("#d55e00", ""), ("#a8dcc8", "\\\\\\\\"),
    ("#cc79a7", "xxxx"), ("#f0e442", "----"), ("#4d4d4d", ""), ("#bfd8ee", "++++"),
)  # fmt: skip
REST = (PAPER, "")

# The 90 % interval of a normal distribution, in standard deviations.
Z90 = 1.6448536269514722
# Inches: the width of the page on a desktop, and of a figure for screens of 500 pixels and less.
WIDTH, NARROW = 12.9, 4.8
# Figures show at most this many domains; the rest share one row.
MOST_ROWS = 100
# Longer names would leave too little room for the marks.
_LONGEST, _LONGEST_NARROW = 34, 18
# Points: the height of a line of a legend.
_LEGEND_LINE = 14
_MOST_WIDE: ContextVar[float] = ContextVar("most_wide", default=WIDTH)

_STYLE: dict[str, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "hatch.linewidth": 0.6,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    # Text stays text: the browser draws scripts that matplotlib's own font lacks.
    "svg.fonttype": "none",
    # The same picture gives the same bytes.
    "svg.hashsalt": "mixfast",
}
# matplotlib's settings belong to the process: pages made in two threads must not change them at the same time.
_SETTINGS = threading.RLock()


@contextmanager
def style(ax: Axes | None = None) -> Iterator[None]:
    """Apply the report's settings of matplotlib while a figure is drawn; if Axes are given, only the settings for names."""
    with needed("a figure", "matplotlib", "mixfast[plot]", BackendError):
        import matplotlib as mpl
        from matplotlib import style as styles
    with _SETTINGS:
        if ax is not None:
            # TeX would interpret names as commands.
            with mpl.rc_context({"text.usetex": False}):
                yield
            return
        with styles.context(["default", _STYLE]):
            yield


@contextmanager
def axes(ax: Axes | None, height: float, width: float | None = None) -> Iterator[Axes]:
    """Yield the given Axes, or those of a new figure, which no window shows, to draw in `style`; sizes are in inches."""
    with style(ax):
        if ax is not None:
            yield ax
            return
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine

        figure = Figure(figsize=(width or most_wide(), height), layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.07))
        FigureCanvasAgg(figure)
        yield figure.subplots()


@contextmanager
def narrowed() -> Iterator[None]:
    """Let figures made inside the block be as wide as a small screen."""
    token = _MOST_WIDE.set(NARROW)
    try:
        yield
    finally:
        _MOST_WIDE.reset(token)


def most_wide() -> float:
    """Return how wide a new figure may be, in inches."""
    return _MOST_WIDE.get()


def is_narrow() -> bool:
    """Whether new figures are for a small screen."""
    return most_wide() < WIDTH


def svg(figure: Figure) -> bytes:
    """Return the figure as SVG, the same bytes for the same picture."""
    out = io.BytesIO()
    with style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def labels(names: Iterable[object], longest: int | None = None) -> list[str]:
    """Return the names of one collection for matplotlib, long ones by the parts that tell them apart."""
    every = list(map(str, names))
    short = distinct(every, longest or (_LONGEST_NARROW if is_narrow() else _LONGEST))
    return [literal(short[name]) for name in every]


def literal(text: str) -> str:
    """Return a text for matplotlib: a dollar sign starts no formula, and a leading underscore does not hide it from the legend."""
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def percent_axis(axis: Any) -> None:
    """Show shares as percentages."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g}%"))


def count_axis(axis: Any) -> None:
    """Show counts with the suffixes that the command line takes."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda number, _: _count(number)))


def _count(number: float) -> str:
    for power, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if number >= 10 * power or (number >= power and power > 1e3):
            return f"{number / power:.4g}{suffix}"
    return f"{number:.6g}"


def height_of(rows: int, more: float = 1.0) -> float:
    """Return the height in inches for this many lines of names."""
    return more + 0.225 * max(rows, 3)


def legend(ax: Axes) -> None:
    """Add a legend above the Axes, if there is more than one kind of mark."""
    handles, words = ax.get_legend_handles_labels()
    if len(handles) > 1:
        ax.legend(handles, words, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=_columns(), borderaxespad=0.2,
                  handletextpad=0.5, columnspacing=1.4)  # fmt: skip


def words_above(ax: Axes, text: str) -> None:
    """Add a note above the Axes; the legend, if there is one, stands below it."""
    marks = len(ax.get_legend_handles_labels()[1])
    lines = -(-marks // _columns()) if marks > 1 else 0
    text = fill(text, 70 if is_narrow() else 150)
    ax.set_title(text, loc="left", fontsize=8.5, color=MUTED, pad=5 + _LEGEND_LINE * lines)


def _columns() -> int:
    return 2 if is_narrow() else 5
