"""Exponentiated gradient over shards in torch.distributed, with the fastest of some fixed step sizes, which is searched before the timing."""

from benchmarks.peers import _torch_ranks, lacks, reported

name, job, timer = "EG, torch.distributed", "scale", reported


def reason():
    """Return why this peer cannot run here, or None."""
    return lacks("torch")


def run(case):
    """Shares (K,) and a note."""
    return _torch_ranks.run("eg", case)
