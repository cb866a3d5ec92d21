"""Part: one fitted law inside a `Fit`, and the metrics that it predicts there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast.laws._protocol import FeatureMap, Law, Smooth, epochs_of, uses_epochs
from mixfast.laws._target_run import known_rate


@dataclass(frozen=True)
class Part:
    """One fitted law, the columns of its predictions that are used, and the positions of these metrics in the fit."""

    law: Law
    own: tuple[int, ...]
    columns: tuple[int, ...]

    @cached_property
    def smooth(self) -> Smooth | None:
        """Return the law if it knows its gradients, else None. Cached, because a search asks thousands of times."""
        return self.law if isinstance(self.law, Smooth) else None

    def inputs(self, w: Matrix, features: FeatureMap | None, rate: Matrix | Vector | None) -> Matrix:
        """Return mixtures (M, K), followed by their features if the law uses them; or their epochs, for a law in epochs.

        Raises
        ------
        ValueError
            The law is a function of epochs and the rate (K,) or (M, K) is None.
        """
        if uses_epochs(self.law):
            return epochs_of(w, known_rate(rate))
        if features is None or not self.law.uses_features:
            return w
        return np.hstack([w, features.at(w)])

    def slopes(
        self, w: Matrix, features: FeatureMap | None, smooth_features: Smooth | None, rate: Vector | None
    ) -> tuple[Matrix, NDArray[np.float64]]:
        """Return the metrics (M, J') at mixtures (M, K), and their gradients (M, J', K) in shares.

        ``smooth_features`` are the features if their gradients are known.
        """
        if self.smooth is None:
            raise ValueError(f"the law {self.law.name} has no gradient")
        value, gradient = self.smooth.slopes(self.inputs(w, features, rate))
        value, gradient = value[:, self.own], gradient[:, self.own]
        chain = gradient[:, :, : w.shape[1]]
        if uses_epochs(self.law):
            # A domain without tokens has an infinite rate, and no effect.
            chain = np.where(chain == 0.0, 0.0, chain * np.where(chain == 0.0, 1.0, known_rate(rate)))
        if gradient.shape[2] > w.shape[1] and smooth_features is not None:
            chain = chain + np.einsum("mjf,mfk->mjk", gradient[:, :, w.shape[1] :], smooth_features.slopes(w)[1])
        return value, chain
