"""
A mixture for one target
========================

Fourteen small models, one for each domain, scored a computing dictionary that none of them was trained on. The example
finds the shares of the 14 domains that minimise the loss of the experts' mixture on that text, under the limit that no
token is read more than 4 times. It prints the mixture with its certificate, and draws shares, prior and caps.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import mixfast
from mixfast import report

# %%
# The demo's files are part of the package; ``mixfast demo --copy-to .`` writes them into a folder. The table holds log p
# of each token of four target texts under each expert. The token counts say how much text each domain has.

data = Path(mixfast.__file__).parent / "data"
table = mixfast.ExpertTable.load(data / "demo.npz")
lines = (data / "demo_tokens.yaml").read_text().splitlines()
tokens = {name: int(count) for name, count in (line.split(":") for line in lines if not line.startswith("#"))}
print(table)

# %%
# The run will read 512 000 tokens, more than most domains can supply without repetition. The limit of 4 epochs gives each
# domain a cap. ``objective`` names the target text.

region = mixfast.Region.from_tokens(tokens, 512_000, max_epochs=4)
solution = mixfast.solve(table, region, objective="target_foldoc")
print(solution.summary())

# %%
# The gap bounds the distance to the optimum: no allowed mixture has a loss that is lower by more than the gap. Compare
# this loss with those of two mixtures that need no solver.

natural, equal = solution.losses([region.prior, np.full(14, 1 / 14)])
print(f"natural shares {natural:.4f}, equal shares {equal:.4f}, solved {solution.loss:.4f} nats per token")
print(f"no allowed mixture is below {solution.value - solution.gap:.8f}")

# %%
# A domain whose bar ends at its cap is read 4 times. More text of it would lower the loss; the shadow prices in the summary
# say by how much.

figure, axes = plt.subplots(figsize=(7, 5), layout="constrained")
report.shares(solution, ax=axes)
plt.show()
