"""Streams in the trainers of other packages, on two processes: each sample once and in order, and no stream divided twice.

The blocks of docs/how-to/training-loops.md are executed.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

for needed in ("torch", "torchdata", "accelerate", "transformers", "lightning"):
    pytest.importorskip(needed)

import two_processes  # noqa: E402

pytestmark = [pytest.mark.process, pytest.mark.slow]


def launch(folder, *names):
    """Run parts of `two_processes.py` on two processes; return the results of each rank by name."""
    # gloo uses the address of the host's name, which may belong to another machine.
    environment = {
        **os.environ,
        "ACCELERATE_USE_CPU": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
    }
    script = Path(two_processes.__file__)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node=2",
        script,
        folder,
        *names,
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-6000:]
    return {name: [json.loads((folder / name / f"{rank}.json").read_text()) for rank in (0, 1)] for name in names}


def whole(ranks, divided, batch=4):
    """Whether each step has the next samples of the stream: every second one on each rank, or the trainer's half of them."""
    stream = two_processes.begin()[0]["stream"]
    domain, index, _ = stream.positions(0, len(stream))
    want = [list(pair) for pair in zip(domain.tolist(), index.tolist(), strict=True)]
    steps = [want[at : at + 2 * batch] for at in range(0, len(want), 2 * batch)]
    if divided:
        return ranks == [[step[:batch] for step in steps], [step[batch:] for step in steps]]
    return ranks == [[step[::2] for step in steps], [step[1::2] for step in steps]]


@pytest.fixture(scope="module")
def with_torch_and_accelerate(tmp_path_factory):
    return launch(
        tmp_path_factory.mktemp("accelerate"),
        "no_process_group", "Your own loop, and torchdata", "Accelerate", "The Trainer of transformers",
        "The Trainer, without a subclass", "accelerate_cases", "accelerate_saves",
    )  # fmt: skip


@pytest.fixture(scope="module")
def with_lightning(tmp_path_factory):
    return launch(tmp_path_factory.mktemp("lightning"), "Lightning", "lightning_data_set", "Fabric")


def test_all_sections_of_the_page_are_run(with_torch_and_accelerate, with_lightning):
    assert set(two_processes.sections()[1]) <= {*with_torch_and_accelerate, *with_lightning}


@pytest.mark.parametrize(
    "heading", ["Accelerate", "The Trainer of transformers", "The Trainer, without a subclass", "accelerate_saves"]
)
def test_accelerate_divides_the_whole_stream_and_goes_on(with_torch_and_accelerate, heading):
    assert whole(with_torch_and_accelerate[heading], divided=True)


def test_torchdata_reads_a_part_of_the_stream_on_each_rank_and_goes_on(with_torch_and_accelerate):
    assert whole(with_torch_and_accelerate["Your own loop, and torchdata"], divided=False)


@pytest.mark.parametrize("heading", ["Lightning", "lightning_data_set", "Fabric"])
def test_lightning_leaves_the_stream_to_the_ranks_and_goes_on(with_lightning, heading):
    assert whole(with_lightning[heading], divided=False)


@pytest.mark.parametrize(
    ("case", "batch"),
    [
        ("whole sampler", 4),
        ("whole sampler, batches split", 2),
        ("whole sampler, torchdata", 4),
        ("whole data set, sent", 4),
        ("whole data set, read by all", 4),
    ],
)
def test_a_whole_stream_is_divided_once(with_torch_and_accelerate, case, batch):
    ranks = [rank[case] for rank in with_torch_and_accelerate["accelerate_cases"]]
    assert whole([rank["found"] for rank in ranks], divided=True, batch=batch)
    assert [rank["warned"] for rank in ranks] == [[], []]


@pytest.mark.parametrize(
    ("case", "what"),
    [
        ("part of a sampler", "this StreamSampler gives rank {} of 2 its part only"),
        ("part of a data set", "this StreamDataset gives rank {} of 2 its part only"),
        ("part of a data set, read by workers", "this StreamDataset gives rank {} of 2 its part only"),
        ("part, read by all", "Make it with StreamDataset(..., rank=0, world_size=1)"),
        ("part, read by spawned workers", "this StreamDataset gives rank {} of 2 its part only"),
        ("part, packed", "this StreamDataset gives rank {} of 2 its part only"),
        ("whole data set, other batches", "made with batch_size=4: the samples would come in another order"),
    ],
)
def test_a_part_that_accelerate_would_divide_again_is_refused(with_torch_and_accelerate, case, what):
    for rank, found in enumerate(with_torch_and_accelerate["accelerate_cases"]):
        assert what.format(rank) in found[case]["refused"]


def test_samples_that_are_read_twice_are_warned_of(with_torch_and_accelerate):
    for found in with_torch_and_accelerate["accelerate_cases"]:
        assert "150 samples are not a multiple of a step of 8" in found["odd"]["warned"][0]
        assert len(found["odd"]["found"]) == 19
        assert found["odd, dropped"]["warned"] == []
        assert len(found["odd, dropped"]["found"]) == 18
        assert "give the loader to accelerator.prepare" in found["not prepared"]["warned"][0]
        assert "begins another pass, which reads the stream again from sample 0" in found["two epochs"]["warned"][0]


def test_the_rank_is_found_when_samples_are_read(with_torch_and_accelerate):
    for before, after in with_torch_and_accelerate["no_process_group"]:
        assert before["found"] == 160
        assert "call torch.distributed.init_process_group first" in before["warned"][0]
        assert after == {"found": 80, "warned": []}
