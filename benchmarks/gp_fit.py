"""Gaussian processes on RegMix runs: mixfast against scikit-learn, time and likelihood for the same kernel and data.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python -m benchmarks.gp_fit [--runs 128 512] [--peer-metrics 13] [--candidates 0]

Both fit ``constant * Matern(ARD, 5/2) + white noise`` to standardised losses over the root shares, by maximum likelihood.
The likelihood is scikit-learn's own at the hyper-parameters of either. Then the law as it is by default: time,
mean Spearman correlation and MSE on the 256 test runs, share of them in the 90 % intervals. CPU seconds of this process.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np

from mixfast.laws.gaussian import GaussianProcess

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "regmix"


def read(name: str) -> np.ndarray:
    """Numbers of one of RegMix's files, without the index."""
    return np.loadtxt(DATA / f"{name}.csv", delimiter=",", skiprows=1)[:, 1:]


def scikit(w: np.ndarray, y: np.ndarray):
    """scikit-learn's regressor of one metric, fitted, and its CPU seconds."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    kernel = ConstantKernel() * Matern(np.ones(w.shape[1]), nu=2.5) + WhiteKernel(0.1)
    peer = GaussianProcessRegressor(kernel, alpha=0.0, normalize_y=True)
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # length scales at their bounds
        peer.fit(np.sqrt(w + 1e-4), y)
    return peer, time.process_time() - began


def score(predicted: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Mean Spearman correlation times 100, and MSE."""
    from scipy.stats import spearmanr

    ranks = [100.0 * spearmanr(a, b)[0] for a, b in zip(predicted.T, truth.T, strict=True)]
    return float(np.mean(ranks)), float(((predicted - truth) ** 2).mean())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, nargs="*", default=[128, 512])
    parser.add_argument("--peer-metrics", type=int, default=13, help="metrics scikit-learn fits; 0 leaves it out")
    parser.add_argument("--candidates", type=int, default=0, help="also time predictions for so many mixtures")
    given = parser.parse_args()
    w, y = read("train_mixture_1m"), read("train_pile_loss_1m")
    new, truth = read("test_mixture_1m"), read("test_pile_loss_1m")
    GaussianProcess().fit(w[:20], y[:20, :1]).slopes(w[:2])  # compiled, or read from the cache, before any clock runs

    for runs in given.runs:
        chosen = np.random.default_rng(0).permutation(len(w))[:runs]
        x, values = w[chosen], y[chosen, : given.peer_metrics or y.shape[1]]
        began = time.process_time()
        plain = GaussianProcess(mean="constant", log=False, prior=0.0).fit(x, values)
        own = time.process_time() - began
        if given.peer_metrics:
            peers = [scikit(x, column) for column in values.T]
            seconds = sum(second for _, second in peers)
            theirs = [peer.log_marginal_likelihood_value_ for peer, _ in peers]
            ours = [
                peer.log_marginal_likelihood(theta[: w.shape[1] + 2])
                for (peer, _), theta in zip(peers, plain.hyper_parameters, strict=True)
            ]
            print(f"{runs} runs, {len(peers)} metrics, same kernel: mixfast {own:.2f} s, scikit-learn {seconds:.1f} s")
            print(
                f"  ratio {seconds / own:.0f}; log likelihood {np.sum(ours):.2f} against {np.sum(theirs):.2f}, ours less"
            )
            print("  theirs by metric:", " ".join(f"{a - b:+.2f}" for a, b in zip(ours, theirs, strict=True)))
            predicted = np.stack([peer.predict(np.sqrt(new + 1e-4)) for peer, _ in peers], axis=1)
            for name, what in (("scikit-learn", predicted), ("mixfast", plain.predict(new))):
                rank, error = score(what, truth[:, : len(peers)])
                print(f"  {name}: Spearman {rank:.2f}, MSE {error:.4f}")
        began = time.process_time()
        law = GaussianProcess().fit(x, y[chosen])
        own = time.process_time() - began
        rank, error = score(law.predict(new), truth)
        inside = 100.0 * (np.abs(law.predict(new) - truth) < 1.6449 * law.sd(new)).mean()
        print(
            f"{runs} runs, 13 metrics, default: {own:.2f} s, Spearman {rank:.2f}, MSE {error:.4f}, 90 %: {inside:.1f}"
        )
        if given.candidates:
            many = np.random.default_rng(1).dirichlet(np.full(w.shape[1], 0.3), size=given.candidates)
            for name in ("predict", "screen"):
                getattr(law, name)(many[:2])
                began = time.process_time()
                getattr(law, name)(many)
                seconds = time.process_time() - began
                print(f"  {name}: {given.candidates} candidates, 13 metrics: {seconds:.2f} s", flush=True)


if __name__ == "__main__":
    main()
