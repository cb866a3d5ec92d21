"""Reports: one page of HTML to decide by, and its figures one by one.

`page` takes what is known of a mixture, in any order: a solution, proposal or mixture; its intervals and held-out losses; a law
and the runs that it was fitted to; a ledger; the schedule of a loader. Sections whose inputs are missing are skipped; the page
lists them and how to add them. The HTML file loads nothing, and the same parts give the same bytes. Nothing is solved or fitted
here, with two exceptions: the near-optimal set, and predictions out of fold.

`explore` makes a page on which mixtures are tried: sliders for the shares, predictions of a law or the losses of a table, and what speaks against a mixture. It is
JavaScript that evaluates the same formulas (`explorer/`). A report of a law or a table has it as a section.

Classes: `Page` (the document, its sections, what is missing, warnings) and `OutOfFold` (measured metrics and what the laws predict
of runs that they have not seen; made by `out_of_fold`).

Figures: each function draws one figure, takes an optional ``ax`` (by default a new figure, which no window shows) and returns the
Axes; ``ax.figure.savefig("shares.png")`` writes it.

| figure                                 | drawn from                            | file                |
|----------------------------------------|---------------------------------------|---------------------|
| `shares`, `ranges`, `prices`           | a solution, proposal or mixture       | `_share_figures`    |
| `convergence`, `held_out`              | a solve, a held-out report            | `_solve_figures`    |
| `predicted`, `response`, `coefficients`| a law, runs that it has not seen      | `_law_figures`      |
| `history`, `schedule`                  | a ledger, a loader's schedule         | `_timeline_figures` |

Figures need matplotlib (``pip install 'mixfast[plot]'``) and raise `BackendError` without it; the page then holds tables only.

Order to read the files in: `_parts` sorts what was given by kind, and `_answer` shows a solution, a proposal and a bare mixture
alike. `_page` puts the page together from `_head` (the summary, with warnings), `_sections` and `_law_sections` (one function for
each section) and `_origin` (hashes, versions, the call). `_explorer` makes the page of `explore`, and `_explorer_section` the section of a report, from the laws as data (`_law_model`) or a table (`_table_model`) and
the modules of `explorer/` (`_explorer_script`), which are read in the order that it names. `_html` holds the elements and the style sheet, `_axes` what all figures
share, `_folds` the predictions out of fold.
"""

from mixfast.report._document import Page
from mixfast.report._explorer import explore
from mixfast.report._folds import OutOfFold, out_of_fold
from mixfast.report._law_figures import coefficients, predicted, response
from mixfast.report._page import page
from mixfast.report._share_figures import prices, ranges, shares
from mixfast.report._solve_figures import convergence, held_out
from mixfast.report._timeline_figures import history, schedule

__all__ = [
    "OutOfFold",
    "Page",
    "coefficients",
    "convergence",
    "explore",
    "held_out",
    "history",
    "out_of_fold",
    "page",
    "predicted",
    "prices",
    "ranges",
    "response",
    "schedule",
    "shares",
]
