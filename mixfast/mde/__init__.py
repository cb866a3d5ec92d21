"""Mixtures of data experts: the loss of an ensemble of experts at any mixture, as features for the laws of a swarm."""

from mixfast.mde._features import Features, Redundancy, Residual, features, match, redundancy, stack

__all__ = ["Features", "Redundancy", "Residual", "features", "match", "redundancy", "stack"]
