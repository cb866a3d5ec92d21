"""
Reuse over three updates
========================

The set of domains changes while a model is developed, and a new swarm each time is expensive. The example follows a mixture
over three updates: a domain is added, one is removed, and two more are added. Each update freezes the ratios of the
domains that did not change. It prints how many runs each update needs, and compares the last mixture with one that is
computed from a new swarm. The losses of runs come from the experts' mixture of the demo, which replaces training here.
"""

from pathlib import Path

import mixfast
from mixfast import designs, mde, reuse, solver

table = mixfast.ExpertTable.load(Path(mixfast.__file__).parent / "data" / "demo.npz")
KL = 0.1


def trained(design: designs.Design) -> mixfast.Swarm:
    """Return the runs with their losses: in reality you train a proxy on each row."""
    losses = mde.features(table.select(design.domains), design)
    return design.with_metrics(losses.values, table.group_names)


def region_of(domains: tuple[str, ...]) -> mixfast.Region:
    """Allow 4 epochs of each domain, which has 60 000 tokens, in a run of 400 000 tokens."""
    return mixfast.Region.from_tokens(dict.fromkeys(domains, 60_000), 400_000, max_epochs=4)


# %%
# The first mixture: 11 domains, 36 runs.

late = ("doc_sql", "lit_austen", "lit_bible")
region = region_of(tuple(name for name in table.domains if name not in late))
runs = trained(mixfast.design(region, seed=0))
first = mixfast.propose(mixfast.fit(runs, "log_linear"), region, kl=KL).mixture
ledger = reuse.Ledger.start(first, why="first swarm")
print(f"{len(runs)} runs; {first.largest()}")

# %%
# Each update: plan it, train the advised runs, propose, and record. ``full`` freezes the ratios of all old domains: in each run
# they move together, as one virtual domain. After a removal there is no new share to determine, so no run is needed.

updates: dict[str, reuse.Add | reuse.Remove] = {
    "the manual of SQL is added": reuse.Add(["doc_sql"]),
    "DNA is withdrawn": reuse.Remove(["dna_ecoli"]),
    "two books are added": reuse.Add(["lit_austen", "lit_bible"]),
}
for why, change in updates.items():
    region = region_of(tuple(name for name in ledger.mixture if name not in change.gone) + change.new)
    plan = reuse.full(ledger.mixture, change, region)
    if plan.runs:
        design = mixfast.design(region, plan.runs, frozen={plan.virtual: plan.frozen}, seed=0)
        law = mixfast.fit(plan.collapse_swarm(trained(design)), "log_linear")
        mixture = plan.expand(mixfast.propose(law, plan.region, kl=KL).mixture)
    else:
        mixture = plan.mixture
    ledger = ledger.record(plan, mixture, why=why)
    print(f"{why}: {plan.runs} runs instead of {plan.full_runs}; {mixture.largest()}")

# %%
# The comparison: all domains open with as many runs as advised for them, and equal shares.

anew = trained(mixfast.design(region, seed=1))
mixtures = {
    f"updated, {sum(entry.runs for entry in ledger.entries)} runs": ledger.mixture,
    f"recomputed, {len(anew)} runs": mixfast.propose(mixfast.fit(anew, "log_linear"), region, kl=KL).mixture,
    "equal shares": mixfast.Mixture(region.domains, [1 / 13] * 13),
}
for label, mixture in mixtures.items():
    print(f"{label:<23} mean loss {solver.losses(table.select(mixture.domains), mixture)[0]:.4f} nats per token")
