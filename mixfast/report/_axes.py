"""What all figures of a report share: matplotlib without global state, colours that also differ in grey, names drawn literally."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mixfast._text.names import named
from mixfast._text.optional import needed
from mixfast.errors import BackendError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The colours of Okabe and Ito, which all kinds of colour vision tell apart, with a darker orange for lines. Some have similar greys, so
# marks also differ in shape, filling or hatch.
INK, MUTED, PALE = "#1a1a1a", "#666666", "#d9d9d9"
BLUE, LIGHT_BLUE, ORANGE, VERMILION = "#0072b2", "#8fc1e3", "#b87700", "#d55e00"
STACK = (
    ("#0072b2", ""), ("#f5c768", "////"), ("#56b4e9", "...."), ("#d55e00", ""), ("#a8dcc8", "\\\\\\\\"),
    ("#cc79a7", "xxxx"), ("#f0e442", "----"), ("#4d4d4d", ""), ("#bfd8ee", "++++"),
)  # fmt: skip
REST = ("#ffffff", "")

# The 90 % interval of a normal distribution, in standard deviations.
Z90 = 1.6448536269514722
# Inches: the width of the page, 1050 pixels.
WIDTH = 10.8
# Figures show at most this many domains; the rest share one row.
MOST_ROWS = 100
# Longer names would leave too little room for the marks.
_LONGEST = 34

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
    "grid.color": "#e6e6e6",
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
    """Apply the report's settings of matplotlib while a figure is drawn; in given Axes only those that names need."""
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
def axes(ax: Axes | None, height: float, width: float = WIDTH) -> Iterator[Axes]:
    """Yield the given Axes, or those of a new figure of this size in inches, which no window shows, to draw in `style`."""
    with style(ax):
        yield panels(1, 1, height, width)[1][0] if ax is None else ax


def panels(rows: int, columns: int, height: float, width: float = WIDTH) -> tuple[Figure, list[Axes]]:
    """Return a new figure with a grid of Axes, row by row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.07))
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def svg(figure: Figure) -> bytes:
    """Return the figure as SVG, the same bytes for the same picture."""
    out = io.BytesIO()
    with style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def label(name: object, longest: int = _LONGEST) -> str:
    """Return the name for matplotlib: a dollar sign starts no formula, and a leading underscore does not hide it from the legend."""
    text = named(name, longest).replace("$", r"\$")
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


def share(value: float) -> str:
    """Return a share in a few characters; a tiny one is not shown as 0."""
    if value <= 0.0:
        return "0"
    return "<0.01%" if value < 5e-5 else f"{100 * value:.2f}%" if value < 0.0995 else f"{100 * value:.1f}%"


def height_of(rows: int, more: float = 1.0) -> float:
    """Return the height in inches for this many lines of names."""
    return more + 0.225 * max(rows, 3)


def legend(ax: Axes) -> None:
    """Add a legend above the Axes, if there is more than one kind of mark."""
    handles, words = ax.get_legend_handles_labels()
    if len(handles) > 1:
        ax.legend(handles, words, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=5, borderaxespad=0.2,
                  handletextpad=0.5, columnspacing=1.4)  # fmt: skip


def words_above(ax: Axes, text: str) -> None:
    """Add a line of text above the legend."""
    ax.annotate(text, (0.0, 1.0), xycoords="axes fraction", xytext=(0, 18), textcoords="offset points", fontsize=8.5,
                color=MUTED)  # fmt: skip
