"""Streams in torch's data loaders: the same order for any ranks, workers and batches; resuming; refusals."""

import itertools
import json
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from streams import former

from mixfast import Mixture, MixtureSampler, MixtureSchedule, errors, loaders

torch = pytest.importorskip("torch")
DataLoader = torch.utils.data.DataLoader

ROOT = Path(__file__).resolve().parent.parent.parent

SIZES = {"web": 23, "code": 7, "books": 40}
MIXTURE = Mixture(list(SIZES), [0.5, 0.3, 0.2])
SCHEDULE = MixtureSchedule(MIXTURE).then(Mixture(list(SIZES), [0.1, 0.1, 0.8]), at=60)

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create", "ignore:'set_vital'")


class Words:
    """A map-style source whose items contain their domain and index."""

    def __init__(self, name, size):
        self.name, self.size = name, size

    def __len__(self):
        return self.size

    def __getitem__(self, i):
        if not 0 <= i < self.size:
            raise IndexError(i)
        return self.name, i


class Batched(Words):
    """The same source, read in batches as Hugging Face data sets are."""

    def __getitems__(self, indices):
        assert all(type(i) is int for i in indices)
        return [self[i] for i in indices]

    def __getitem__(self, i):
        return super().__getitem__(i)


class Endless(torch.utils.data.IterableDataset):
    """A torch data set with a length and an inherited __getitem__ that always raises."""

    def __len__(self):
        return 7

    def __iter__(self):
        return itertools.count()


SOURCES = {name: Words(name, size) for name, size in SIZES.items()}


def stream_of(length=130, schedule=SCHEDULE, **options):
    return MixtureSampler(schedule, SIZES, **({"seed": 5} | options), length=length)


def items(stream, start=0, stop=None):
    """Return samples of a stream, read one by one."""
    stop = len(stream) if stop is None else stop
    return [(stream.domains[k], i) for k, i, _ in (stream[j] for j in range(start, stop))]


def passes(kind, stream, batch_size, workers=0, rank=0, world_size=1, state=None, maker=DataLoader, **options):
    """Return a loader of one of the two kinds, and the adapter that tracks its position."""
    if kind == "sampler":
        adapter = loaders.StreamSampler(stream, rank=rank, world_size=world_size)
        data, more = loaders.Sources(stream, SOURCES), {"sampler": adapter}
    else:
        adapter = data = loaders.StreamDataset(stream, SOURCES, batch_size=batch_size, rank=rank, world_size=world_size)
        more = {}
    if state is not None:
        adapter.load_state_dict(state)
    return maker(data, batch_size=batch_size, num_workers=workers, collate_fn=list, **more, **options), adapter


def together(of_ranks):
    """Combine the batches of the ranks into the global stream: rank r of W has samples r, r + W, ... of each step."""
    found = []
    for step in itertools.zip_longest(*of_ranks):
        assert len({len(batch) for batch in step}) == 1
        found += [sample for row in zip(*step, strict=True) for sample in row]
    return found


def first_of(loader):
    """Return the first batch and end the workers at once; the garbage collector would take seconds for it."""
    reading = iter(loader)
    try:
        return next(reading)
    finally:
        getattr(reading, "_shutdown_workers", lambda: None)()


kinds = pytest.mark.parametrize("kind", ["sampler", "dataset"])

# ----------------------------------------------------------------------------------------------------------------- order


@kinds
@pytest.mark.parametrize(("world_size", "batch_size"), [(1, 1), (1, 7), (1, 500), (2, 4), (3, 5), (13, 2)])
def test_the_stream_is_the_same_for_any_ranks_and_batches(kind, world_size, batch_size):
    stream = stream_of()
    found = together(
        [list(passes(kind, stream, batch_size, rank=r, world_size=world_size)[0]) for r in range(world_size)]
    )
    assert found == items(stream)[: 130 - 130 % world_size]


@pytest.mark.process
@kinds
@pytest.mark.parametrize(("workers", "batch_size"), [(1, 4), (3, 4), (4, 50)])
def test_and_for_any_workers(kind, workers, batch_size):
    stream = stream_of()
    loader, _ = passes(kind, stream, batch_size, workers)
    found = list(loader)
    assert [sample for batch in found for sample in batch] == items(stream)
    assert {len(batch) for batch in found[:-1]} <= {batch_size}
    assert len(loader) == len(found)


