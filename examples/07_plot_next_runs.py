"""
Which runs to train next
========================

Proxy runs cost most of the money, so each should teach something. The example pretends that only 12 of the demo's 67 runs
exist. In four rounds it fits a law, asks ``next_runs`` for the 4 most useful of the others, and adds their measured losses.
It prints and draws the best loss found so far, beside that of runs taken in random order.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import mixfast
from mixfast import designs

data = Path(mixfast.__file__).parent / "data"
whole = mixfast.Swarm.from_csv(data / "demo_ratios.csv", data / "demo_metrics.csv").select("target_faq_perl")
region = mixfast.Region(whole.domains)
loss = whole.values[:, 0]
print(f"67 runs; the best has a loss of {loss.min():.4f} nats per byte, the median one {np.median(loss):.4f}")

# %%
# The first 12 runs are the worst ones, so that there is something to find.

order = np.argsort(-loss)
known, others = order[:12], order[12:]
random = np.random.default_rng(0).permutation(others)
print(f"start: best of 12 is {loss[known].min():.4f}")

# %%
# ``among`` limits the choice to runs whose result can be looked up. Without it, ``next_runs`` chooses from the whole region
# and returns a design that you train.

best, by_chance = [loss[known].min()], [loss[known].min()]
for step in range(1, 5):
    law = mixfast.fit(whole.subset(known), "gp", folds=0)
    chosen = designs.next_runs(whole.subset(known), law, region, 4, among=whole.subset(others), seed=0)
    taken = np.array([whole.runs.index(run) for run in chosen.design.runs])
    known, others = np.concatenate([known, taken]), np.setdiff1d(others, taken)
    best.append(loss[known].min())
    by_chance.append(min(by_chance[0], loss[random[: 4 * step]].min()))
    print(f"round {step}, {len(known)} runs: best {best[-1]:.4f}; in random order {by_chance[-1]:.4f}")

# %%
# The last round in words: what each run was expected to gain. In the figure, one random order proves nothing; the benchmark
# ``python -m benchmarks.studies next_runs`` averages over 20 draws.

print(chosen.summary())

figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
axes.step(range(12, 29, 4), best, where="post", label="chosen by next_runs")
axes.step(range(12, 29, 4), by_chance, where="post", label="random order")
axes.axhline(loss.min(), color="gray", lw=0.8, ls=":", label="best of all 67 runs")
axes.set(xlabel="runs", ylabel="best loss, nats per byte", xticks=range(12, 29, 4))
axes.legend()
plt.show()
