"""Answers to fixed problems are still those from before the package was divided into rooms, to nine digits.

The other tests check whether an answer is right, within a suitable tolerance. These check whether it changed: only
they notice an objective that is computed 1e-8 too large. `make.py` says how the answers were recorded.
"""

import numpy as np
import pytest
from golden.answers import DATA, distance, plain, read
from golden.cases import CASES, TOLERANCE, logliks, names

from mixfast import ExpertTable, solve

pytest.importorskip("sklearn")
pytest.importorskip("lightgbm")
pytest.importorskip("numba")


@pytest.mark.parametrize("name", CASES)
def test_the_answer_is_the_recorded_one(name):
    then, now = read(name), CASES[name].compute()
    assert sorted(now) == sorted(then)
    moved = {
        key: f"{far:.1e} of the largest magnitude, {CASES[name].allowed(key):.0e} allowed; now {plain(now[key])!r:.300}"
        for key in then
        if not (far := distance(key, now[key], then[key])) <= CASES[name].allowed(key)
    }
    assert not moved


def test_every_answer_has_its_case():
    assert sorted(path.stem for path in DATA.glob("*.json")) == sorted(CASES)


def test_no_value_is_compared_loosely():
    """If shares are not unique, the value still is. A heuristic search has no guaranteed value."""
    loose = {name for name, case in CASES.items() if case.allowed("value") > TOLERANCE}
    assert loose == {"propose_search", "propose_averse"}


def test_a_loss_that_is_1e_8_too_large_is_seen():
    """The weight of each row, and so the loss, is larger by a factor of 1 + 1e-8."""
    weight = np.full(4000, (1.0 + 1e-8) / 4000)
    solution = solve(ExpertTable.from_loglik(logliks(1, 4000, 8), domains=names(8), weight=weight), tol=1e-10)
    then = read("plain_float64")
    assert distance("value", solution.value, then["value"]) > TOLERANCE
    assert distance("shares", solution.mixture.weights, then["shares"]) <= TOLERANCE
