"""
Chemistry: labelled examples
============================

MixMin also mixes training data for classifiers. Its chemistry experiments choose among bioassays of the PCBA data set. A
row is then one labelled molecule of the target assay, and its entry is the log-probability that an expert gives to the
right label. The example simulates five assays, fits one logistic regression to each, and finds the mixture of assays for a
target that two of them resemble. It prints the loss of the mixture and of each expert alone.
"""

import numpy as np

import mixfast

rng = np.random.default_rng(0)
assays = {"kinase_a": 0.9, "kinase_b": 0.7, "protease": 0.3, "gpcr": 0.0, "toxicity": -0.4}
BITS = 40

# %%
# A molecule is a fingerprint of 40 bits. It is active if a weighted sum of its bits is large. Each assay has its own
# weights, and the number above is their correlation with the weights of the target assay.

target = rng.normal(size=BITS)


def molecules(weights: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw fingerprints and labels (1 active, 0 inactive) of an assay."""
    bits = rng.integers(0, 2, size=(count, BITS)) - 0.5
    return bits, (rng.random(count) < 1 / (1 + np.exp(-bits @ weights))).astype(float)


def expert(bits: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Fit a logistic regression with a ridge penalty by Newton's method."""
    weights = np.zeros(BITS)
    for _ in range(8):
        active = 1 / (1 + np.exp(-bits @ weights))
        hessian = (bits * (active * (1 - active))[:, None]).T @ bits + np.eye(BITS)
        weights -= np.linalg.solve(hessian, bits.T @ (active - label) + weights)
    return weights


# %%
# The table: log p of the right label of each target molecule under each expert.

bits, label = molecules(target, 2000)
loglik = np.empty((2000, len(assays)))
for k, similarity in enumerate(assays.values()):
    own = similarity * target + np.sqrt(1 - similarity**2) * rng.normal(size=BITS)
    logit = bits @ expert(*molecules(own, 1500))
    loglik[:, k] = -np.logaddexp(0, np.where(label == 1, -logit, logit))
table = mixfast.ExpertTable.from_loglik(loglik, domains=list(assays))

# %%
# The assays that resemble the target get most of the shares. The others keep some: the first two are wrong with confidence
# at times, and log loss rewards a mixture that is less certain. ``eg-paper-pcba`` is the loop of the MixMin script for PCBA;
# its gap bounds how far from the optimum its 100 steps end.

for method in ("auto", "eg-paper-pcba"):
    solution = mixfast.solve(table, method=method)
    shares = ", ".join(f"{name} {share:.1%}" for name, share in solution.mixture.items())
    print(f"{method:<14} loss {solution.loss:.5f} nats per label, gap {solution.gap:.1e}: {shares}")
for name, loss in zip(assays, solution.losses(np.eye(len(assays))), strict=True):
    print(f"only {name:<9} loss {loss:.5f}")
