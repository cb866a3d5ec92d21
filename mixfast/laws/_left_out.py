"""Predict runs by laws that were not fitted to them, to measure how well the laws predict."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix
from mixfast._engine.backend.blas import single_blas
from mixfast._text.progress import advance
from mixfast.laws._protocol import Closed, Law, Refitted

Index = NDArray[np.int64]
Columns = list[int] | slice
# A function that is called with a text on what is being done.
Progress = Callable[[str], None]

# With more runs than this, laws that have left-out predictions in closed form keep the settings fitted to all runs: a few settings
# learn next to nothing from the left-out runs, and fitting them again would take minutes.
SETTLED_RUNS = 256


def settled(fitted: Law, x: Matrix) -> bool:
    """Whether a law fitted to these runs (R, K [+ F]) is scored by its closed form instead of a new fit for each fold."""
    return len(x) > SETTLED_RUNS and isinstance(fitted, Closed) and fitted.fitted_to(x)


def predict_left_out(
    fitted: Law,
    x: Matrix,
    y: Matrix,
    splits: Sequence[tuple[Index, Index]],
    *,
    own: Columns = slice(None),
    progress: Progress | None = None,
) -> tuple[Matrix, Matrix]:
    """Predict metrics (R, J) of each run by a law that was fitted without the test runs of its split.

    ``own`` selects the columns of the law's predictions that belong to y, if the law was fitted to more metrics. Values and standard
    deviations are NaN for runs that are in no test split.
    """
    guess, spread = np.full(y.shape, np.nan), np.full(y.shape, np.nan)
    columns = list(range(y.shape[1])) if isinstance(own, slice) else own
    closed = fitted if isinstance(fitted, Closed) and settled(fitted, x) else None
    with single_blas():  # includes libraries that the fit to all runs has loaded
        for done, (train, test) in enumerate(splits):
            if progress is not None:
                progress(f"{fitted.name}, fold {done + 1} of {len(splits)}")
            if closed is not None:
                values, sds = closed.left_out(test)
                guess[test], spread[test] = values[:, own], sds[:, own]
            else:
                part = np.ascontiguousarray(x[train]), np.ascontiguousarray(y[train])
                law = fitted.refit(*part, columns) if isinstance(fitted, Refitted) else fitted.fit(*part)
                rows = np.ascontiguousarray(x[test])
                guess[test], spread[test] = law.predict(rows), law.sd(rows)
            advance()
    return guess, spread
