"""scipy's trust-region least squares for the log-linear law, from Olmix's starts: the same Huber loss, many starts."""

import numpy as np

from benchmarks.peers import lacks

name, job = "scipy least_squares, 40 starts", "log_linear"

DELTA, STARTS = 0.02, 40


def reason():
    """Return why this peer cannot run here, or None."""
    return lacks("scipy")


def run(runs):
    """Smallest summed Huber loss of each metric, (J,), for (mixtures, losses)."""
    x, y = runs
    return np.array([fit(x, column, STARTS) for column in y.T])


def fit(x, y, starts, seed=0):
    """Smallest summed Huber loss from Olmix's starts: a grid of gamma, random coefficients."""
    from scipy.optimize import least_squares

    rng = np.random.default_rng(seed)
    best = np.inf
    for start in range(starts):
        gamma = np.linspace(-2.0, 1.5, 10)[start % 10]
        coefficients = rng.uniform(0.0, 0.1, x.shape[1])
        coefficients[rng.integers(x.shape[1])] = -rng.uniform()

        def residual(theta):
            return np.exp(theta[0]) + np.exp(np.minimum(x @ theta[1:], 50.0)) - y

        def jacobian(theta):
            m = np.exp(np.minimum(x @ theta[1:], 50.0))
            return np.column_stack([np.full(len(y), np.exp(theta[0])), m[:, None] * x])

        found = least_squares(
            residual, np.r_[gamma, coefficients], jac=jacobian, loss="huber", f_scale=DELTA, max_nfev=2000,
            xtol=1e-12, ftol=1e-12, gtol=1e-12,
        )  # fmt: skip
        best = min(best, float(found.cost))
    return best
