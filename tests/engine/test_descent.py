"""The descents of the search: steps stay finite."""

import numpy as np

from mixfast import Region
from mixfast._engine.optimise import descent


def test_a_step_that_has_grown_for_long_stays_finite(monkeypatch):
    monkeypatch.setattr(descent, "_FIRST", 1e4)
    slopes = np.array([0.3, -1.0, 0.2])
    start = np.full((1, 3), 1.0 / 3.0)
    points, values = descent.descend(
        Region(["a", "b", "c"]), lambda w: w @ slopes, lambda w: np.tile(slopes, (len(w), 1)), start, start @ slopes
    )
    np.testing.assert_allclose(points, [[0.0, 1.0, 0.0]], atol=1e-12)
    assert values[0] == -1.0
