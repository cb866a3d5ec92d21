"""The loop of the MixMin paper in jax: its 100 steps in one jitted loop, gradients by jax, float32."""

import numpy as np

from benchmarks.peers import lacks

name, job = "MixMin's loop in jax, 100 steps", "solve"


def reason():
    """Return why this peer cannot run here, or None."""
    return lacks("jax")


def prepare(task):
    """The compiled loop and its arrays."""
    import jax
    import jax.numpy as jnp

    def loss(w, prob, weight):
        return -(weight @ jnp.log(prob @ w))

    @jax.jit
    def loop(prob, weight):
        def step(_, w):
            slope = jax.grad(loss)(w, prob, weight)
            w = w * jnp.exp(slope.min() - slope)
            return w / w.sum()

        return jax.lax.fori_loop(0, 100, step, jnp.full(prob.shape[1], 1.0 / prob.shape[1], dtype=jnp.float32))

    return loop, jnp.asarray(task.problem.prob32), jnp.asarray(task.problem.row_weight.astype(np.float32))


def run(ready):
    """Shares (K,)."""
    loop, prob, weight = ready
    return np.asarray(loop(prob, weight), dtype=np.float64)
