"""Decide how much of each data domain to train a language model on, with a certificate of optimality.

>>> import numpy as np
>>> import mixfast
>>> table = mixfast.ExpertTable.from_loglik(np.log([[0.8, 0.1], [0.2, 0.7]]), domains=["web", "code"])
>>> mixfast.solve(table).status
'optimal'

Two routes lead to a mixture. From expert models: `ExpertTable` (the log-likelihood of each token or sequence under each expert) and
`solve`. From proxy runs: `Swarm` (mixtures and metrics of small runs), `fit` and `propose`; `design` chooses the runs. Both work over a
`Region`, the mixtures that caps, floors, token counts and group limits allow. Both return a `Mixture` with its evidence.

Subpackages (rooms), in the order of their imports; each imports only those before it
    `errors`, `ranks`, `mixture`, `region`, `tables`, `swarm`: data types, validated when they are built, immutable.
    `baselines`: mixtures from token counts alone, as controls.
    `experts`: fitted classifiers and regressors as experts, and the ensemble that mixes them.
    `reference`: a slow, plain implementation of the same mathematics, for tests.
    `solver`, `laws`, `proposers`, `designs`, `mde`, `reuse`: functions on these types, and their results.
    `sampler`, `loaders`: mixtures in a training loop.
    `score`, `exporters`, `readers`: expert models, and files of other tools.
    `report`, `cli`: the report page and the command line.
    `_text`, `_engine`: shared internals: text and files; mathematics on arrays.
"""

from __future__ import annotations

from importlib import import_module

from mixfast._version import __version__ as __version__

# `typing` is not imported: the command should install its signal handlers as early as possible.
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

# A subpackage is loaded on first use, so that a data loader does not load the solver.
_ROOM_OF = {
    "ExpertTable": "tables", "Mixture": "mixture", "MixtureSampler": "sampler", "MixtureSchedule": "sampler", "Region": "region",
    "Swarm": "swarm", "design": "designs", "fit": "laws", "propose": "proposers",
    "show_versions": "cli", "solve": "solver",
}  # fmt: skip
_ROOMS = (
    "baselines", "designs", "errors", "experts", "exporters", "laws", "loaders", "mde", "mixture", "proposers", "ranks", "readers", "reference", "region",
    "report", "reuse", "sampler", "score", "solver", "swarm", "tables",
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
