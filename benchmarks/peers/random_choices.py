"""random.choices of the standard library, one draw at a time, as in many training scripts."""

import itertools
import random

name, job = "random.choices, one by one", "draws"


def reason():
    """It needs the standard library only."""


def prepare(case):
    """The domains, and the sum of the weights."""
    return list(range(len(case.weights))), list(itertools.accumulate(case.weights.tolist()))


def run(ready):
    """Domains of the draws."""
    domains, cumulative = ready
    draw = random.Random(0)
    return [draw.choices(domains, cum_weights=cumulative)[0] for _ in range(20_000)]