@kinds
def test_each_pass_is_the_same(kind):
    loader, _ = passes(kind, stream_of(), 8)
    assert list(loader) == list(loader)
    first, second = iter(loader), iter(loader)
    assert next(first) == next(second)


def test_long_streams_pass_from_block_to_block():
    stream = stream_of(5000)
    for world_size in (1, 2, 11):
        sampler = loaders.StreamSampler(stream, rank=world_size - 1, world_size=world_size)
        found = stream.positions(0, 5000 - 5000 % world_size)
        want = list(zip(found.domain.tolist(), found.index.tolist(), strict=True))
        assert list(sampler) == want[world_size - 1 :: world_size]
        assert len(sampler) == 5000 // world_size


def test_a_stream_without_an_end_goes_on():
    stream = MixtureSampler(MIXTURE, SIZES, seed=5)
    for kind in ("sampler", "dataset"):
        loader, adapter = passes(kind, stream, 10)
        assert list(itertools.chain.from_iterable(itertools.islice(loader, 20))) == items(stream, 0, 200)
        with pytest.raises(TypeError, match="no end"):
            len(adapter)


def test_ranks_are_those_of_torch_distributed(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/ranks", rank=0, world_size=1)
    try:
        sampler = loaders.StreamSampler(stream_of())
        assert (sampler.rank, sampler.world_size) == (0, 1)
    finally:
        torch.distributed.destroy_process_group()


RANK = """
import json, sys, torch.distributed, torch.utils.data
from mixfast import Mixture, MixtureSampler, loaders

rank, place = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{place}/ranks", rank=rank, world_size=2)
sources = {"web": range(0, 23), "code": range(100, 107), "books": range(200, 240)}
stream = MixtureSampler(Mixture(list(sources), [0.5, 0.3, 0.2]), loaders.sizes(sources), seed=5, length=131)
data = loaders.StreamDataset(stream, sources, batch_size=4)
loader = torch.utils.data.DataLoader(data, batch_size=4, num_workers=2)
found = [batch.tolist() for batch in loader]
states = [None, None]
torch.distributed.all_gather_object(states, data.state_after(8))
with open(f"{place}/{rank}.json", "w") as file:
    json.dump({"found": found, "same": states[0] == states[1]}, file)
torch.distributed.destroy_process_group()
"""


@pytest.mark.process
def test_two_processes_of_torch_distributed_read_one_stream(tmp_path):
    ranks = [subprocess.Popen([sys.executable, "-c", RANK, str(rank), str(tmp_path)]) for rank in (0, 1)]
    assert [process.wait(timeout=120) for process in ranks] == [0, 0]
    had = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert all(rank["same"] for rank in had)
    sources = {"web": range(23), "code": range(100, 107), "books": range(200, 240)}
    stream = MixtureSampler(Mixture(list(sources), [0.5, 0.3, 0.2]), loaders.sizes(sources), seed=5, length=131)
    whole = [sources[stream.domains[k]][i] for k, i, _ in (stream[j] for j in range(130))]
    assert together([rank["found"] for rank in had]) == whole


def test_sources_read_in_batches_keep_their_places():
    stream = stream_of()
    mixed = {"web": SOURCES["web"], "code": Batched("code", 7), "books": Batched("books", 40)}
    data = loaders.Sources(stream, mixed)
    draw = np.random.default_rng(0)
    pairs = [(k, int(draw.integers(list(SIZES.values())[k]))) for k in draw.integers(0, 3, 200).tolist()]
    assert data.__getitems__(pairs) == [data[pair] for pair in pairs] == [(stream.domains[k], i) for k, i in pairs]
    assert data.__getitems__([]) == []
    assert len(data) == 70


def test_hugging_face_datasets_are_sources():
    datasets = pytest.importorskip("datasets")
    sources = datasets.DatasetDict(
        {
            "web": datasets.Dataset.from_dict({"text": [f"web {i}" for i in range(23)]}),
            "code": datasets.Dataset.from_dict({"text": [f"code {i}" for i in range(7)], "language": ["C"] * 7}),
            "books": datasets.Dataset.from_dict({"text": [f"books {i}" for i in range(40)]}),
        }
    )
    stream = MixtureSampler(SCHEDULE, loaders.sizes(sources), seed=5, length=130)
    want = [f"{name} {i}" for name, i in items(stream_of())]
    sampler = loaders.StreamSampler(stream)
    loader = DataLoader(loaders.Sources(stream, sources), batch_size=8, sampler=sampler, collate_fn=list)
    assert [row["text"] for batch in loader for row in batch] == want
    data = loaders.StreamDataset(stream, sources, batch_size=8)
    assert [row["text"] for batch in DataLoader(data, batch_size=8, collate_fn=list) for row in batch] == want
    with pytest.raises(errors.SamplerError, match="map-style"):
        loaders.sizes({"web": sources["web"].to_iterable_dataset()})


@kinds
def test_streams_of_other_loaders_are_served_too(kind):
    for stream in (
        loaders.MegatronStream(MIXTURE, 130, sizes=dict.fromkeys(SIZES, 100)),
        loaders.GrainStream(MIXTURE, dict.fromkeys(SIZES, 100), length=130),
    ):
        sources = {name: Words(name, 100) for name in SIZES}
        data = loaders.StreamDataset(stream, sources, batch_size=5)
        adapter = loaders.StreamSampler(stream)
        loader = (
            DataLoader(data, batch_size=5, collate_fn=list)
            if kind == "dataset"
            else DataLoader(loaders.Sources(stream, sources), batch_size=5, sampler=adapter, collate_fn=list)
        )
        assert [sample for batch in loader for sample in batch] == items(stream)


# -------------------------------------------------------------------------------------------------------------- trainers


def divided(loader, rank, processes=2, **options):
    """Return a loader as Accelerate prepares it for one of several processes, without starting them."""
    data_loader = pytest.importorskip("accelerate.data_loader")
    return data_loader.prepare_data_loader(loader, num_processes=processes, process_index=rank, **options)


@kinds
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("position", [0, 64])
def test_accelerate_divides_the_whole_stream(kind, split, processes, position):
    # The samples of a step do not depend on the number of processes, as with ranks that divide the stream themselves.
    stream = stream_of(128)
    size = 16 if split else 16 // processes
    ranks = [
        list(divided(passes(kind, stream, size, state=stream.state(position))[0], rank, processes, split_batches=split))
        for rank in range(processes)
    ]
    steps = [[sample for batch in step for sample in batch] for step in zip(*ranks, strict=True)]
    assert steps == [items(stream, at, at + 16) for at in range(position, 128, 16)]
    own = together([list(passes(kind, stream, 4, rank=rank, world_size=4)[0]) for rank in range(4)])
    assert list(itertools.chain.from_iterable(steps)) == own[position:]


@kinds
def test_a_part_that_accelerate_would_divide_again_is_refused(kind):
    for rank in (0, 1):
        loader, adapter = passes(kind, stream_of(128), 4, rank=rank, world_size=2)
        with pytest.raises(errors.SamplerError, match=f"gives rank {rank} of 2 its part only, so only one sample in 2"):
            next(iter(divided(loader, rank)))
        # The loader itself still works, and so does its sampler in another loader.
        assert sum(len(batch) for batch in loader) == len(adapter) == 64


def test_a_last_step_that_accelerate_fills_up_is_warned_of():
    for length, drop_last, warned in ((128, False, 0), (130, False, 1), (130, True, 0)):
        loader, _ = passes("sampler", stream_of(length), 8, drop_last=drop_last)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", errors.MixfastWarning)
            found = list(divided(loader, 0))
        said = {str(w.message) for w in caught if w.category is errors.MixfastWarning}
        assert len(said) == warned
        assert all("130 samples are not a multiple of a step of 16" in message for message in said)
        assert len(found) == 8 + warned


@kinds
def test_a_second_pass_of_a_trainer_is_warned_of(kind):
    _, adapter = passes(kind, stream_of(), 8, state=stream_of().state(40))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adapter.set_epoch(0)
    with pytest.warns(errors.MixfastWarning, match="begins another pass, which reads the stream again from sample 40"):
        adapter.set_epoch(1)


def test_a_sampler_is_one_of_torch_that_is_already_divided():
    sampler = loaders.StreamSampler(stream_of(), rank=1, world_size=3)
    assert isinstance(sampler, torch.utils.data.DistributedSampler)
    assert (sampler.rank, sampler.num_replicas, len(sampler)) == (1, 3, 43)


@kinds
def test_processes_that_would_each_read_everything_are_warned_of(kind, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    adapter = passes(kind, stream_of(), 8)[1]
    assert len(list(adapter)) == 130  # the rank was given explicitly
    adapter = passes(kind, stream_of(), 8, rank=None, world_size=None)[1]
    with pytest.warns(errors.MixfastWarning, match="each of 2 processes reads all samples of this Stream"):
        iter(adapter)


# -------------------------------------------------------------------------------------------------------------- resuming


@kinds
def test_another_world_goes_on_where_the_last_stopped(kind):
    stream, state, at, found = stream_of(), None, 0, []
    # (ranks, batch size, steps): each resumes from the state of the previous one.
    for ranks, batch_size, steps in ((1, 3, 2), (4, 2, 3), (2, 7, 2), (3, 1, 5), (1, 9, None)):
        runs = [passes(kind, stream, batch_size, rank=r, world_size=ranks, state=state) for r in range(ranks)]
        found += together([list(itertools.islice(loader, steps)) for loader, _ in runs])
        if steps is not None:
            states = [adapter.state_after(steps * batch_size) for _, adapter in runs]
            assert states.count(states[0]) == ranks
            state, at = json.loads(json.dumps(states[0])), at + ranks * steps * batch_size
            assert state["position"] == at
            assert len(json.dumps(state)) < 300
    assert found == items(stream)


stateful = pytest.fixture(lambda: pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader)


@pytest.mark.process
@kinds
@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("steps", [0, 1, 5, 17])
def test_a_stateful_loader_goes_on(stateful, kind, workers, steps):
    stream = stream_of()
    options = {"batch_size": 4, "workers": workers, "rank": 1, "world_size": 2, "maker": stateful}
    whole = list(passes(kind, stream, 4, rank=1, world_size=2)[0])
    assert len(whole) == 17
    loader, _ = passes(kind, stream, **options)
    reading = iter(loader)
    assert [next(reading) for _ in range(steps)] == whole[:steps]
    state = pickle.loads(pickle.dumps(loader.state_dict()))
    again, _ = passes(kind, stream, **options)
    again.load_state_dict(state)
    assert list(again) == whole[steps:]
    # Through the adapter, the state also starts with another world size.
    loader, adapter = passes(kind, stream, 3, state=state)
    assert adapter.position == min(8 * steps, 130)
    assert list(itertools.chain.from_iterable(loader)) == items(stream, min(8 * steps, 130))


@pytest.mark.process
@kinds
@pytest.mark.parametrize("workers", [0, 3])
def test_a_stateful_loader_knows_the_past_and_leaves_the_future(stateful, kind, workers):
    constant = MixtureSchedule(MIXTURE)
    loader, _ = passes(kind, stream_of(schedule=constant), 4, workers, maker=stateful)
    reading = iter(loader)
    had = [sample for _ in range(5) for sample in next(reading)]
    state = loader.state_dict()
    later = stream_of(schedule=constant.then(Mixture(list(SIZES), [0.1, 0.1, 0.8]), at=20))
    again, _ = passes(kind, later, 4, workers, maker=stateful)
    again.load_state_dict(state)
    assert had + [sample for batch in again for sample in batch] == items(later)
    other, adapter = passes(kind, stream_of(schedule=constant.then(SCHEDULE.at(100), at=19)), 4, maker=stateful)
    with pytest.raises(errors.SamplerError, match="another stream"):
        adapter.load_state_dict(state)
    if not workers:
        other.load_state_dict(state)
        with pytest.raises(errors.SamplerError, match="another stream"):
            next(iter(other))


@pytest.mark.process
@kinds
def test_the_state_of_a_pass_is_enough(kind):
    stream = stream_of()
    _, adapter = passes(kind, stream, 8, state=stream.state(40))
    reading = iter(adapter)
    had = list(itertools.islice(reading, 11))
    state = json.loads(json.dumps(reading.state_dict()))
    assert len(json.dumps(state)) < 400
    _, other = passes(kind, stream, 8)
    again = iter(other)
    next(again)
    again.load_state_dict(state)
    _, whole = passes(kind, stream, 8, state=stream.state(40))
    assert had + list(again) == list(whole)


@pytest.mark.process
@kinds
@pytest.mark.parametrize("workers", [0, 2])
def test_a_state_goes_on_as_saved_whatever_the_order_of_the_domains(stateful, kind, workers):
    saved = stream_of(schedule=MixtureSchedule(MIXTURE))
    other = stream_of(schedule=MixtureSchedule(MIXTURE.align(sorted(SIZES))))
    assert items(saved) != items(other)
    loader, adapter = passes(kind, saved, 4, workers, maker=stateful)
    reading = iter(loader)
    had = [sample for _ in range(5) for sample in next(reading)]
    # By the adapter, with other ranks and batch sizes.
    for state in (loader.state_dict(), adapter.state_after(20)):
        found = [list(passes(kind, other, 3, rank=r, world_size=2, state=state)[0]) for r in range(2)]
        assert had + together(found) == items(saved)
    # By the loader, then saved again by it.
    state = loader.state_dict()
    for stream in (other, saved):
        loader, _ = passes(kind, stream, 4, workers, maker=stateful)
        loader.load_state_dict(state)
        reading = iter(loader)
        had += next(reading)
        state = loader.state_dict()
    assert had + [sample for batch in reading for sample in batch] == items(saved)


def test_a_stateful_loader_goes_on_in_the_middle_of_a_read_batch(stateful):
    stream = stream_of()
    data = loaders.StreamDataset(stream, SOURCES, batch_size=6)
    loader = stateful(data, batch_size=None)
    reading = iter(loader)
    had = [next(reading) for _ in range(8)]
    state = loader.state_dict()
    again = stateful(loaders.StreamDataset(stream, SOURCES, batch_size=6), batch_size=None)
    again.load_state_dict(state)
    assert [tuple(sample) for sample in had + list(again)] == items(stream)


@pytest.mark.parametrize("stateful_states", [False, True])
def test_killed_loaders_lose_and_repeat_nothing(stateful_states):
    if stateful_states:
        pytest.importorskip("torchdata.stateful_dataloader")
    kill_resume = pytest.importorskip("benchmarks.studies.kill_resume")
    found = kill_resume.trial(0, 2, length=240, stateful=stateful_states)
    assert found["exact"]
    assert found["killed"] >= 1
    assert stateful_states or found["state_bytes"] < 300


@pytest.mark.slow
@pytest.mark.process
def test_two_hundred_kills():
    pytest.importorskip("benchmarks.studies.kill_resume")
    # Forks of a new process take half the time of forks of this one, which holds all packages that the suite has imported.
    command = [sys.executable, "-m", "benchmarks.studies", "kill_resume"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.partition(" kills in ")[0]) >= 200


# --------------------------------------------------------------------------------------------------------------- refused


@pytest.mark.process
def test_states_of_other_streams_are_refused():
    state = stream_of().state(40)
    for kind in ("sampler", "dataset"):
        for other, what in (
            (stream_of(seed=6), "seed 5, and this sampler has seed 6"),
            (stream_of(schedule=MixtureSchedule(Mixture(list(SIZES), [0.4, 0.4, 0.2]))), "another stream"),
            (stream_of(shuffle=False), "another stream"),
            (loaders.GrainStream(MIXTURE, SIZES), "of the format"),
        ):
            _, adapter = passes(kind, other, 4)
            with pytest.raises(errors.SamplerError, match=what):
                adapter.load_state_dict(state)
            assert adapter.position == 0
        _, adapter = passes(kind, stream_of(), 4)
        with pytest.raises(errors.SamplerError, match="version 99"):
            adapter.load_state_dict({**former(state), "algorithm": 99})
        with pytest.raises(errors.SamplerError, match="no state of a stream"):
            adapter.load_state_dict({"step": 3})


@pytest.mark.process
def test_a_stateful_loader_refuses_before_the_first_batch(stateful):
    states = []
    for workers in (0, 2):
        loader, _ = passes("dataset", stream_of(), 4, workers, maker=stateful)
        next(iter(loader))
        states.append(loader.state_dict())
    alone, state = states
    for batch_size, world_size, stream in ((5, 1, stream_of()), (4, 2, stream_of()), (4, 1, stream_of(seed=1))):
        other, _ = passes("dataset", stream, batch_size, world_size=world_size, maker=stateful)
        other.load_state_dict(alone)
        with pytest.raises(errors.SamplerError, match=r"load_state_dict of the StreamDataset|has seed 1"):
            next(iter(other))
    _, adapter = passes("dataset", stream_of(), 4)
    workers = state["_snapshot"]["_worker_snapshots"]
    with pytest.raises(errors.SamplerError, match="1 of 2 workers"):
        adapter.load_state_dict(workers["worker_1"])
    with pytest.raises(errors.SamplerError, match="snapshot_every_n_steps=1"):
        adapter.load_state_dict({**state, "_steps_since_snapshot": 2})


def test_sources_that_do_not_fit_are_refused():
    stream = stream_of()
    for sources, error, what in (
        ({**SOURCES, "cod": SOURCES["code"]}, errors.AlignmentError, "Only in sources: cod"),
        ({"web": SOURCES["web"]}, errors.AlignmentError, "Only in the stream: books, code"),
        ({**SOURCES, "code": Words("code", 8)}, errors.SamplerError, r"\(code: 8 for 7\)"),
        ({**SOURCES, "code": iter([])}, errors.SamplerError, "'code' .* has no length"),
        ({**SOURCES, "code": {1, 2}}, errors.SamplerError, "'code' .* cannot be read by index"),
        ({**SOURCES, "code": Endless()}, errors.SamplerError, r"'code' \(Endless\) cannot be read by index"),
        (list(SOURCES.values()), errors.SamplerError, "must be a mapping"),
    ):
        with pytest.raises(error, match=what):
            loaders.StreamDataset(stream, sources, batch_size=4)
    with pytest.raises(errors.SamplerError, match="have a share but no samples: code"):
        MixtureSampler(MIXTURE, loaders.sizes({**SOURCES, "code": []}), seed=0)
    with pytest.raises(errors.SamplerError, match="made without sizes"):
        loaders.StreamSampler(MixtureSampler(MIXTURE, seed=0))


@pytest.mark.process
@pytest.mark.parametrize("maker", ["torch", "torchdata"])
@pytest.mark.parametrize("loader_size", [3, 8, None])
def test_a_loader_of_another_batch_size_is_refused(maker, loader_size, request):
    maker = DataLoader if maker == "torch" else request.getfixturevalue("stateful")
    stream = stream_of()
    data = loaders.StreamDataset(stream, SOURCES, batch_size=4)
    with pytest.raises(
        errors.SamplerError,
        match=f"batches of {loader_size or 1} from its workers, and this StreamDataset .* batch_size=4",
    ):
        data.check_loader(maker(data, batch_size=loader_size, num_workers=2, collate_fn=list))
    # With a single reader, the order is the same for any size.
    for workers in (0, 1):
        loader = maker(data, batch_size=loader_size, num_workers=workers, collate_fn=lambda batch: batch)
        data.check_loader(loader)
        found = list(loader) if loader_size is None else [sample for batch in loader for sample in batch]
        assert found == items(stream)


@pytest.mark.process
def test_a_loader_that_gives_batches_out_of_order_is_refused():
    data = loaders.StreamDataset(stream_of(), SOURCES, batch_size=4)
    data.check_loader(DataLoader(data, batch_size=4, num_workers=2))
    with pytest.raises(errors.SamplerError, match="in_order=False"):
        data.check_loader(DataLoader(data, batch_size=4, num_workers=2, in_order=False))


@pytest.mark.process
@pytest.mark.parametrize("maker", ["torch", "torchdata"])
def test_a_loader_made_by_the_data_set_has_its_batch_size(maker, request):
    maker = DataLoader if maker == "torch" else request.getfixturevalue("stateful")
    data = loaders.StreamDataset(stream_of(), SOURCES, batch_size=4)
    loader = data.loader(maker, num_workers=2, collate_fn=list)
    assert type(loader) is maker
    assert loader.batch_size == 4
    assert [sample for batch in loader for sample in batch] == items(data.stream)
    with pytest.raises(errors.SamplerError, match="in_order=False"):
        data.loader(num_workers=2, in_order=False)


class Packed(torch.utils.data.IterableDataset):
    """Pairs of samples, combined where they are read."""

    def __init__(self, how, data):
        self.how, self.data = how, data

    def __iter__(self):
        reading = iter(self.data)
        return self.how(zip(reading, reading, strict=False))


@pytest.mark.process
@pytest.mark.parametrize("how", [iter, lambda pairs: (pair for pair in pairs)])
def test_what_is_packed_before_the_loader_sees_it_has_no_batches_to_agree_on(how):
    stream = stream_of()
    data = Packed(how, loaders.StreamDataset(stream, SOURCES, batch_size=4))
    found = [tuple(pair) for batch in DataLoader(data, batch_size=3, num_workers=2, collate_fn=list) for pair in batch]
    assert sorted(sample for pair in found for sample in pair) == sorted(items(stream))


@pytest.mark.process
def test_single_samples_of_several_workers_come_in_order():
    stream = stream_of()
    data = loaders.StreamDataset(stream, SOURCES, batch_size=1)
    assert list(DataLoader(data, batch_size=None, num_workers=3, collate_fn=tuple)) == items(stream)


class Broken(Words):
    """A source that fails to read one of its samples."""

    def __init__(self, size, error):
        super().__init__("code", size)
        self.error = error

    def __getitem__(self, i):
        if i == 3 and self.error is not None:
            raise self.error
        return super().__getitem__(i)


class BrokenInBatches(Broken):
    """The same source, read in batches."""

    def __getitems__(self, indices):
        return [self[i] for i in indices]


@pytest.mark.parametrize("source", [Broken, BrokenInBatches])
@kinds
def test_errors_of_sources_name_what_was_read_and_skip_nothing(kind, source):
    stream = stream_of()
    broken = source(7, OSError("disk on fire"))
    sources = {**SOURCES, "code": broken}
    data = loaders.Sources(stream, sources)
    if kind == "dataset":
        reading = iter(loaders.StreamDataset(stream, sources, batch_size=4))
    else:
        reading = (data[pair] for pair in loaders.StreamSampler(stream))
    had = []
    with pytest.raises(OSError, match="disk on fire") as caught:
        had.extend(reading)
    assert "3" in caught.value.__notes__[0]
    assert "of domain 'code'" in caught.value.__notes__[0]
    if kind == "dataset":
        for _ in range(2):
            # Resuming gives the batch that failed, not the one after it.
            with pytest.raises(OSError, match="disk on fire"):
                next(reading)
        broken.error = None
        whole = items(stream)
        missing = list(reading)
        assert missing == whole[len(whole) - len(missing) :]
        assert len(missing) % 4 == len(whole) % 4
        assert len(had) <= len(whole) - len(missing) < len(had) + 4


@pytest.mark.process
@pytest.mark.parametrize("source", [Broken, BrokenInBatches])
def test_a_source_that_stops_does_not_end_the_stream(source):
    stream = MixtureSampler(Mixture(list(SIZES), [0.0, 1.0, 0.0]), SIZES, seed=5, shuffle=False)
    data = loaders.StreamDataset(stream, {**SOURCES, "code": source(7, StopIteration())}, batch_size=4)
    with pytest.raises(errors.SamplerError, match=r"StopIteration for sample .*3.* of domain 'code'"):
        list(DataLoader(data, batch_size=4, collate_fn=list))
    with pytest.raises(errors.SamplerError, match="StopIteration for sample"):
        first_of(DataLoader(data, batch_size=4, collate_fn=list, num_workers=2))


@kinds
def test_memory_maps_are_read_as_arrays_of_the_same_memory(kind, tmp_path):
    maps = {
        name: np.memmap(tmp_path / name, dtype=np.int64, mode="w+", shape=(size, 2)) for name, size in SIZES.items()
    }
    for domain, rows in enumerate(maps.values()):
        rows[:, 0], rows[:, 1] = domain, np.arange(len(rows))
    stream = stream_of()
    if kind == "dataset":
        found = list(loaders.StreamDataset(stream, maps, batch_size=4))
    else:
        found = loaders.Sources(stream, maps).__getitems__(list(loaders.StreamSampler(stream)))
    assert [(stream.domains[k], i) for k, i in np.array(found).tolist()] == items(stream)
    assert {type(row) for row in found} == {np.ndarray}
    assert all(np.shares_memory(row, maps[stream.domains[row[0]]]) for row in found[:9])


def test_sources_are_read_by_pairs_only():
    data = loaders.Sources(stream_of(), SOURCES)
    with pytest.raises(errors.SamplerError, match=r"by pairs .* got 0: give the loader a StreamSampler"):
        list(DataLoader(data, batch_size=4))
    with pytest.raises(errors.SamplerError, match="got 5"):
        data[5]


def test_impossible_ranks_and_counts_are_refused():
    stream = stream_of()
    for options, what in (
        ({"rank": 2, "world_size": 2}, "rank must be below world_size"),
        ({"rank": 0}, "both rank and world_size"),
        ({"rank": -1, "world_size": 2}, "rank must be a whole number"),
    ):
        with pytest.raises(errors.SamplerError, match=what):
            loaders.StreamSampler(stream, **options)
    with pytest.raises(errors.SamplerError, match="batch_size must be a whole number of at least 1"):
        loaders.StreamDataset(stream, SOURCES, batch_size=0)
    with pytest.raises(errors.SamplerError, match="samples is 131, and each rank has only 130"):
        loaders.StreamSampler(stream).state_after(131)


# ------------------------------------------------------------------------------------------------------------- documents


def test_documents_drawn_by_their_shares_give_the_shares_of_tokens():
    tokens = {"web": 700.0, "code": 2500.0, "books": 90_000.0}
    shares = loaders.document_shares(MIXTURE, tokens)
    given = np.array([shares.mixture[name] * tokens[name] for name in SIZES])
    np.testing.assert_allclose(given / given.sum(), MIXTURE.weights, rtol=1e-12)
    assert "Shares of documents, not of tokens" in shares.note
    # Domains without a share need no mean.
    assert loaders.document_shares(Mixture(["a", "b"], [1.0, 0.0]), {"a": 3}).mixture["a"] == 1.0
    with pytest.raises(errors.AlignmentError, match="Only in the mixture: books"):
        loaders.document_shares(MIXTURE, {"web": 1, "code": 1})
    for wrong in (0, "1K", None, float("nan")):
        with pytest.raises(errors.SamplerError, match=f"positive numbers, got code={wrong!r}"):
            loaders.document_shares(MIXTURE, tokens | {"code": wrong})
    with pytest.raises(errors.SamplerError, match="means must be a mapping from domain to number, got list"):
        loaders.document_shares(MIXTURE, [1, 2, 3])
    with pytest.raises(errors.SamplerError, match="got MixtureSchedule; convert those of a schedule one by one"):
        loaders.document_shares(SCHEDULE, tokens)
    # Totals, or means in thousands, are not means in tokens.
    for name, wrong in (("web", 3e11), ("code", 0.7)):
        with pytest.warns(errors.MixfastWarning, match=f"below 1 or above 1e.07: {name}="):
            loaders.document_shares(MIXTURE, tokens | {name: wrong})


# ------------------------------------------------------------------------------------------------------------- processes


def test_adapters_go_to_spawned_workers():
    stream = stream_of()
    data = pickle.loads(pickle.dumps(loaders.StreamDataset(stream, SOURCES, batch_size=4)))
    sampler = pickle.loads(pickle.dumps(loaders.StreamSampler(stream)))
    assert list(data) == items(stream)
    assert len(list(sampler)) == 130


@pytest.mark.process
def test_loaders_need_numpy_only():
    code = (
        "import sys; from mixfast import loaders; loaders.GrainStream({'a': 1}); "
        "assert not {'torch', 'datasets', 'numba'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_spawned_workers_know_the_ranks_of_the_process_that_starts_them(monkeypatch):
    stream = stream_of()
    data, sampler = loaders.StreamDataset(stream, SOURCES, batch_size=4), loaders.StreamSampler(stream)
    assert (data.rank, data.world_size, len(sampler)) == (0, 1, 130)
    with monkeypatch.context() as started:
        started.setattr(torch.distributed, "is_initialized", lambda: True)
        started.setattr(torch.distributed, "get_rank", lambda: 1)
        started.setattr(torch.distributed, "get_world_size", lambda: 2)
        sent = pickle.dumps((data, sampler))
        assert (data.rank, data.world_size, len(sampler)) == (1, 2, 65)
    data, sampler = pickle.loads(sent)
    assert (data.rank, data.world_size, len(sampler)) == (1, 2, 65)
    assert list(data) == items(stream)[1::2]


def test_without_torch_the_adapters_say_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "mixfast.loaders._stream_sampler", None)
    with pytest.raises(errors.BackendError, match="pip install torch"):
        loaders.StreamSampler  # noqa: B018
    with pytest.raises(AttributeError):
        loaders.Nothing  # noqa: B018
    assert "StreamSampler" in dir(loaders)
