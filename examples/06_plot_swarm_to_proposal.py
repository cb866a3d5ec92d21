"""
From a swarm to a proposal
==========================

A swarm is a set of small proxy runs, each trained on another mixture. The example reads the 67 runs of the demo, fits laws
that predict the loss of a mixture, checks them on runs that they have not seen, and proposes a mixture for four targets. It
prints the errors of the laws and the proposal, and draws predicted against measured losses.
"""

from pathlib import Path

import matplotlib.pyplot as plt

import mixfast
from mixfast import report

# %%
# Two csv files: the mixtures, and what each run reached. A column "run" joins them.

data = Path(mixfast.__file__).parent / "data"
swarm = mixfast.Swarm.from_csv(data / "demo_ratios.csv", data / "demo_metrics.csv").select("target_*")
print(swarm.report)

# %%
# ``fit`` tries several laws and keeps, for each metric, the one with the lowest error on runs that were left out.

law = mixfast.fit(swarm)
print(law.report)

# %%
# No token is read more than 4 times in a run of 512 000 tokens. The KL term keeps the mixture near the natural shares,
# where most runs were.

region = mixfast.Region.from_tokens(dict.fromkeys(swarm.domains, 40_000), 512_000, max_epochs=4)
proposal = mixfast.propose(law, region, objective={"targets": "target_*"}, kl=0.05)
print(proposal.summary())

# %%
# A Gaussian process is searched, so nothing proves that no better mixture exists. A log-linear law is convex: its proposal is
# exact, with a gap. Two laws that propose similar mixtures are a good sign.

exact = mixfast.propose(mixfast.fit(swarm, "log_linear"), region, objective={"targets": "target_*"}, kl=0.05)
print(f"log-linear: {exact.status}, gap {exact.gap:.0e}, expected gain {exact.gain.value:.3f} nats per byte")
print(f"total variation between the two proposals: {exact.mixture.total_variation(proposal.mixture):.2f}")

# %%
# Each point is a run, predicted by laws that were fitted without it.

figure, axes = plt.subplots(figsize=(5, 5), layout="constrained")
report.predicted(report.out_of_fold(law, swarm), "target_foldoc", ax=axes)
plt.show()
