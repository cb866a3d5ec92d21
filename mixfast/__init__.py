"""Certified, fast solvers for training-data mixtures: how much of each domain to train on, and the proof.

>>> import numpy as np
>>> import mixfast
>>> table = mixfast.ExpertTable.from_loglik(np.log([[0.8, 0.1], [0.2, 0.7]]), domains=["web", "code"])
>>> mixfast.solve(table).status
'optimal'

Two routes lead to a mixture. From expert models: `ExpertTable` (what each expert says of each token or sequence) and `solve`. From
proxy runs: `Swarm` (mixtures and metrics of small runs), `fit` and `propose`; `design` plans the runs. Both work over a `Region`, the
mixtures that caps, floors, token counts and group limits allow, and give a `Mixture` with what speaks for it.

Rooms, from the ground up; each imports only what stands before it
    `errors`, `mixture`, `region`, `tables`, `swarm`: nouns, checked when they are built, never changed afterwards.
    `reference`: the same mathematics, slow and plain, which tests compare with.
    `solver`, `laws`, `proposers`, `designs`, `mde`, `reuse`: the verbs, and their answers.
    `sampler`, `loaders`: the mixture inside a training loop.
    `score`, `exporters`, `readers`: expert models and other tools' files.
    `report`, `cli`: what a person looks at.
    `_text`, `_engine`: what the rooms share: words and files; mathematics on arrays.
"""

from __future__ import annotations

from importlib import import_module

from mixfast._version import __version__ as __version__

# Of `typing` nothing is needed here: the less is loaded before the command watches for signals, the better.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mixfast.cli import show_versions
    from mixfast.designs import design
    from mixfast.laws import fit
    from mixfast.mixture import Mixture
    from mixfast.proposers import propose
    from mixfast.region import Region
    from mixfast.sampler import MixtureSampler, MixtureSchedule
    from mixfast.solver import solve
    from mixfast.swarm import Swarm
    from mixfast.tables import ExpertTable

__all__ = [
    "ExpertTable",
    "Mixture",
    "MixtureSampler",
    "MixtureSchedule",
    "Region",
    "Swarm",
    "design",
    "fit",
    "propose",
    "show_versions",
    "solve",
]

# A room is loaded when it is first asked for: who samples inside a data loader does not wait for the solver.
_ROOM_OF = {
    "ExpertTable": "tables", "Mixture": "mixture", "MixtureSampler": "sampler", "MixtureSchedule": "sampler", "Region": "region",
    "Swarm": "swarm", "design": "designs", "fit": "laws", "propose": "proposers",
    "show_versions": "cli", "solve": "solver",
}  # fmt: skip
_ROOMS = (
    "designs", "errors", "exporters", "laws", "loaders", "mde", "mixture", "proposers", "readers", "reference", "region", "report",
    "reuse", "sampler", "score", "solver", "swarm", "tables",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"mixfast.{name}")
    if name in _ROOM_OF:
        found = getattr(import_module(f"mixfast.{_ROOM_OF[name]}"), name)
        globals()[name] = found
        return found
    raise AttributeError(f"module 'mixfast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_ROOMS, "__version__"})
