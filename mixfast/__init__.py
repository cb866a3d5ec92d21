"""Certified, fast solvers for training-data mixtures: how much of each domain to train on, and the proof.

>>> import numpy as np
>>> import mixfast
>>> table = mixfast.ExpertTable.from_loglik(np.log([[0.8, 0.1], [0.2, 0.7]]), domains=["web", "code"])
>>> mixfast.solve(table).status
'optimal'
"""

from mixfast import designs as designs
from mixfast import mde as mde
from mixfast import proposers as proposers
from mixfast import reuse as reuse
from mixfast.designs import design
from mixfast.laws import fit
from mixfast.mixture import Mixture
from mixfast.proposers import propose
from mixfast.region import Region
from mixfast.solver import solve
from mixfast.swarm import Swarm
from mixfast.tables import ExpertTable

__all__ = ["ExpertTable", "Mixture", "Region", "Swarm", "design", "fit", "propose", "solve"]
__version__ = "0.1.0"
