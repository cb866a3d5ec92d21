"""Gaussian processes: loops and likelihood against plain numpy and scikit-learn, then predictions for real runs."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("scipy")

from scipy.stats import spearmanr

from mixfast._engine.backend import laws as loops
from mixfast.errors import BackendError
from mixfast.laws import _gaussian_likelihood as likelihood
from mixfast.laws import _gaussian_tasks as together
from mixfast.laws.gaussian import GaussianProcess


def planted(runs, domains=5, noise=0.01, seed=0):
    """Return mixtures and three metrics: log-linear, one that combines two domains, and one with negative values."""
    rng = np.random.default_rng(seed)
    w = rng.dirichlet(np.full(domains, 0.5), size=runs)
    first = 2.0 + np.exp(0.5 - 2.5 * w[:, 0] - 1.0 * w[:, 1])
    second = 3.0 - np.sqrt(w[:, 2] + 0.01) - 0.5 * np.sqrt(w[:, 3] + 0.01)
    third = w[:, 4] - 0.5
    y = np.stack((first, second, third), axis=1)
    return w, y + noise * rng.standard_normal(y.shape)


def matern(z, other, lengths):
    s = np.sqrt(5.0) * np.linalg.norm((z[:, None] - other) / lengths, axis=2)
    return (1.0 + s + s**2 / 3.0) * np.exp(-s)


def regmix(shared_data):
    def read(name):
        return np.loadtxt(shared_data / "regmix" / f"{name}.csv", delimiter=",", skiprows=1)[:, 1:]

    names = ("train_mixture_1m", "train_pile_loss_1m", "test_mixture_1m", "test_pile_loss_1m")
    return tuple(read(name) for name in names)


# ------------------------------------------------------------------------------------------------------------- loops


def test_correlations_are_those_of_the_formula_near_and_far():
    rng = np.random.default_rng(1)
    z = rng.standard_normal((40, 6)) * np.logspace(-3, 2.5, 40)[:, None]
    other = rng.standard_normal((33, 6))
    k, h = np.empty((40, 33)), np.empty((40, 33))
    rows, columns = (z * z).sum(axis=1), (other * other).sum(axis=1)
    loops.matern(z @ other.T, rows, columns, k)
    expected = matern(z, other, 1.0)
    np.testing.assert_allclose(k, expected, rtol=1e-12, atol=1e-14)

    s = np.sqrt(5.0) * np.linalg.norm(z[:, None] - other, axis=2)
    alpha = rng.standard_normal(33)
    k[:] = np.nan
    loops.matern_slope(z @ other.T, rows, columns, alpha, k, h)
    np.testing.assert_allclose(k, expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(h, alpha * (5 / 3) * (1 + s) * np.exp(-s), rtol=1e-12, atol=1e-14)


# -------------------------------------------------------------------------------------------------------- likelihood

# Sizes around a tile (16 rows) and around a block (64).
SIZES = [1, 2, 15, 16, 17, 63, 64, 65, 130, 200]
BY_NUMPY = """
import sys

import numpy as np

from mixfast._engine.backend import laws as loops

worst = 0.0
for runs in map(int, sys.argv[1:]):
    rng = np.random.default_rng(runs)
    for dims in (1, 15, 16, 20):
        z, x, target = rng.standard_normal((runs, dims)), rng.standard_normal((runs, 3)), rng.standard_normal(runs)
        linear, amplitude, slope, noise = x @ x.T, 1.3, 0.4, 0.2
        apart = z[:, None] - z
        s = np.sqrt(5.0 * (apart**2).sum(axis=2))
        k = amplitude * (1.0 + s + s**2 / 3.0) * np.exp(-s) + slope * linear + noise * np.eye(runs)
        inverse = np.linalg.inv(k)
        mean = (inverse @ target).sum() / inverse.sum()
        alpha = inverse @ (target - mean)
        a = np.outer(alpha, alpha) - inverse
        moved = 0.5 * amplitude * 5 / 3 * np.einsum("ij,ijd->d", a * (1.0 + s) * np.exp(-s), apart**2)
        memory = np.zeros(loops.likelihood_memory(runs, dims))
        found_alpha, diagonal, on_length = np.empty(runs), np.empty(runs), np.empty(dims)
        rest = memory, found_alpha, diagonal, on_length
        for _ in range(2):  # what a call leaves behind is of no consequence to the next
            parts = loops.likelihood(z, linear, target, amplitude, slope, noise, *rest)
            half_log_det = 0.5 * np.linalg.slogdet(k)[1]
            wanted = (target - mean) @ alpha, half_log_det, mean, np.trace(a), (a * linear).sum()
            pairs = [*zip(parts, wanted), (found_alpha, alpha), (diagonal, np.diagonal(inverse)), (on_length, moved)]
            worst = max(worst, *(np.abs(f - w).max() / max(np.abs(w).max(), 1.0) for f, w in pairs))
            # A negative amplitude takes away more than the noise adds.
            assert loops.likelihood(z, linear, target, -2.0, 0.0, 0.5, *rest) is None
