"""Reports: one page of HTML that anybody can open, and its figures one by one.

`page` takes whatever is there (a solution or proposal, a law and its runs, a ledger, a loader's schedule) and says what is
missing. Figures are functions that take an optional ``ax`` and return the Axes. They need matplotlib
(``pip install 'mixfast[plot]'``); the page without them has tables only.
"""

from mixfast.report._page import (
    OutOfFold,
    Page,
    coefficients,
    convergence,
    held_out,
    history,
    out_of_fold,
    page,
    predicted,
    prices,
    ranges,
    response,
    schedule,
    shares,
)

__all__ = [
    "OutOfFold",
    "Page",
    "coefficients",
    "convergence",
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
