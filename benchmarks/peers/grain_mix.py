"""grain's MapDataset.mix over the same sources, repeated endlessly, batches stacked; read by its own 16 threads."""

from benchmarks.peers import Unable, lacks

name, job = "grain MapDataset.mix", "loader"


def reason():
    """Return why this peer cannot run here, or None."""
    return lacks("grain", "torch")


def prepare(case):
    """The data set; it reads in this process, because its workers are another kind of process."""
    import grain
    import torch

    if case.workers:
        raise Unable("measured without workers only")
    parts = [grain.MapDataset.source(source).shuffle(seed=0).repeat() for source in case.sources.values()]
    mixed = grain.MapDataset.mix(parts, weights=case.weights.tolist())
    return case, mixed.batch(case.batch_size, batch_fn=torch.stack).to_iter_dataset()


def run(ready):
    """Samples read."""
    case, data = ready
    batches = iter(data)
    return sum(len(next(batches)) for _ in range(case.samples // case.batch_size))
