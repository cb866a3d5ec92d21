"""solve(): the certified optimum of an ensemble's loss over the mixtures that a region allows; and what is built on it."""

from mixfast.solver._bootstrap import Bootstrap, bootstrap
from mixfast.solver._holdout import HeldOut, holdout
from mixfast.solver._losses import group_losses as group_losses
from mixfast.solver._losses import losses
from mixfast.solver._solution import ShadowPrice as ShadowPrice
from mixfast.solver._solution import Solution
from mixfast.solver._solve import path, solve

__all__ = ["Bootstrap", "HeldOut", "Solution", "bootstrap", "holdout", "losses", "path", "solve"]
