"""States of loaders and workers: whatever is changed in them, a loader continues with the next samples or refuses."""

import copy
import functools
import itertools
import json
import pickle
import random

import numpy as np
import pytest
from streams import former

from mixfast import Mixture, MixtureSampler, MixtureSchedule, errors, loaders

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:'set_vital'", "ignore:torch.distributed is disabled")

SIZES = {"web": 23, "code": 7, "books": 40}
SOURCES = {name: [f"{name} {i}" for i in range(size)] for name, size in SIZES.items()}
SCHEDULE = MixtureSchedule(Mixture(list(SIZES), [0.5, 0.3, 0.2])).then(Mixture(list(SIZES), [0.1, 0.1, 0.8]), at=60)
LENGTH = 130

# Replacements for a field; none of them is the saved value.
WRONG = [
    None, True, False, -1, -4, 2**60 + 1, 2**64, 10**30, 10**5000, 0.5, 2.0, float("nan"), float("inf"), "", "2", "x", b"2", [], [1], {},
    {"format": "mixfast-sampler-2"}, {"position": 3}, (), object(), 1j, np.bool_(True), np.float32(2), np.int64(-3), np.zeros(3),
    np.array(True), torch.tensor(True), torch.tensor(2.0), torch.tensor([1, 2]), torch.tensor(-1), torch.empty((), device="meta"),
]  # fmt: skip
NEAR = [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 16, 20, 24, 40, 60, 130, 131, 10**9]


@functools.cache
def stream_of(**options):
    return MixtureSampler(SCHEDULE, SIZES, **({"seed": 5, "length": LENGTH} | options))


def everything(stream):
    """Return all samples of a stream, read one by one: the expected result of every loader."""
    return [f"{stream.domains[k]} {i}" for k, i, _ in (stream[j] for j in range(len(stream)))]


