"""numpy's choice in blocks of 1000 draws, as Hugging Face datasets interleaves."""

import numpy as np

name, job = "numpy choice, blocks of 1000", "draws"


def reason():
    """It needs numpy only."""


def run(case):
    """Domains of the draws."""
    rng = np.random.default_rng(0)
    return np.concatenate([rng.choice(len(case.weights), size=1000, p=case.weights) for _ in range(50)])
