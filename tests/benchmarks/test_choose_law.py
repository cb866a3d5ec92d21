"""The study of rules that choose a law: what each rule prefers, on out-of-fold predictions made by hand."""

from __future__ import annotations

import numpy as np

from benchmarks.studies.choose_law import RULES, Case, regret, rmse, told

Y = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
FOLD = np.array([0, 0, 0, 0, 1, 1, 1, 1])


def case(loss, swarm=0):
    """Return laws whose errors are 0.3 everywhere, and 1.5 at a run that the law then picks from each fold."""
    even = Y + 0.3 * np.array([1, -1, 1, -1, 1, -1, 1, -1])
    wrong = Y.copy()
    wrong[[1, 5]] -= 1.5
    return Case("world K=2", swarm, Y, np.stack([wrong, even, even + 2.0]), FOLD, np.array(loss))


def test_errors_and_regret_of_a_case():
    one = case([0.0, 1.0, 2.0])
    np.testing.assert_allclose(rmse(one), [0.75, 0.3, np.sqrt(4.09)])
    np.testing.assert_allclose(regret(one), [1.0, 0.0, 0.0], atol=1e-5)


def test_the_table_compares_every_rule_with_the_smallest_rmse():
    text = told([case([0.0, 1.0, 2.0], swarm) for swarm in (0, 1)], "made up")
    assert text.startswith("made up: 2 metrics of 2 swarms\n")
    assert len(text.splitlines()) == 2 + len(RULES)
    always = next(line for line in text.splitlines() if "always linear" in line).split()
    assert always[2:] == ["0.0000", "-1.0000", "±", "0.0000", "0%"]
