"""
Assays: classifiers as experts
==============================

A domain is a bioassay, an expert is a classifier fitted to one assay, and the target is another assay with few measured molecules. This example finds
the mixture of twelve assays for each of four targets, and compares two ways to use it with the alternatives, on molecules that no model has seen. The
data are a cut of ToxCast (US EPA, public domain). It prints average precision (higher is better) and log-loss (lower is better).
"""

from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss

import mixfast
from mixfast.experts import Ensemble

# %%
# ``python -m benchmarks.assays.cut`` made the file: random molecules as Morgan fingerprints of 512 bits, and the assays with the most active ones
# among them. A label is 1 for active, 0 for inactive, and -1 if it was not measured. Every fourth assay is a target.

here = Path(__file__).parent if "__file__" in globals() else Path()
data = np.load(here / "assays.npz")
bits, label = np.unpackbits(data["bits"], axis=1), dict(zip(data["assay"].tolist(), data["label"].T, strict=True))
targets, sources = list(label)[3::4], [name for k, name in enumerate(label) if k % 4 != 3]

# %%
# Molecules are split, not labels: half of them are for the experts, some for the solve, and the rest for the test.

part = np.random.default_rng(0).choice(3, size=len(bits), p=[0.5, 0.1, 0.4])


def rows(name: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return fingerprints and labels of the molecules of a part that were measured in an assay."""
    chosen = (part == number) & (label[name] >= 0)
    return bits[chosen], label[name][chosen]


def fitted(X: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> LogisticRegression:
    return LogisticRegression(C=0.05, max_iter=500).fit(X, y, sample_weight=weight)


experts = {name: fitted(*rows(name, 0)) for name in sources}
X_pool, y_pool = (np.concatenate(part) for part in zip(*(rows(name, 0) for name in sources), strict=True))
assay_of_row = np.repeat(sources, [len(rows(name, 0)[1]) for name in sources])
natural = fitted(X_pool, y_pool)

# %%
# For each target: the table, the mixture with its certificate and intervals, the ensemble, and one model retrained on the weighted rows.

for target in targets:
    X, y = rows(target, 1)
    solution = mixfast.solve(mixfast.ExpertTable.from_classifiers(experts, X, y))
    ends = solution.bootstrap(replicates=100).intervals
    print(f"\n{target}: {len(y)} molecules for the solve, {y.sum()} active; {solution.status}, gap {solution.gap:.0e}")
    for name, share in sorted(solution.mixture.items(), key=lambda pair: -pair[1])[:3]:
        print(f"  {name:<32} {share:4.0%}  (90 % interval {ends[name][0]:.0%} to {ends[name][1]:.0%})")
    models = {
        "natural": natural,
        "best single": experts[sources[int(solution.losses(np.eye(len(sources))).argmin())]],
        "target only": fitted(X, y),
        "ensemble": Ensemble(experts, solution.mixture),
        "retrained": fitted(X_pool, y_pool, solution.mixture.row_weights(assay_of_row)),
    }
    X_test, y_test = rows(target, 2)
    for name, model in models.items():
        p = model.predict_proba(X_test)[:, 1]
        print(
            f"  {name:<12} average precision {average_precision_score(y_test, p):.3f}, log-loss {log_loss(y_test, p):.3f}"
        )

# %%
# The ensemble has a lower log-loss than the best single assay and the pooled model for every target, for that is what ``solve`` minimises. Its average
# precision is not always higher. One model retrained on the weighted rows is worse than the pooled one for three of the four. Mixing does not help if
# no source resembles the target: for the last one, a model of its few own molecules is far better. The intervals are wide, because so few molecules do
# not tell which assays a target needs. These are four targets and one split, so the differences are uncertain too.
