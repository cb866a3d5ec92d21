"""torchdata's MultiNodeWeightedSampler over the same sources, shuffled and cycled."""

from benchmarks.peers import Unable, lacks

name, job = "torchdata MultiNodeWeightedSampler", "loader"


def reason():
    """Return why this peer cannot run here, or None."""
    return lacks("torchdata", "torch")


def prepare(case):
    """The node that batches."""
    import torch
    from torch.utils.data import RandomSampler
    from torchdata import nodes

    if case.workers:
        raise Unable("measured without workers only")
    parts = {
        domain: nodes.Mapper(nodes.SamplerWrapper(RandomSampler(source)), source.__getitem__)
        for domain, source in case.sources.items()
    }
    weights = dict(zip(case.sources, case.weights.tolist(), strict=True))
    mixed = nodes.MultiNodeWeightedSampler(parts, weights, stop_criteria="CYCLE_FOREVER", seed=0)
    return case, nodes.Mapper(nodes.Batcher(mixed, case.batch_size), torch.stack)


def run(ready):
    """Samples read."""
    case, node = ready
    node.reset()
    return sum(len(next(node)) for _ in range(case.samples // case.batch_size))
