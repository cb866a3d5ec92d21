"""Certified, fast solvers for training-data mixtures: how much of each domain to train on, and the proof.

>>> import numpy as np
>>> import mixfast
>>> table = mixfast.ExpertTable.from_loglik(np.log([[0.8, 0.1], [0.2, 0.7]]), domains=["web", "code"])
>>> mixfast.solve(table).status
'optimal'
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mixfast.mixture import Mixture
from mixfast.region import Region
from mixfast.solver import solve
from mixfast.tables import ExpertTable

if TYPE_CHECKING:
    from mixfast import designs as designs
    from mixfast import exporters as exporters
    from mixfast import loaders as loaders
    from mixfast import mde as mde
    from mixfast import proposers as proposers
    from mixfast import readers as readers
    from mixfast import report as report
    from mixfast import reuse as reuse
    from mixfast import sampler as sampler
    from mixfast import score as score
    from mixfast.designs import design
    from mixfast.laws import fit
    from mixfast.proposers import propose
    from mixfast.sampler import MixtureSampler as MixtureSampler
    from mixfast.sampler import MixtureSchedule as MixtureSchedule
    from mixfast.swarm import Swarm

__all__ = ["ExpertTable", "Mixture", "Region", "Swarm", "design", "fit", "propose", "solve"]
__version__ = "0.1.0"

# Who solves a table, in a data loader say, does not wait for the rest: it is imported when first asked for.
_LATER = {
    "MixtureSampler": "sampler", "MixtureSchedule": "sampler", "Swarm": "swarm", "design": "designs", "fit": "laws",
    "propose": "proposers",
}  # fmt: skip
_MODULES = ("designs", "exporters", "loaders", "mde", "proposers", "readers", "report", "reuse", "sampler", "score")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"mixfast.{name}")
    if name in _LATER:
        found = getattr(import_module(f"mixfast.{_LATER[name]}"), name)
        globals()[name] = found
        return found
    raise AttributeError(f"module 'mixfast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
