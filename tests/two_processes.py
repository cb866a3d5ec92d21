"""The parts that `loaders/test_trainers.py` runs on two processes, started by `torch.distributed.run`.

Arguments: a folder for the results, then names. A name is a heading of docs/how-to/training-loops.md, whose blocks are executed, or a function of
this file. The results are written into the folder, one file for each rank.
"""

import json
import os
import re
import sys
import warnings
from pathlib import Path

import torch
import torch.distributed
from torch.utils.data import DataLoader

from mixfast import errors, loaders

PAGE = Path(__file__).resolve().parents[1] / "docs" / "how-to" / "training-loops.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def sections():
    """Return the Python code before the first heading of the page, and that of each section by its heading."""
    parts = re.split(r"^## (.*)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    code = ["\n".join(BLOCK.findall(part)) for part in parts]
    return code[0], dict(zip(parts[1::2], code[2::2], strict=True))


def begin():
    """Return the namespace of the page, and the list in which its model records the samples of each step."""
    namespace, steps = {"__name__": "page"}, []
    exec(compile(sections()[0], str(PAGE), "exec"), namespace)
    forward = namespace["Model"].forward

    def recorded(self, x):
        steps.append(x.to(torch.int64).tolist())
        return forward(self, x)

    namespace["Model"].forward = recorded
    return namespace, steps


def page(heading):
    """Return the samples of each step that a section of the page trains on."""
    namespace, steps = begin()
    with warnings.catch_warnings():
        warnings.simplefilter("error", errors.MixfastWarning)
        exec(compile(sections()[1][heading], f"{PAGE}, {heading}", "exec"), namespace)
    return steps


def samples(loader):
    return [batch["x"].to(torch.int64).tolist() for batch in loader]


def heard(run):
    """Return the result of a function, and mixfast's warnings or refusal."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", errors.MixfastWarning)
        try:
            found = run()
        except errors.SamplerError as problem:
            return {"refused": str(problem)}
    return {"found": found, "warned": [str(w.message) for w in caught if w.category is errors.MixfastWarning]}


def accelerate_divides(
    batch_size=4, rank=0, world_size=1, kind="sampler", stream=None, workers=0, drop_last=True, **options
):
    """Return the steps of a loader prepared by Accelerate, and the warnings."""
    from accelerate import Accelerator, DataLoaderConfiguration

    namespace, _ = begin()
    stream, sources = stream or namespace["stream"], namespace["sources"]
    accelerator = Accelerator(dataloader_config=DataLoaderConfiguration(**options))
    if kind == "sampler":
        sampler = loaders.StreamSampler(stream, rank=rank, world_size=world_size)
        loader = DataLoader(
            loaders.Sources(stream, sources), batch_size=4, sampler=sampler, num_workers=workers, drop_last=drop_last
        )
    else:
        data = loaders.StreamDataset(stream, sources, batch_size=batch_size, rank=rank, world_size=world_size)
        data = data if kind == "dataset" else Packed(data)
        # A spawned worker must be told what its parent process knows.
        context = "spawn" if kind == "spawned" else None
        loader = DataLoader(
            data, batch_size=4, num_workers=workers, drop_last=drop_last, multiprocessing_context=context
        )
    loader = accelerator.prepare(loader)
    return heard(lambda: samples(loader))


class Packed(torch.utils.data.IterableDataset):
    """A data set that wraps a stream."""

    def __init__(self, data):
        self.data = data

    def __iter__(self):
        return iter(self.data)


def accelerate_cases():
    """Return loaders that Accelerate divides, by case."""
    namespace, _ = begin()
    stream, divides = namespace["stream"], accelerate_divides
    odd = namespace["MixtureSampler"](stream.schedule, stream.sizes, seed=0, length=150)
    part = {"rank": None, "world_size": None}
    read_by_all = {"batch_size": 8, "dispatch_batches": False, "workers": 2}
    return {
        "whole sampler": divides(),
        "whole sampler, batches split": divides(split_batches=True),
        "whole sampler, torchdata": divides(use_stateful_dataloader=True),
        "whole data set, sent": divides(kind="dataset", workers=2),
        "whole data set, read by all": divides(kind="dataset", **read_by_all),
        "whole data set, other batches": divides(kind="dataset", **(read_by_all | {"batch_size": 4})),
        "part of a sampler": divides(**part),
        "part of a data set": divides(kind="dataset", **part),
        "part of a data set, read by workers": divides(kind="dataset", workers=2, **part),
        "part, read by all": divides(kind="dataset", **read_by_all, **part),
        "part, read by spawned workers": divides(kind="spawned", **read_by_all, **part),
        "part, packed": divides(kind="packed", dispatch_batches=False, **part),
        "odd": divides(stream=odd, drop_last=False),
        "odd, dropped": divides(stream=odd),
        "not prepared": not_prepared(),
        "two epochs": two_epochs(),
    }


def not_prepared():
    """Return the whole stream on each process, without any division."""
    namespace, _ = begin()
    stream = namespace["stream"]
    sampler = loaders.StreamSampler(stream, rank=0, world_size=1)
    return heard(
        lambda: samples(DataLoader(loaders.Sources(stream, namespace["sources"]), batch_size=4, sampler=sampler))
    )


def two_epochs():
    from accelerate import Accelerator

    namespace, _ = begin()
    stream = namespace["stream"]
    sampler = loaders.StreamSampler(stream, rank=0, world_size=1)
    loader = Accelerator().prepare(
        DataLoader(loaders.Sources(stream, namespace["sources"]), batch_size=4, sampler=sampler)
    )
    return heard(lambda: [samples(loader), samples(loader)][1])


def accelerate_saves():
    """Return the steps of two runs in which Accelerate itself saves the position of its loader."""
    from accelerate import Accelerator, DataLoaderConfiguration

    steps = []
    for restarted in (False, True):
        namespace, _ = begin()
        stream = namespace["stream"]
        accelerator = Accelerator(dataloader_config=DataLoaderConfiguration(use_stateful_dataloader=True))
        sampler = loaders.StreamSampler(stream, rank=0, world_size=1)
        data = loaders.Sources(stream, namespace["sources"])
        loader = accelerator.prepare(DataLoader(data, batch_size=4, sampler=sampler, num_workers=2, drop_last=True))
        if restarted:
            accelerator.load_state("checkpoint")
        for batch in loader:
            steps.append(batch["x"].to(torch.int64).tolist())
            if len(steps) == 7:
                accelerator.save_state("checkpoint")
                break
    return steps


def lightning_data_set():
    """Run the section of Lightning with a `StreamDataset`; its state is that of rank 0 for all ranks."""
    namespace, steps = begin()
    code = sections()[1]["Lightning"]
    code = re.sub(
        r"data = .*\n.*return .*",
        "return loaders.StreamDataset(stream, sources, batch_size=4).loader(StatefulDataLoader, num_workers=2)",
        code,
    )
    exec(compile(code, "Lightning", "exec"), namespace)
    return steps


def no_process_group():
    """Create a sampler and read it before the process group exists, and read it afterwards."""
    namespace, _ = begin()
    sampler = loaders.StreamSampler(namespace["stream"])
    before = heard(lambda: len(list(sampler)))
    torch.distributed.init_process_group("gloo")
    return [before, heard(lambda: len(list(sampler)))]


def main(folder, *names):
    torch.set_num_threads(1)
    for name in names:
        place = Path(folder) / name
        place.mkdir(exist_ok=True)
        os.chdir(place)
        found = globals()[name]() if name in globals() else page(name)
        (place / f"{os.environ['RANK']}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
