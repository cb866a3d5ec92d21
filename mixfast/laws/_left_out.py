"""What laws say of runs they have not seen, to measure how well they predict."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix
from mixfast._engine.backend.blas import single_blas
from mixfast.laws._protocol import Closed, Law, Refitted

Index = NDArray[np.int64]
Columns = list[int] | slice
# Told what is being done.
Progress = Callable[[str], None]

# Beyond this many runs a law that knows what it would have said of runs left out, with the settings that all runs gave it, is
# believed: what a few settings learn from those runs is negligible, and fits without them take minutes.
SETTLED_RUNS = 256


def settled(fitted: Law, x: Matrix) -> bool:
    """Whether a law fitted to these runs (R, K [+ F]) is not fitted again to predict them out of fold."""
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
    """Predict metrics (R, J) of each run by what the law, fitted to all of them, makes of the runs of its split.

    ``own`` holds the columns of what the law predicts that are those of y, where it was fitted to more. Values and standard
    deviations are NaN for runs that no split leaves out.
    """
    guess, spread = np.full(y.shape, np.nan), np.full(y.shape, np.nan)
    columns = list(range(y.shape[1])) if isinstance(own, slice) else own
    closed = fitted if isinstance(fitted, Closed) and settled(fitted, x) else None
    with single_blas():  # also of libraries that the fit to all runs has loaded
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
    return guess, spread
