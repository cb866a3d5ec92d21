"""Swarm: proxy runs, the mixture each was trained on and the metrics it reached, joined on the run."""

from mixfast.swarm._swarm import Swarm, SwarmError, SwarmReport

__all__ = ["Swarm", "SwarmError", "SwarmReport"]
