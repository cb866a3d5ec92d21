"""The power laws: planted laws are found, derivatives, odd input, state."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.runs import regmix
from mixfast.laws.power import AutoScale, BiMix

pytest.importorskip("numba")
pytest.importorskip("scipy")


def planted(kind, seed, n=60, k=3, metrics=2, noise=0.0):
    rng = np.random.default_rng(seed)
    x = rng.dirichlet(np.ones(k), n)
    if kind is BiMix:
        alpha, factor = rng.uniform(0.05, 0.5, (metrics, k)), rng.uniform(0.3, 1.0, (metrics, k))
        y = (factor * x[:, None, :] ** -alpha).sum(axis=2)
    else:
        alpha, gamma = rng.uniform(0.05, 0.5, (metrics, k)), rng.uniform(0.1, 0.5, (metrics, k))
        y = 0.5 + ((alpha + x[:, None, :]) ** -gamma).sum(axis=2)
    return x, y + noise * rng.standard_normal(y.shape), alpha


@pytest.mark.parametrize("kind", [AutoScale, BiMix])
def test_planted_laws_are_found(kind):
    x, y, alpha = planted(kind, 0)
    law = kind().fit(x, y)
    np.testing.assert_allclose(law.predict(x), y, atol=2e-3 * y.std())
    if kind is BiMix:
        np.testing.assert_allclose(law.alpha, alpha, rtol=1e-4)


@pytest.mark.parametrize("kind", [AutoScale, BiMix])
def test_derivatives(kind):
    x, y, _ = planted(kind, 1, noise=0.02)
    law = kind().fit(x, y)
    values, slopes = law.slopes(x)
    np.testing.assert_allclose(values, law.predict(x))
    for k in range(3):
        h = 1e-6 * x[:, k : k + 1]
        step = h * np.eye(3)[k]
        # A mixture of one domain would leave the range of shares.
        inside = x[:, k] + h[:, 0] < 1.0
        numeric = (law.predict(x + step) - law.predict(x - step)) / (2 * h)
        np.testing.assert_allclose(slopes[inside, :, k], numeric[inside], rtol=1e-4, atol=1e-6)
    theta = law.theta[0]
    jacobian = law._jacobian(theta, x)
    for p in range(len(theta)):
        h = 1e-6 * max(theta[p], 1e-3)
        step = h * np.eye(len(theta))[p]
        numeric = (law._values(theta + step, x) - law._values(theta - step, x)) / (2 * h)
        np.testing.assert_allclose(jacobian[:, p], numeric, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", [AutoScale, BiMix])
def test_deviations_cover_new_runs(kind):
    x, y, _ = planted(kind, 2, n=400, metrics=1, noise=0.05)
    law = kind().fit(x[:80], y[:80])
    score = (y[80:] - law.predict(x[80:])) / law.sd(x[80:])
    assert 0.85 < score.std() < 1.2
    assert law.noise[0] == pytest.approx(0.05, rel=0.25)


@pytest.mark.parametrize("kind", [AutoScale, BiMix])
def test_missing_values_state_and_few_runs(kind):
    x, y, _ = planted(kind, 3, noise=0.02)
    gone = y.copy()
    gone[::4, 1] = np.nan
    law = kind().fit(x, gone)
    rows = ~np.isnan(gone[:, 1])
    np.testing.assert_array_equal(law.theta[1], kind().fit(x[rows], y[rows, 1:]).theta[0])
    again = kind.from_state(law.state())
    assert (again.predict(x) == law.predict(x)).all()
    assert (again.sd(x) == law.sd(x)).all()
    few = kind().fit(x[:4], y[:4])
    assert any("4 runs for" in note for note in few.notes)
    assert np.isfinite(few.sd(x)).all()
    with pytest.raises(ValueError, match="metric 1 has negative values, and this law is positive everywhere"):
        kind().fit(x, y - np.array([0.0, 100.0]))


def test_domains_that_runs_leave_out():
    x, y, _ = planted(BiMix, 4, noise=0.02)
    x[:10, 0] = 0.0
    law = BiMix(floor=1e-3).fit(x, y)
    values, slopes = law.slopes(x)
    assert np.isfinite(values).all()
    assert (slopes[:10, :, 0] == 0.0).all()


def scipys_best(law, x, y):
    """Sum of squares of SciPy's best of the law's own starts, within the law's bounds."""
    from scipy.optimize import least_squares

    low, high = law._box(x.shape[1], y)
    # Numbers that are fixed are no variables of SciPy's.
    free = high > low

    def full(u):
        out = low.copy()
        out[free] = u
        return law._theta_of(out)

    costs = []
    for start in law._starts(x.shape[1], y):
        u = np.clip(law._moved_by(start), low + 1e-12, np.maximum(high - 1e-12, low + 1e-12))[free]
        found = least_squares(lambda u: law._values(full(u), x) - y, u, bounds=(low[free], high[free]), max_nfev=400)
        costs.append(2.0 * found.cost)
    return min(costs)