print(worst)
"""


@pytest.mark.process
@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512"])
def test_the_core_gives_the_likelihood_of_the_textbook_with_every_instruction_set(isa):
    environment = {**os.environ, "MIXFAST_ISA": isa}
    command = [sys.executable, "-c", BY_NUMPY, *map(str, SIZES)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1e-9


def test_arrays_of_other_shapes_are_refused():
    z, other = np.ones((4, 2)), np.ones(3)
    memory, linear, four, two = np.zeros(loops.likelihood_memory(4, 2)), np.eye(4), np.ones(4), np.ones(2)
    for wrong in (
        (z, linear[:3], four, memory, four, four, two),
        (z, linear, other, memory, four, four, two),
        (z, linear, four, memory[1:], four, four, two),
        (z, linear, four, memory, other, four, two),
        (z, linear, four, memory, four, other, two),
        (z, linear, four, memory, four, four, other),
    ):
        with pytest.raises(ValueError, match="require"):
            loops.likelihood(*wrong[:3], 1.0, 1.0, 1.0, *wrong[3:])


@pytest.mark.parametrize("trend", [False, True])
@pytest.mark.parametrize("floor", [False, True])
def test_gradient_of_the_likelihood_is_that_of_differences(trend, floor):
    w, y = planted(30)
    model = likelihood.Likelihood(np.sqrt(w), w - w.mean(axis=0) if trend else None, y[:, 0], floor=floor, prior=0.7)
    theta = np.concatenate([[0.3], np.linspace(-1.0, 0.5, 5), [-2.0], [-1.0] * trend, [-0.5] * floor])
    step = 1e-5
    slopes = [(model(theta + step * e)[0] - model(theta - step * e)[0]) / (2 * step) for e in np.eye(len(theta))]
    np.testing.assert_allclose(model(theta)[1], slopes, rtol=1e-6, atol=1e-6)


def test_likelihood_is_that_of_scikit_learn():
    kernels = pytest.importorskip("sklearn.gaussian_process.kernels")
    from sklearn.gaussian_process import GaussianProcessRegressor

    w, y = planted(40)
    z, t = np.sqrt(w), (y[:, 1] - y[:, 1].mean()) / y[:, 1].std()
    theta = np.array([0.4, -0.5, 0.1, 0.3, -0.2, 0.9, -3.0])
    model = likelihood.Likelihood(z, None, t, floor=False, prior=0.0)
    constant = model.weights(theta)[1]
    kernel = kernels.ConstantKernel() * kernels.Matern(np.ones(5), nu=2.5) + kernels.WhiteKernel()
    peer = GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None).fit(z, t - constant)
    value, slopes = peer.log_marginal_likelihood(theta, eval_gradient=True)
    assert model(theta)[0] == pytest.approx(-value, rel=1e-10)
    np.testing.assert_allclose(model(theta)[1], -slopes, rtol=1e-7, atol=1e-9)


def test_likelihood_of_the_law_is_in_the_unit_of_the_metric():
    w, y = planted(40)
    one = GaussianProcess(mean="linear").fit(w, y[:, :1]).log_likelihood
    ten = GaussianProcess(mean="linear").fit(w, 10.0 * y[:, :1]).log_likelihood
    np.testing.assert_allclose(ten, one - 40 * math.log(10.0), rtol=1e-6)


# --------------------------------------------------------------------------------------------------------------- law


@pytest.mark.parametrize("mean", ["log_linear", "linear", "constant"])
@pytest.mark.parametrize("log", [False, True])
def test_predictions_and_error_bars_are_those_of_the_textbook(mean, log):
    w, y = planted(35)
    law = GaussianProcess(mean=mean, log=log).fit(w, y)
    new = planted(7, seed=5)[0]
    predicted, sd = law.predict(new), law.sd(new)
    for metric in range(3):
        theta, floor, scale = law._processes[metric].theta, law._processes[metric].floor, law._processes[metric].scale
        logged = log and metric < 2
        t = np.log(y[:, metric] - floor) if logged else y[:, metric]
        floored = logged and mean == "log_linear"
        t = t / scale if floored else (t - t.mean()) / scale
        z, z_new = np.sqrt(w + 1e-4), np.sqrt(new + 1e-4)
        slope = 0.0 if mean == "constant" else np.exp(theta[-2])
        x, x_new = w - w.mean(axis=0), new - w.mean(axis=0)
        lengths, noise = np.exp(theta[1:6]), np.exp(theta[6])
        k = np.exp(theta[0]) * matern(z, z, lengths) + slope * x @ x.T + noise * np.eye(35)
        k_new = np.exp(theta[0]) * matern(z_new, z, lengths) + slope * x_new @ x.T
        ones, inverse = np.ones(35), np.linalg.inv(k)
        constant = ones @ inverse @ t / (ones @ inverse @ ones)
        centre = constant + k_new @ inverse @ (t - constant)
        variance = np.exp(theta[0]) + slope * (x_new**2).sum(axis=1) + noise - ((k_new @ inverse) * k_new).sum(axis=1)
        variance += (1 - k_new @ inverse @ ones) ** 2 / (ones @ inverse @ ones)
        raw = y[:, metric] if not logged else np.log(y[:, metric])
        centre = centre * scale + (0.0 if floored else raw.mean())
        expected = floor + np.exp(centre) if logged else centre
        np.testing.assert_allclose(predicted[:, metric], expected, rtol=1e-7)
        unit = scale * law._processes[metric].widen * (expected - floor if logged else 1.0)
        np.testing.assert_allclose(sd[:, metric], np.sqrt(variance) * unit, rtol=1e-6)


def test_planted_laws_are_found():
    w, y = planted(80, noise=0.01)
    new, truth = planted(500, noise=0.0, seed=7)
    law = GaussianProcess().fit(w, y)
    error = np.sqrt(((law.predict(new) - truth) ** 2).mean(axis=0))
    assert (error < [0.012, 0.025, 0.012]).all(), error
    # Domains 2 and 3 determine the second metric; the trend explains the others.
    assert set(np.argsort(law.length_scales[1])[:2]) == {2, 3}


def test_far_from_the_runs_the_trend_goes_on():
    rng = np.random.default_rng(3)
    w = 0.25 + 0.05 * rng.standard_normal((60, 4))
    w /= w.sum(axis=1, keepdims=True)

    def truth(w):
        return 1.0 + np.exp(w @ [-2.0, 1.0, 0.5, 0.0])

    y = truth(w)[:, None] + 0.002 * rng.standard_normal((60, 1))
    corner = np.array([[0.7, 0.1, 0.1, 0.1]])
    off = {mean: abs(GaussianProcess(mean=mean).fit(w, y).predict(corner)[0, 0] - truth(corner)[0]) for mean in
           ("log_linear", "constant")}  # fmt: skip
    assert off["log_linear"] < 0.05
    assert off["constant"] > 3 * off["log_linear"]


@pytest.mark.parametrize("features", [0, 2])
def test_slopes_are_those_of_differences(features):
    w, y = planted(40)
    rng = np.random.default_rng(2)
    x = np.hstack([w, 5.0 + 3.0 * rng.standard_normal((40, features))])
    y = y + 0.1 * x[:, 5:].sum(axis=1, keepdims=True)
    law = GaussianProcess().fit(x, y)
    assert law._inputs.shares == 5
    new = x[:6].copy()
    new[0, :5] = [1.0, 0.0, 0.0, 0.0, 0.0]
    value, gradient = law.slopes(new)
    assert gradient.shape == (6, 3, 5 + features)
    np.testing.assert_allclose(value, law.predict(new), rtol=1e-12)
    inside, step = new[1:], 1e-6
    for column in range(x.shape[1]):
        e = step * np.eye(x.shape[1])[column]
        expected = (law.predict(inside + e) - law.predict(inside - e)) / (2 * step)
        np.testing.assert_allclose(gradient[1:, :, column], expected, rtol=2e-4, atol=2e-5)
    assert np.isfinite(gradient).all()


def test_a_metric_depends_on_its_own_runs_alone():
    w, y = planted(40)
    missing = y.copy()
    missing[::3, 1] = np.nan
    law = GaussianProcess().fit(w, missing)
    new = planted(9, seed=4)[0]
    kept = np.isfinite(missing[:, 1])
    whole = GaussianProcess().fit(w, y)
    np.testing.assert_array_equal(law.predict(new)[:, [0, 2]], whole.predict(new)[:, [0, 2]])
    assert not np.allclose(law.predict(new)[:, 1], whole.predict(new)[:, 1], rtol=1e-6)
    alone = GaussianProcess().fit(w[kept], y[kept])
    np.testing.assert_allclose(law.predict(new)[:, 1], alone.predict(new)[:, 1], rtol=2e-3)
    assert (law.sd(new)[:, 1] > 0).all()


def test_order_of_runs_and_domains_does_not_matter():
    w, y = planted(45)
    new = planted(9, seed=4)[0]
    rng = np.random.default_rng(0)
    runs, domains = rng.permutation(45), rng.permutation(5)
    law, other = GaussianProcess().fit(w, y), GaussianProcess().fit(w[runs][:, domains], y[runs])
    np.testing.assert_allclose(other.predict(new[:, domains]), law.predict(new), rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(other.log_likelihood, law.log_likelihood, atol=0.01)


def test_a_fit_is_repeatable_and_leaves_the_law_as_it_was():
    w, y = planted(40)
    law = GaussianProcess(restarts=1, seed=3)
    first, second = law.fit(w, y), law.fit(w, y)
    np.testing.assert_array_equal(first.predict(w), second.predict(w))
    with pytest.raises(ValueError, match="not fitted"):
        law.predict(w)
    assert (first.log_likelihood >= GaussianProcess().fit(w, y).log_likelihood - 1e-9).all()


def test_state_gives_the_law_back_to_the_bit():
    w, y = planted(30)
    y[4, 2] = np.nan
    law = GaussianProcess().fit(w, y)
    state = law.state()
    assert all(isinstance(value, (int, float, str, np.ndarray)) for value in state.values())
    again = GaussianProcess.from_state(state)
    np.testing.assert_array_equal(again.predict(w), law.predict(w))
    np.testing.assert_array_equal(again.sd(w), law.sd(w))


def test_a_constant_metric_stays_constant():
    w, y = planted(20)
    y[:, 1] = 0.1 + 0.2
    law = GaussianProcess().fit(w, y)
    np.testing.assert_array_equal(law.predict(w)[:, 1], 0.1 + 0.2)
    np.testing.assert_array_equal(law.sd(w)[:, 1], 0.0)
    assert (law.slopes(w)[1][:, 1] == 0.0).all()


def test_runs_without_noise_and_runs_twice_are_no_trouble():
    w, y = planted(30, noise=0.0)
    law = GaussianProcess().fit(np.vstack([w, w]), np.vstack([y, y]))
    assert np.abs(law.predict(w) - y).max() < 0.02
    assert np.isfinite(law.sd(w)).all()


def test_wrong_input_is_refused():
    w, y = planted(20)
    with pytest.raises(ValueError, match="mean must be"):
        GaussianProcess(mean="quadratic")
    with pytest.raises(ValueError, match="must be 0 or more"):
        GaussianProcess(restarts=-1)
    with pytest.raises(ValueError, match="the same number of runs"):
        GaussianProcess().fit(w, y[:-1])
    y[2:, 1] = np.nan
    with pytest.raises(ValueError, match="metric column 1 has 2 runs"):
        GaussianProcess().fit(w, y)
    with pytest.raises(ValueError, match=r"inputs must be \(M, 5\)"):
        GaussianProcess().fit(w, y[:, :1]).predict(w[:, :4])


def test_without_scipy_the_message_says_what_to_install(monkeypatch):
    w, y = planted(20)
    monkeypatch.setitem(sys.modules, "scipy.linalg", None)
    with pytest.raises(BackendError, match=r"pip install 'mixfast\[laws\]'"):
        GaussianProcess().fit(w, y)


# ---------------------------------------------------------------------------------------------------------- together


def test_gradient_of_the_joint_likelihood_is_that_of_differences():
    w, y = planted(20)
    model = together.JointLikelihood(np.sqrt(w), w - w.mean(axis=0), (y - y.mean(axis=0)) / y.std(axis=0), 2)
    theta = 0.5 * np.random.default_rng(0).standard_normal(5 + 1 + 6 + 3 + 3)
    step = 1e-5
    slopes = [(model(theta + step * e)[0] - model(theta - step * e)[0]) / (2 * step) for e in np.eye(len(theta))]
    np.testing.assert_allclose(model(theta)[1], slopes, rtol=1e-6, atol=1e-6)


def test_metrics_together_are_one_dense_process():
    w, y = planted(18)
    y[2, 1] = np.nan
    law = GaussianProcess(tasks=1, log=False).fit(w, y)
    new = planted(4, seed=6)[0]
    kept = np.isfinite(y).all(axis=1)
    runs, values = w[kept], y[kept]
    middle, spread = values.mean(axis=0), values.std(axis=0)
    centre = w.mean(axis=0)

    def covariance(a, b):
        z, other = np.sqrt(a + 1e-4), np.sqrt(b + 1e-4)
        k = matern(z, other, law.length_scales[0]) + np.exp(law._processes[0].theta[-2]) * (a - centre) @ (b - centre).T
        return np.kron(k, law._shared.between)

    whole = covariance(runs, runs) + np.kron(np.eye(17), np.diag(law._shared.noise))
    cross = covariance(new, runs)
    predicted = cross @ np.linalg.solve(whole, ((values - middle) / spread).ravel())
    np.testing.assert_allclose(law.predict(new), predicted.reshape(4, 3) * spread + middle, rtol=1e-6)
    variance = (
        np.diagonal(covariance(new, new) - cross @ np.linalg.solve(whole, cross.T)).reshape(4, 3) + law._shared.noise
    )
    np.testing.assert_allclose(law.sd(new), np.sqrt(variance) * spread, rtol=1e-6)
    again = GaussianProcess.from_state(law.state())
    np.testing.assert_array_equal(again.sd(new), law.sd(new))


def test_metrics_together_learn_from_one_another():
    """Two metrics are the same surface with much noise: fitting them together improves both."""
    w, y = planted(24, noise=0.0)
    rng = np.random.default_rng(8)
    twins = y[:, [1]] + 0.15 * rng.standard_normal((24, 4))
    new, truth = planted(300, noise=0.0, seed=7)
    apart, shared = (GaussianProcess(mean="linear", tasks=tasks).fit(w, twins) for tasks in (0, 1))
    errors = [((law.predict(new) - truth[:, [1]]) ** 2).mean() for law in (apart, shared)]
    assert errors[1] < 0.8 * errors[0], errors


# --------------------------------------------------------------------------------------------------------- real runs


@pytest.mark.parametrize(("runs", "ranks", "error"), [(64, 97.9, 0.021), (128, 98.6, 0.0135)])
def test_few_runs_rank_mixtures_of_regmix(shared_data, runs, ranks, error):
    """LightGBM has a mean Spearman of 90.7 on 64 runs and 98.95 on all 512, with an MSE of 0.0105."""
    w, y, new, truth = regmix(shared_data)
    found, errors, covered = [], [], []
    for draw in range(3):
        chosen = np.random.default_rng(draw).permutation(len(w))[:runs]
        law = GaussianProcess().fit(w[chosen], y[chosen])
        predicted, sd = law.predict(new), law.sd(new)
        found.append(np.mean([100 * spearmanr(a, b)[0] for a, b in zip(predicted.T, truth.T, strict=True)]))
        errors.append(((predicted - truth) ** 2).mean())
        covered.append((np.abs(predicted - truth) < 1.6449 * sd).mean())
    assert np.mean(found) >= ranks
    assert np.mean(errors) <= error
    assert 0.85 <= np.mean(covered) <= 0.95


def test_runs_left_out_in_closed_form_are_those_of_the_rest():
    """Conditioning on the other runs, one at a time and together, with the settings fitted to all of them."""
    rng = np.random.default_rng(0)
    x = rng.dirichlet(np.ones(4), 40)
    y = np.c_[2.0 + np.exp(-x[:, 0]), x[:, 1] ** 2] + 0.01 * rng.standard_normal((40, 2))
    y[3, 1] = np.nan
    law = GaussianProcess().fit(x, y)
    runs = np.array([3, 7, 21])
    value, sd = law.left_out(runs)
    assert np.isnan(value[0, 1])
    for metric in range(2):
        rows = np.flatnonzero(np.isfinite(y[:, metric]))
        upper = np.triu(law._processes[metric].upper)
        cover = upper.T @ upper
        target = cover @ law._processes[metric].weights
        out = np.isin(rows, runs)
        across = cover[np.ix_(out, ~out)] @ np.linalg.inv(cover[np.ix_(~out, ~out)])
        mean = law._processes[metric].constant + law._processes[metric].scale * (across @ target[~out])
        spread = np.sqrt(np.diagonal(cover[np.ix_(out, out)] - across @ cover[np.ix_(~out, out)]))
        spread = spread * law._processes[metric].scale * law._processes[metric].widen
        if law._processes[metric].logged:
            mean = law._processes[metric].floor + np.exp(mean)
            spread = spread * (mean - law._processes[metric].floor)
        seen = np.isfinite(y[runs, metric])
        np.testing.assert_allclose(value[seen, metric], mean, rtol=1e-6)
        np.testing.assert_allclose(sd[seen, metric], spread, rtol=1e-5)
