"""Expectation maximisation over shards in torch.distributed."""

from benchmarks.peers import _torch_ranks, lacks, reported

name, job, timer = "EM, torch.distributed", "scale", reported


def reason():
    """Return why this peer cannot run here, or None."""
    return lacks("torch")


def run(case):
    """Shares (K,) and a note."""
    return _torch_ranks.run("em", case)
