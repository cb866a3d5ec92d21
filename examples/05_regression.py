"""
Regression: a mixture of predictions
====================================

Experts may also predict numbers. The loss is then the squared error of the weighted mean of their predictions. The example
draws data of four regions with a seed, fits one linear model to each, and finds the mixture of regions for a target that
lies between two of them. It compares the error with those of the single experts, of equal shares, and of least squares,
whose weights are not shares.
"""

import numpy as np

import mixfast

rng = np.random.default_rng(1)
FEATURES = 12
regions = ["north", "south", "coast", "city"]
true = {name: rng.normal(size=FEATURES) for name in regions}
true["target"] = 0.6 * true["north"] + 0.4 * true["coast"] + 0.2 * rng.normal(size=FEATURES)


def observations(name: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw features and the observed number, with noise of standard deviation 0.5."""
    x = rng.normal(size=(count, FEATURES))
    return x, x @ true[name] + 0.5 * rng.normal(size=count)


# %%
# Column k holds the predictions of the model of region k for 3000 observations of the target.

x, y = observations("target", 3000)
prediction = np.stack([x @ np.linalg.lstsq(*observations(name, 400), rcond=None)[0] for name in regions], axis=1)
table = mixfast.ExpertTable.from_predictions(prediction, y, domains=regions)
solution = mixfast.solve(table)
print(solution.summary())

# %%
# ``loss`` is half the mean squared error. No model can have an error below the variance of the noise, 0.25.

print(f"mean squared error of the mixture: {2 * solution.loss:.4f} (gap {2 * solution.gap:.0e})")
for name, loss in zip(regions, solution.losses(np.eye(len(regions))), strict=True):
    print(f"  only {name:<6} {2 * loss:.4f}")
print(f"  equal shares {2 * solution.losses([[0.25] * 4])[0]:.4f}")

# %%
# Least squares reaches a lower error with weights that are not a mixture: one is negative, and their sum is not 1.

free = np.linalg.lstsq(prediction, y, rcond=None)[0]
print(f"  least squares {np.mean((prediction @ free - y) ** 2):.4f}, weights {free.round(3)}, sum {free.sum():.3f}")
