"""Hugging Face datasets: interleave_datasets over streams of the same sources, read through torch's loader; a part is timed, and scaled up."""

import time

from benchmarks.peers import lacks, reported

name, job, timer = "datasets interleave_datasets", "loader", reported

# The first batch opens all sources and is not timed.
MEASURED = 5120


def reason():
    """Return why this peer cannot run here, or None."""
    return lacks("datasets", "torch")


def _rows(source):
    while True:
        for i in range(len(source)):
            yield {"x": source[i].numpy().tobytes()}  # as texts are


def prepare(case):
    """The interleaved stream; each source starts again when it ends."""
    import datasets

    streams = [
        datasets.IterableDataset.from_generator(_rows, gen_kwargs={"source": source})
        for source in case.sources.values()
    ]
    return case, datasets.interleave_datasets(streams, probabilities=case.weights.tolist(), seed=0)


def run(ready):
    """Number of samples that the reported seconds are scaled to."""
    import torch.utils.data

    case, data = ready
    batches = iter(torch.utils.data.DataLoader(data, batch_size=case.batch_size, num_workers=case.workers))
    next(batches)
    began = time.perf_counter()
    had = sum(len(next(batches)["x"]) for _ in range(MEASURED // case.batch_size))
    reported.add((time.perf_counter() - began) * case.samples / had)
    return case.samples // case.batch_size * case.batch_size