def part_of(worker, workers, rank, world_size, batch_size, origin=0):
    """Return a worker's samples in one pass: batches worker, worker + workers, ... of its rank's samples."""
    samples = everything(stream_of())[origin:]
    mine = samples[: len(samples) // world_size * world_size][rank::world_size]
    batches = [mine[at : at + batch_size] for at in range(0, len(mine), batch_size)]
    return [sample for batch in batches[worker::workers] for sample in batch]


def reading(monkeypatch, worker=0, workers=1, rank=0, world_size=1, batch_size=4, origin=0, **options):
    """Start a worker's pass over a data set in this process."""
    data = loaders.StreamDataset(stream_of(**options), SOURCES, batch_size=batch_size, rank=rank, world_size=world_size)
    if origin:
        data.load_state_dict(data.stream.state(origin))
    info = type("Info", (), {"id": worker, "num_workers": workers, "seed": 0})
    monkeypatch.setattr(torch.utils.data, "get_worker_info", lambda: None if workers == 1 else info)
    return iter(data)


LAYOUTS = [
    {},
    {"batch_size": 3, "origin": 9},
    {"worker": 1, "workers": 3, "batch_size": 4},
    {"worker": 2, "workers": 3, "rank": 1, "world_size": 2, "batch_size": 2, "origin": 20},
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("earlier", [False, True])
def test_no_altered_field_of_a_worker_leads_to_other_samples(layout, earlier, monkeypatch):
    one = reading(monkeypatch, **layout)
    model = part_of(**{"worker": 0, "workers": 1, "rank": 0, "world_size": 1, "batch_size": 4} | layout)
    had = 0
    for step in (0, 1, 5):
        assert len(list(itertools.islice(one, step))) == step
        had += step
        state = one.state_dict()
        state = former(state) if earlier else dict(state)
        again = reading(monkeypatch, **layout)
        again.load_state_dict(state)
        assert list(again) == model[had:], "as saved"

        def goes_on_with(state):
            other = reading(monkeypatch, **layout)  # called only in this pass of the loop
            try:
                other.load_state_dict(state)
            except errors.SamplerError:
                assert list(itertools.islice(other, 9)) == model[:9]  # a refusal does not change the pass
                return None
            return list(other)

        for field in state:
            assert goes_on_with({name: value for name, value in state.items() if name != field}) is None
            for wrong in (*WRONG, *(number for number in NEAR if number != state[field])):
                assert goes_on_with({**state, field: wrong}) is None, (field, wrong)
        for field, wrong in itertools.product(state["stream"], (*WRONG, *NEAR)):
            # At sample 0 a state has no domains: it may hold an empty tuple or an empty list.
            found = goes_on_with({**state, "stream": {**state["stream"], field: wrong}})
            assert found is None or (found == model[had:] and wrong in (state["stream"][field], ())), (field, wrong)
        assert goes_on_with({**state, "step": 3}) is None
        # Origin, read and position are changed together: without a checksum, consistent changes are accepted.
        for origin, read in itertools.product(NEAR[:12], NEAR[:12]):
            if not earlier and (origin, read) != (state["origin"], state["read"]):
                assert goes_on_with({**state, "origin": origin, "read": read}) is None


def test_fields_of_a_worker_are_refused_by_name(monkeypatch):
    one = reading(monkeypatch)
    list(itertools.islice(one, 10))
    state = one.state_dict()
    for saved, change, what in (
        (state, {"origin": 3}, "the worker's state was altered after it was saved: .*origin 3, read 10"),
        (
            former(state),
            {"origin": 3},
            "contradicts itself: after 10 samples of a pass from sample 3 its stream is at sample 13",
        ),
        (former(state), {"read": 8}, "contradicts itself"),
        (state, {"read": -4}, "read of the worker's state must be a whole number of at least 0, got -4"),
        (state, {"origin": 10**30}, r"origin of the worker's state must be below 2\^64"),
        (state, {"origin": "0"}, "origin of the worker's state must be a whole number of at least 0, got '0'"),
        (state, {"workers": 0}, "workers of the worker's state must be a whole number of at least 1, got 0"),
        (former(state), {"worker": 1}, "that of worker 1 of 1, counted from 0"),
        (state, {"stream": "x"}, "stream of the worker's state must be a state, got 'x'"),
        (former(state), {"stream": {**state["stream"], "position": 1}}, "contradicts itself"),
        (state, {"stream": {"position": 10}}, "was altered after it was saved"),
        (former(state), {"stream": {"position": 10}}, "expected the state of the format 'mixfast-sampler-2'"),
        (state, {"read": None}, "lacks read"),
        (state, {"workers": None}, "lacks workers"),
    ):
        altered = {name: value for name, value in {**saved, **change}.items() if value is not None}
        with pytest.raises(errors.SamplerError, match=what):
            reading(monkeypatch).load_state_dict(altered)


def tensors(state):
    """Return a state as a checkpointer returns it that stores numbers as tensors only."""
    if isinstance(state, dict):
        return {name: tensors(value) for name, value in state.items()}
    return torch.tensor(state) if isinstance(state, int) else state


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_a_checkpoint_makes_of_a_worker_s_state_is_the_same_state(layout, monkeypatch, tmp_path):
    one = reading(monkeypatch, **layout)
    list(itertools.islice(one, 10))
    state, rest = one.state_dict(), list(one)
    torch.save(state, tmp_path / "state.pt")
    arrays = {name: value if name == "stream" else np.array(value) for name, value in state.items()}
    for same in (
        state,
        json.loads(json.dumps(state)),
        pickle.loads(pickle.dumps(state)),
        torch.load(tmp_path / "state.pt", weights_only=True),
        tensors(state),
        arrays,
        copy.deepcopy(arrays),
    ):
        again = reading(monkeypatch, **layout)
        again.load_state_dict(same)
        assert list(again) == rest
        assert again.state_dict() == one.state_dict()


def test_a_distributed_checkpoint_returns_the_same_state(tmp_path):
    checkpoint = pytest.importorskip("torch.distributed.checkpoint")
    data = loaders.StreamDataset(stream_of(), SOURCES, batch_size=4)
    one = iter(data)
    had = list(itertools.islice(one, 10))
    for name, state in (("plain", one.state_dict()), ("tensors", tensors(one.state_dict()))):
        checkpoint.save({"loader": state}, checkpoint_id=tmp_path / name, no_dist=True)
        found = {
            "loader": copy.deepcopy(iter(data).state_dict() if name == "plain" else tensors(iter(data).state_dict()))
        }
        checkpoint.load(found, checkpoint_id=tmp_path / name, no_dist=True)
        again = iter(data)
        again.load_state_dict(found["loader"])
        assert had + list(again) == everything(data.stream)
        data.load_state_dict(found)
        assert data.position == 10
        data.load_state_dict(data.stream.state(0))


@pytest.fixture
def stateful():
    return pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader


def loader_state(monkeypatch, workers, steps, batch_size=4, world_size=1, origin=0):
    """Return the state that a loader with workers saves after this many steps, nested as in torchdata."""
    snapshots = {}
    for worker in range(workers):
        one = reading(monkeypatch, worker, workers, world_size=world_size, batch_size=batch_size, origin=origin)
        list(itertools.islice(one, max(0, -(-(steps - worker) // workers)) * batch_size))
        snapshots[f"worker_{worker}"] = {
            "dataset_state": stream_of().state(origin),
            "fetcher_state": {"iter": one.state_dict()},
        }
    return {"_snapshot": {"_worker_snapshots": snapshots, "_snapshot_step": steps}, "_steps_since_snapshot": 0}


def position_of(state):
    """Return the position from which a data set resumes with the state of a loader; None if the state is refused."""
    data = loaders.StreamDataset(stream_of(), SOURCES, batch_size=4)
    try:
        data.load_state_dict(state)
    except errors.SamplerError:
        assert data.position == 0
        return None
    return data.position


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_states_of_workers_of_different_steps_are_not_one_state(workers, monkeypatch):
    """Exchange the workers' states for all pairs of steps: every accepted state belongs to one step."""
    states = [loader_state(monkeypatch, workers, steps) for steps in range(34)]
    for steps, state in enumerate(states):
        assert position_of(state) == min(4 * steps, LENGTH)
    for state, other in itertools.product(states[:6] + states[-3:], repeat=2):
        for worker in range(workers):
            mixed = copy.deepcopy(state)
            mine, theirs = (one["_snapshot"]["_worker_snapshots"] for one in (mixed, other))
            mine[f"worker_{worker}"] = theirs[f"worker_{worker}"]
            found = position_of(mixed)
            # After a step that both have in common, all workers have produced the same number of batches.
            assert found is None or any(mine == one["_snapshot"]["_worker_snapshots"] for one in states)


def test_parts_of_a_loader_s_state_are_refused_by_name(monkeypatch):
    data = loaders.StreamDataset(stream_of(), SOURCES, batch_size=4)
    state, later = loader_state(monkeypatch, 2, 5), loader_state(monkeypatch, 2, 9)
    workers = state["_snapshot"]["_worker_snapshots"]
    elsewhere = loader_state(monkeypatch, 2, 5, origin=8)["_snapshot"]["_worker_snapshots"]
    for wrong, what in (
        (
            {**workers, "worker_1": later["_snapshot"]["_worker_snapshots"]["worker_1"]},
            "from different steps: .* 3, 4 batches",
        ),
        ({**workers, "worker_1": elsewhere["worker_1"]}, r"differ in origin \(0, 8\)"),
        ({"worker_1": workers["worker_1"]}, "1 of 2 workers"),
        ({**workers, "again": workers["worker_1"]}, "3 of 2 workers"),
        ({**state, "_steps_since_snapshot": 2}, "2 steps old"),
        ({**state, "_steps_since_snapshot": np.int64(1)}, "1 step old"),
        ({**state, "_steps_since_snapshot": "x"}, "_steps_since_snapshot of the loader's state must be a whole number"),
        (
            {**state, "_steps_since_snapshot": None},
            "_steps_since_snapshot of the loader's state must be a whole number",
        ),
        ({"step": 3}, "holds no state of a stream"),
        (None, "holds no state of a stream"),
    ):
        with pytest.raises(errors.SamplerError, match=what):
            data.load_state_dict(wrong)
        assert data.position == 0
    deep = state
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(errors.SamplerError, match="nests more than 100 levels"):
        data.load_state_dict(deep)
    # An old part beside it, from another loader, is ignored.
    data.load_state_dict({"loader": state, "other": {"_steps_since_snapshot": 7, "_snapshot": {}}})
    assert data.position == 20


@pytest.mark.parametrize("kind", ["sampler", "dataset"])
def test_mutated_states_of_a_loader_go_on_or_are_refused(kind, stateful):
    """Make two thousand random changes in the state of a loader: it resumes at the saved position or says why not."""
    stream, rng = stream_of(), random.Random(1)
    data = loaders.StreamDataset(stream, SOURCES, batch_size=4)
    adapter = data if kind == "dataset" else loaders.StreamSampler(stream)
    loader = (
        data.loader(stateful)
        if kind == "dataset"
        else stateful(loaders.Sources(stream, SOURCES), batch_size=4, sampler=adapter)
    )
    going = iter(loader)
    for _ in range(5):
        next(going)
    state, taken = pickle.dumps(loader.state_dict()), 0
    for _ in range(2000):
        mutated = pickle.loads(state)
        spots = [(entry, name) for entry in _mappings(mutated) for name in entry]
        for entry, name in rng.sample(spots, rng.choice((1, 1, 2))):
            if rng.random() < 0.2:
                entry.pop(name, None)
            else:
                entry[name] = rng.choice((*WRONG, *NEAR))
        try:
            adapter.load_state_dict(mutated)
        except errors.SamplerError:
            continue
        finally:
            position = adapter.position
            adapter.load_state_dict(stream.state(0))
        assert position == 20
        taken += 1
    assert taken > 300


def _mappings(entry):
    if isinstance(entry, dict):
        yield entry
        for part in entry.values():
            yield from _mappings(part)
