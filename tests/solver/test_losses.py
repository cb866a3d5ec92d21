"""Losses by group: those of each group alone, and rows with weight or probability 0."""

import numpy as np
import pytest

from mixfast import ExpertTable
from mixfast.solver import group_losses, losses


@pytest.mark.parametrize("kind", ["ce", "mse"])
def test_group_losses_are_the_losses_of_each_group(kind):
    rng = np.random.default_rng(3)
    values, group = rng.normal(-9.0, 1.0, (120, 4)), np.repeat(["a", "b", "c"], 40)
    options = {"group": group, "weight": rng.uniform(0.5, 2.0, 120)}
    if kind == "ce":
        table = ExpertTable.from_loglik(values, **options)
    else:
        table = ExpertTable.from_predictions(values, rng.normal(size=120), **options)
    mixtures = np.vstack([np.eye(4), rng.dirichlet(np.ones(4), 3)])
    found = group_losses(table, mixtures)
    assert found.shape == (3, 7)
    for g, name in enumerate(table.group_names):
        np.testing.assert_allclose(found[g], losses(table, mixtures, objective={name: 1.0}), rtol=1e-10)


def test_a_mixture_without_mass_on_a_row_has_an_infinite_loss():
    table = ExpertTable.from_loglik(np.array([[-1.0, -np.inf], [-2.0, -1.0]]), weight=[1.0, 1.0])
    found = group_losses(table, [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])[0]
    assert found[:2].tolist() == [3.0, np.inf]
    assert np.isfinite(found[2])
    worthless = ExpertTable.from_loglik(np.array([[-1.0, -np.inf], [-2.0, -1.0]]), weight=[0.0, 1.0])
    assert group_losses(worthless, [0.0, 1.0])[0, 0] == 1.0
