"""MixtureSampler: from the number of a sample to its domain, its place there and its epoch, for any mixture and schedule."""

from mixfast.sampler._sampler import MixtureCursor, MixtureSampler, MixtureSchedule, Positions

__all__ = ["MixtureCursor", "MixtureSampler", "MixtureSchedule", "Positions"]
