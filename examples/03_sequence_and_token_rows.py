"""
Sequence tables and token tables
================================

A row of a table can be a token or a whole sequence. With token rows the experts' mixture may switch experts from token to
token; with sequence rows one expert has to explain the whole sequence. The example sums the token rows of the demo to
sequence rows, solves both, and prints the two mixtures side by side. Sequence rows need float64: log p of a whole sequence
is hundreds of nats below 0.
"""

from pathlib import Path

import numpy as np

import mixfast

tokens = mixfast.ExpertTable.load(Path(mixfast.__file__).parent / "data" / "demo.npz")
print(tokens)

# %%
# The demo's rows are the tokens of 600 windows of 64 tokens each, in order. The sum over a window is log p of the window.

window = 64
loglik = tokens.loglik.astype(np.float64).reshape(-1, window, tokens.n_domains).sum(axis=1)
group = tokens.group[::window] if tokens.group is not None else None
sequences = mixfast.ExpertTable.from_loglik(
    loglik, domains=tokens.domains, length=np.full(len(loglik), window), group=group, group_names=tokens.group_names
)
print(sequences)

# %%
# ``length`` makes the loss nats per token in both tables, so the values can be compared. The loss of sequence rows is the
# higher one: it is close to the loss of the best expert of each sequence.

by_token, by_sequence = mixfast.solve(tokens), mixfast.solve(sequences)
print(f"loss by token    {by_token.loss:.4f} nats per token, gap {by_token.gap:.0e}")
print(f"loss by sequence {by_sequence.loss:.4f} nats per token, gap {by_sequence.gap:.0e}")

# %%
# The MixMin paper uses sequence rows. The laboratory of this project found token rows to give better models at small scale
# (``benchmarks/lab``). Both mixtures are optimal, each for its own objective.

print(f"{'domain':<16} {'by token':>9} {'by sequence':>12}")
for name in sorted(tokens.domains, key=lambda name: -by_token.mixture[name]):
    print(f"{name:<16} {by_token.mixture[name]:9.2%} {by_sequence.mixture[name]:12.2%}")
print(f"total variation: {by_token.mixture.total_variation(by_sequence.mixture):.3f}")
