"""The loops of the MixMin code against an independent version of their formula, and which iterate each script keeps."""

import numpy as np
import pytest

from mixfast import ExpertTable, reference, solve


def test_each_script_keeps_its_iterate():
    loglik = np.random.default_rng(0).normal(size=(200, 5)) - 40
    length = np.random.default_rng(1).integers(20, 80, size=200)
    table = ExpertTable.from_loglik(loglik, domains=list("abcde"), length=length)
    iterates = [np.full(5, 0.2)]
    for _ in range(100):
        moved = iterates[-1] * np.exp(-reference.gradient(loglik, 1.0 / (200 * length), iterates[-1]))
        iterates.append(moved / moved.sum())
    optimum = solve(table)
    for method, w in (("eg-paper", iterates[100]), ("eg-paper-pcba", iterates[99])):
        found = solve(table, method=method)
        assert found.mixture.weights == pytest.approx(w, abs=1e-12)
        assert found.status == "user_limit"
        assert found.value == pytest.approx(reference.ensemble_loss(loglik, 1.0 / (200 * length), w), abs=1e-12)
        assert found.gap >= found.value - optimum.value > 0.0
