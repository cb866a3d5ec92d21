"""Losses of many mixtures in jax: the plain expression, jitted, on all rows at once; float32."""

import numpy as np

from benchmarks import limits
from benchmarks.peers import Unable, _blocks, lacks

name, job = "jax jit float32", "losses"


def reason():
    """Return why this peer cannot run here, or None."""
    return lacks("jax")


def prepare(case):
    """The compiled function and its arrays."""
    import jax
    import jax.numpy as jnp

    prob, weight, flat, constant = _blocks.arrays(case)
    gigabytes, free = 2.1 * 4e-9 * len(prob) * flat.shape[1], limits.available_gigabytes()
    if gigabytes > 0.8 * free:
        raise Unable(f"needs {gigabytes:.1f} GB, {free:.1f} are free")
    compiled = jax.jit(lambda p, c, w: -(c @ jnp.log(p @ w)))
    return compiled, jnp.asarray(prob), jnp.asarray(weight), jnp.asarray(flat), constant


def run(ready):
    """Losses (M,)."""
    compiled, prob, weight, flat, constant = ready
    return np.asarray(compiled(prob, weight, flat), dtype=np.float64) - constant
