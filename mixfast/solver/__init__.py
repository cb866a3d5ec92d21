"""solve(): the certified optimum of an ensemble's loss over the mixtures that a region allows; and what is built on it."""

from mixfast.solver._solve import Bootstrap, HeldOut, Solution, bootstrap, holdout, losses, path, solve

__all__ = ["Bootstrap", "HeldOut", "Solution", "bootstrap", "holdout", "losses", "path", "solve"]
