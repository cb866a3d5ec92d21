"""``python -m benchmarks.studies kill_resume``: a loader that is killed repeatedly with SIGKILL loses and repeats no sample.

A training loop over a `StreamDataset` commits each step by appending one line: the state and the samples of the step. The loop and its
workers are killed at random times, and restarted from the last complete line of that file, each time with another number of workers and
another batch size. In the end the committed samples must be the stream, in its order.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

DOMAINS = ("web", "code", "books")
LAYOUTS = ((4, 4), (3, 5), (2, 3), (0, 7), (4, 2))  # workers, batch size


class Numbers:
    """A source whose items contain their index and take some time to read."""

    def __init__(self, domain: int, size: int, seconds: float) -> None:
        self.domain, self.size, self.seconds = domain, size, seconds

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, i: int) -> tuple[int, int]:
        time.sleep(self.seconds)
        return self.domain, i


def stream_and_sources(length: int, seconds: float) -> tuple[Any, dict[str, Numbers]]:
    """Return a stream that changes its shares half-way, and its sources."""
    from mixfast import Mixture, MixtureSampler, MixtureSchedule, loaders

    sources = {name: Numbers(k, 50 + 31 * k, seconds) for k, name in enumerate(DOMAINS)}
    schedule = MixtureSchedule(Mixture(DOMAINS, [0.6, 0.3, 0.1])).then(
        Mixture(DOMAINS, [0.2, 0.3, 0.5]), at=length // 2
    )
    return MixtureSampler(schedule, loaders.sizes(sources), seed=3, length=length), sources


def committed(log: Path) -> list[dict[str, Any]]:
    """Return the complete lines of the log; the kill may have cut the last one."""
    return [json.loads(line) for line in log.read_bytes().split(b"\n")[:-1]] if log.exists() else []


def train(log: Path, length: int, seconds: float, workers: int, batch_size: int, stateful: bool) -> None:
    """Continue from the log to the end of the stream."""
    import torch.utils.data

    from mixfast import loaders

    os.setpgid(0, 0)  # so that the workers are killed as well
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # more workers than processors are wanted here
    stream, sources = stream_and_sources(length, seconds)
    data = loaders.StreamDataset(stream, sources, batch_size=batch_size, rank=0, world_size=1)
    before = committed(log)
    if before:
        data.load_state_dict(before[-1]["state"])
    keep = log.read_bytes() if log.exists() else b""
    whole = keep[: keep.rfind(b"\n") + 1]
    make = torch.utils.data.DataLoader
    if stateful:
        from torchdata.stateful_dataloader import StatefulDataLoader as make  # type: ignore[no-redef]
    loader = make(data, batch_size=batch_size, num_workers=workers, collate_fn=list)
    had = 0
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.ftruncate(descriptor, len(whole))
    os.lseek(descriptor, 0, os.SEEK_END)
    for batch in loader:
        had += len(batch)
        state = loader.state_dict() if stateful else data.state_after(had)
        os.write(descriptor, json.dumps({"state": state, "had": batch}).encode() + b"\n")
    os.close(descriptor)


def trial(seed: int, kills: int, *, length: int = 600, seconds: float = 5e-4, stateful: bool = False) -> dict[str, Any]:
    """Kill so often, then finish; `exact`: the committed samples are the stream."""
    draw, context = random.Random(seed), multiprocessing.get_context("fork")
    middle, largest = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        for attempt in range(kills + 1):
            workers, batch_size = LAYOUTS[(attempt + seed) % len(LAYOUTS)]
            process = context.Process(target=train, args=(log, length, seconds, workers, batch_size, stateful))
            before = len(committed(log))
            process.start()
            if attempt < kills:
                # Killed a few steps after it started, at any point of a step.
                want = before + draw.randrange(1, 1 + max(2, length // (4 * kills)))
                while process.is_alive() and len(committed(log)) < want:
                    time.sleep(0.002)
                time.sleep(draw.random() * 0.01)
                middle += _kill(process)
            process.join()
            if attempt == kills and process.exitcode:
                raise RuntimeError(f"the last run ended with exit code {process.exitcode}")
        lines = committed(log)
        largest = max(len(json.dumps(line["state"])) for line in lines)
    stream, _ = stream_and_sources(length, 0.0)
    want = stream.positions(0, length)
    had = [sample for line in lines for sample in line["had"]]
    exact = np.array_equal(np.array(had), np.stack([want.domain, want.index], axis=1))
    return {"exact": exact, "killed": middle, "steps": len(lines), "state_bytes": largest}


def _kill(process: multiprocessing.process.BaseProcess) -> bool:
    """Kill a process and its workers; return whether it was still running."""
    running = process.is_alive()
    # Before the process has made its own group, there is no group with its number.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(int(process.pid), signal.SIGKILL)  # type: ignore[arg-type]
    process.kill()
    return running


def run(kills: int = 200, stateful: bool = False) -> int:
    """Kill so often in all; `stateful` takes the loader of torchdata with its own states."""
    import torch.utils.data  # noqa: F401  once, before the forks

    killed = trials = size = 0
    start = time.perf_counter()
    while killed < kills:
        found = trial(trials, 5, stateful=stateful)
        trials += 1
        killed += found["killed"]
        size = max(size, found["state_bytes"])
        if not found["exact"]:
            print(f"run {trials - 1}: what was committed is not the stream", file=sys.stderr)
            return 1
    seconds = time.perf_counter() - start
    print(
        f"{killed} kills in {trials} runs, {seconds:.0f} s: every committed sample once, in order; states of up to {size} bytes"
    )
    return 0
