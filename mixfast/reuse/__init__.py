"""Mixture reuse: when domains are added, removed, split or revised, keep the known ratios and train only a few new runs.

A swarm costs days of training, and the set of domains keeps changing. This room decides which part of the old mixture can be kept. Classes:

- `Add`, `Remove`, `Partition`, `Revise` are changes of the set of domains, by name; an `Update` matches them with the old domains.
- `Reuse` is a plan. The relative shares of the unchanged domains are frozen, and those domains become one virtual
  domain. The plan has the `Region` of the collapsed mixtures, the number of runs to train, the predicted loss of freezing, and
  warnings. `Reuse.expand` converts a collapsed mixture to one over all domains.
- `Coupling` is the old law's prediction about freezing: the loss, and which domains to reopen.
- `Carried` is an old swarm converted to the new domains.
- `Ledger` records every update of a mixture with its date and reason (`Entry`), and the open plan (`Pending`).

Functions: `full` freezes all unchanged domains, `partial` reopens those whose freezing would cost most; `swarm` converts old runs
to the new domains, `carry` does so over all updates of a ledger, and `together` joins old runs with new ones; `resume` rebuilds the open
plan of a ledger; `kappa` is the coupling of Theorem 1.

Read `_changes` (names only), `_collapse` (the virtual domain and its limits), `_plan` (the steps of a plan) and `_reuse` (its result);
then `_coupling` and `_collapsed_law` (a law's predictions for collapsed mixtures), and `_runs`. `_ledger` is kept between
updates: its entries are `_entries`, its file format is `_ledger_file` with the types of `_fields`, and `_descent` decides which state of a file it
may replace; `_life` converts runs along it.

Reference: Chen et al., "Olmix" (arXiv 2602.12237), section 5.
"""

from mixfast.reuse._changes import Add, Partition, Remove, ReuseError, Revise, Update
from mixfast.reuse._changes import Change as Change
from mixfast.reuse._coupling import Coupling, kappa
from mixfast.reuse._entries import Entry, Pending
from mixfast.reuse._ledger import Ledger, resume
from mixfast.reuse._ledger_file import held as held
from mixfast.reuse._life import carry
from mixfast.reuse._life import joined as joined
from mixfast.reuse._plan import full, partial
from mixfast.reuse._reuse import Reuse
from mixfast.reuse._runs import Carried, swarm, together

__all__ = [
    "Add",
    "Carried",
    "Coupling",
    "Entry",
    "Ledger",
    "Partition",
    "Pending",
    "Remove",
    "Reuse",
    "ReuseError",
    "Revise",
    "Update",
    "carry",
    "full",
    "kappa",
    "partial",
    "resume",
    "swarm",
    "together",
]
