"""Intervals of replicates, against numpy."""

import numpy as np
import pytest

from mixfast._engine.optimise.replicates import central_interval


@pytest.mark.parametrize("replicates", [1, 2, 3, 7, 200, 201])
@pytest.mark.parametrize("level", [1e-9, 0.5, 0.9, 0.99, 1 - 1e-9])
def test_central_intervals_are_quantiles(replicates, level):
    shares = np.random.default_rng(replicates).random((replicates, 5))
    shares[:, 0] = 0.3
    found = central_interval(shares, level)
    np.testing.assert_allclose(found, np.quantile(shares, [0.5 - 0.5 * level, 0.5 + 0.5 * level], axis=0), atol=1e-15)
    assert (found[0] <= found[1]).all()
