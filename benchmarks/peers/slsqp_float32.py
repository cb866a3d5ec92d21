"""scipy's sequential quadratic programming on float32 probabilities: faster sweeps, a gradient with 7 digits."""

from benchmarks.peers import slsqp

name, job, reason, run = "scipy SLSQP float32", "solve", slsqp.reason, slsqp.run


def prepare(task):
    """Ready probabilities, float32."""
    return task, task.problem.prob32, task.problem.weight.astype("float32")
