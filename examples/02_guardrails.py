"""
Several targets, with guardrails
================================

A mixture that is best for the mean of several targets may be bad for one of them. The example compares three objectives
on a table of experts: the mean of four targets, a weighted mean, and the worst target. Then it takes a law that was fitted
to proxy runs, and finds the best mixture for one target among those that do not make three other losses worse.
"""

from pathlib import Path

import mixfast

data = Path(mixfast.__file__).parent / "data"
table = mixfast.ExpertTable.load(data / "demo.npz")
region = mixfast.Region(table.domains, cap=0.25)

# %%
# Each row shows the loss of every target, in nats per token. The largest loss of the last row is the smallest that any
# allowed mixture can reach.

objectives = {"mean": None, "weighted": {"target_foldoc": 3, "target_fortunes": 1}, "worst": "worst"}
print(f"{'objective':<10}" + "".join(f"{name.removeprefix('target_'):>12}" for name in table.group_names))
for label, objective in objectives.items():
    solution = mixfast.solve(table, region, objective=objective)
    print(f"{label:<10}" + "".join(f"{loss:12.4f}" for loss in solution.group_losses.values()), solution.status)

# %%
# The answer for "worst" comes with the weights of the targets that prove it. Targets with weight 0 do not matter for the
# largest loss.

print({name: round(weight, 3) for name, weight in solution.group_weights.items()})

# %%
# The other route: 67 proxy runs, each trained on another mixture, with losses on held-out text of the domains as well.
# ``tolerance`` limits how much worse each named metric may become than at the prior; 0 means not at all. Here the loss on
# fortune cookies is minimised, and the three losses on code are guarded.

swarm = mixfast.Swarm.from_csv(data / "demo_ratios.csv", data / "demo_metrics.csv")
law = mixfast.fit(swarm.select(["target_fortunes", "val_code_*"]), "log_linear")
natural = dict(zip(swarm.domains, swarm.ratios[0].tolist(), strict=True))
limits = mixfast.Region(swarm.domains, prior=natural, cap=0.25)
guards = {"val_code_c": 0.0, "val_code_python": 0.0, "val_code_rust": 0.0}
for label, tolerance in {"free": None, "guarded": guards}.items():
    proposal = mixfast.propose(law, limits, objective="target_fortunes", kl=0.01, tolerance=tolerance)
    gains = ", ".join(f"{name} {gain:+.4f}" for name, gain in proposal.gain.metrics.items())
    print(f"{label:<8} {proposal.status}; gain over the prior in nats per byte: {gains}")

# %%
# Without guards the losses on code become worse. With them they do not, and the target loses almost nothing.
# ``limited`` says what each guard costs: nats of the objective for each nat of tolerance.

print({name: f"{price:.1e}" for name, price in proposal.limited.items()})
