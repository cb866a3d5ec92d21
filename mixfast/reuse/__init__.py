"""Mixture reuse: when domains are added, removed, split or revised, keep what is known and run only what is new.

`full` freezes the relative shares of all domains that a change leaves alone and makes them one virtual domain; `partial` reopens
those whose freezing would cost most; `carry` takes runs over to the new domains. `Ledger` records what was frozen when and why.

Reference: Chen et al., "Olmix" (arXiv 2602.12237), section 5.
"""

from mixfast.reuse._changes import Change as Change
from mixfast.reuse._plan import (
    Add,
    Carried,
    Coupling,
    Entry,
    Ledger,
    Partition,
    Pending,
    Remove,
    Reuse,
    ReuseError,
    Revise,
    Update,
    full,
    kappa,
    partial,
    resume,
    swarm,
    together,
)

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
    "full",
    "kappa",
    "partial",
    "resume",
    "swarm",
    "together",
]
