"""Losses of many mixtures in jax, float32, blocks of rows inside one jitted scan."""

import numpy as np

from benchmarks.peers import _blocks, lacks

name, job = "jax jit float32, blocks", "losses"


def reason():
    """Return why this peer cannot run here, or None."""
    return lacks("jax")


def prepare(case):
    """The compiled scan and its blocks."""
    import jax
    import jax.numpy as jnp

    prob, weight, flat, constant = _blocks.arrays(case)
    prob, weight, flat = jnp.asarray(prob), jnp.asarray(weight), jnp.asarray(flat)
    whole = len(prob) // _blocks.ROWS * _blocks.ROWS
    blocks = prob[:whole].reshape(-1, _blocks.ROWS, prob.shape[1]), weight[:whole].reshape(-1, _blocks.ROWS)

    @jax.jit
    def compiled(blocks, rest_p, rest_c, w):
        def add(total, block):
            return total - block[1] @ jnp.log(block[0] @ w), None

        total, _ = jax.lax.scan(add, jnp.zeros(w.shape[1], dtype=jnp.float32), blocks)
        return total - rest_c @ jnp.log(rest_p @ w)

    return compiled, blocks, prob[whole:], weight[whole:], flat, constant


def run(ready):
    """Losses (M,)."""
    compiled, *arrays, constant = ready
    return np.asarray(compiled(*arrays), dtype=np.float64) - constant