@pytest.mark.parametrize("law", [AutoScale(scale=1.0), BiMix()])
@pytest.mark.parametrize("seed", range(4))
def test_never_above_scipys_best_of_the_same_starts(law, seed):
    rng = np.random.default_rng([5, seed])
    x = rng.dirichlet(np.ones(3), 40)
    x[:5, 0] = 0.0
    x /= x.sum(axis=1, keepdims=True)
    y = 1.0 + np.exp(x @ rng.normal(0.0, 1.0, 3)) + rng.choice([0.002, 0.05]) * rng.standard_normal(40)
    fitted = law.fit(x, y[:, None])
    unit = fitted.unit[0]
    assert fitted.objective[0] <= unit**2 * scipys_best(law, x, y / unit) * (1.0 + 1e-6)


def test_the_same_runs_give_the_same_bits_in_every_process():
    program = """
import numpy as np
from mixfast.laws.power import AutoScale, BiMix
rng = np.random.default_rng(6)
x = rng.dirichlet(np.ones(5), 40)
y = 2.0 + np.exp(x @ rng.normal(0.0, 1.0, (5, 2))) + 0.01 * rng.standard_normal((40, 2))
print([kind().fit(x, y).theta.tobytes().hex() for kind in (AutoScale, BiMix)])
"""
    told = [
        subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": threads},
        ).stdout
        for threads in ("1", "2")
    ]
    assert told[0] == told[1]


def test_files_without_a_scale_hold_olmixs_form():
    x, y, _ = planted(AutoScale, 7)
    law = AutoScale(scale=1.0).fit(x, y)
    state = law.state()
    old = {name: state[name] for name in ("tokens", "objective", "noise", "notes")}
    old["theta"] = np.delete(state["theta"], 1, axis=1)
    old["covariance"] = np.delete(np.delete(state["covariance"], 1, axis=1), 1, axis=2)
    np.testing.assert_allclose(AutoScale.from_state(old).predict(x), law.predict(x), rtol=1e-12)


@pytest.mark.parametrize(("kind", "part"), [(AutoScale, 0.3), (BiMix, 0.25)])
def test_better_than_the_mean_on_regmix(shared_data, kind, part):
    x, y, names = regmix(shared_data / "regmix")
    x_test, y_test, _ = regmix(shared_data / "regmix", "test")
    j = [names.index("freelaw")]
    law = kind(**({"floor": 1e-3} if kind is BiMix else {})).fit(x, y[:, j])
    error = np.abs(law.predict(x_test) - y_test[:, j]).mean()
    assert error < part * np.abs(y[:, j].mean() - y_test[:, j]).mean()


def test_impossible_parameters_are_refused():
    with pytest.raises(ValueError, match="tokens is"):
        AutoScale(tokens=0.0)
    with pytest.raises(ValueError, match="scale is"):
        AutoScale(scale=-1.0)
    with pytest.raises(ValueError, match="floor is"):
        BiMix(floor=1.0)
