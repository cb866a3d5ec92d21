"""
From files of evaluations to a loader
=====================================

This example reads the files that lm-evaluation-harness wrote for 24 small models. Each model was trained on a different mixture of code,
a manual, names of characters and sums. The example joins the metrics with the mixtures, fits laws to the bits per byte of two texts,
proposes a mixture, and prints it in the format of Megatron's data loader.
"""

from pathlib import Path

import numpy as np

import mixfast
from mixfast import exporters, readers

# %%
# ``metrics`` takes a folder that holds one folder for each run, and finds the results files below it. The report says what was left
# out and why: the group "next" is the mean of four tasks, which are all in the files. The files also say which way is better.

here = Path(globals().get("__file__", "example.py")).resolve().parent
collected = readers.metrics(here / "evaluations")
print(collected.report)

# %%
# Each value has its file, its standard error and its number of documents. An accuracy on 60 questions cannot distinguish these
# mixtures, because its standard error is larger than its spread over the runs. So the laws below are fitted to bits per byte.

at = [place for place, metric in enumerate(collected.metric) if metric == "next_code/acc,none"]
error, spread = np.mean(collected.stderr[at]), np.std(collected.value[at])
print(f"accuracy on {collected.n[at[0]]} questions: standard error {error:.3f}, spread over the runs {spread:.3f}")

# %%
# ``swarm`` joins the metrics with a table of mixtures by the name of the run. ``fit`` and ``propose`` follow. No domain is read more
# than twice in a run of 1 200 000 bytes.

swarm = collected.swarm(here / "evaluations" / "ratios.csv").select("text_*")
law = mixfast.fit(swarm)
print(law.report)
available = {"code": 1_500_000, "manual": 420_000, "names": 1_000_000, "sums": 330_000}
region = mixfast.Region.from_tokens(available, 1_200_000, max_epochs=2)
proposal = mixfast.propose(law, region, kl=0.05)
print(proposal.summary())

# %%
# Megatron's loader takes the proposal as weights and paths. These commands do the same as the code above: ``mixfast collect evaluations --out metrics.csv``, then
# ``mixfast fit ratios.csv metrics.csv``.

paths = {name: f"/data/{name}" for name in swarm.domains}
print(exporters.megatron(proposal.mixture, paths=paths).text)
