"""scikit-learn's Gaussian process: constant times Matern 5/2 with a length scale for each domain, white noise, the root shares."""

import warnings

import numpy as np

from benchmarks.peers import lacks

name, job = "scikit-learn", "gaussian"


def reason():
    """Return why this peer cannot run here, or None."""
    return lacks("sklearn")


def run(case):
    """Predictions of the new mixtures, (M, J)."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    root, new = np.sqrt(case.x + 1e-4), np.sqrt(case.new + 1e-4)
    out = []
    for column in case.y.T:
        kernel = ConstantKernel() * Matern(np.ones(root.shape[1]), nu=2.5) + WhiteKernel(0.1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # length scales at their bounds
            found = GaussianProcessRegressor(kernel, alpha=0.0, normalize_y=True).fit(root, column)
        out.append(found.predict(new))
    return np.stack(out, axis=1)
