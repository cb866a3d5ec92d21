"""Losses of many mixtures in numpy, float32, in blocks of rows."""

import numpy as np

from benchmarks.peers import _blocks

name, job, prepare = "numpy float32, blocks", "losses", _blocks.arrays


def reason():
    """It needs numpy only."""


def run(ready):
    """Losses (M,)."""
    return _blocks.sums(ready, lambda mixed: np.log(mixed, out=mixed))
