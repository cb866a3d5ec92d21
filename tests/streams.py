"""Small streams and properties that each of them has; shared by the tests of the sampler."""

import numpy as np

from mixfast import Mixture


def names(count):
    return [f"d{k}" for k in range(count)]


def mixture_of(weights):
    weights = np.asarray(weights, dtype=float)
    return Mixture(names(len(weights)), weights / weights.sum())


def counted(domain, domains):
    """Return the number of samples of each domain up to and including each sample (n, K)."""
    return np.cumsum(domain[:, None] == np.arange(domains), axis=0)


def assert_one_stream(sampler, found, start, points):
    """Check that all ways to read the samples give `found`, which begins at sample `start`."""
    stop = start + len(found.domain)
    for i in points:
        assert sampler[i] == tuple(int(column[i - start]) for column in found)
        part = sampler.positions(i, min(i + 500, stop))
        for column, whole in zip(part, found, strict=True):
            np.testing.assert_array_equal(column, whole[i - start : i - start + 500])
        for step in (3, 37):
            part = sampler.positions(i, stop, step)
            for column, whole in zip(part, found, strict=True):
                np.testing.assert_array_equal(column, whole[i - start :: step])
        difference = sampler.counts(stop) - sampler.counts(i)
        np.testing.assert_array_equal(
            difference, np.bincount(found.domain[i - start :], minlength=len(sampler.domains))
        )


def former(state):
    """Return a state as earlier releases saved it, without a checksum."""
    fields = {name: former(value) if name == "stream" else value for name, value in state.items() if name != "check"}
    return {**fields, "format": state["format"].removesuffix("2") + "1"}


# Three mixtures of three domains, and the sizes of the domains.
A, B, C = mixture_of([5, 3, 1]), mixture_of([1, 3, 5]), mixture_of([2, 1, 7])
SIZES = [100, 60, 40]
