"""Hugging Face datasets: interleave_datasets over streams of the same sources, read through torch's loader."""

from benchmarks.peers import lacks

name, job = "datasets interleave_datasets", "loader"


def reason():
    """Why it cannot run here."""
    return lacks("datasets", "torch")


def _rows(source):
    while True:
        for i in range(len(source)):
            yield {"x": source[i].numpy()}


def prepare(case):
    """The interleaved stream; each source begins anew when it ends."""
    import datasets

    streams = [
        datasets.IterableDataset.from_generator(_rows, gen_kwargs={"source": source})
        for source in case.sources.values()
    ]
    return case, datasets.interleave_datasets(streams, probabilities=case.weights.tolist(), seed=0).with_format("torch")


def run(ready):
    """Samples read."""
    import torch.utils.data

    case, data = ready
    batches = iter(torch.utils.data.DataLoader(data, batch_size=case.batch_size, num_workers=case.workers))
    return sum(len(next(batches)["x"]) for _ in range(case.samples // case.batch_size))
