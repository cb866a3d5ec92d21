"""A saved state resumes with the next samples or is refused, for any change of its fields and in any stream."""

import itertools
import json
import pickle
import random

import numpy as np
import pytest
from streams import SIZES, A, B, C, former, names

from mixfast import Mixture
from mixfast.errors import SamplerError
from mixfast.loaders import GrainStream, MegatronStream
from mixfast.sampler import MixtureCursor, MixtureSampler, MixtureSchedule

WEIGHTS = dict(zip(names(3), [5.0, 3.0, 1.0], strict=True))
NUMBERS = dict(zip(names(3), SIZES, strict=True))
STREAMS = {
    "sampler": MixtureSampler(MixtureSchedule(A).then(B, at=400), SIZES, seed=4, length=900),
    "endless": MixtureSampler(A, SIZES, seed=4),
    "grain": GrainStream(WEIGHTS, NUMBERS, length=900),
    "megatron": MegatronStream(WEIGHTS, 60, sizes=NUMBERS),
}
# Replacements for a field; none of them is the saved value.
WRONG = [
    None, True, False, -1, -(2**63), 2**60 + 1, 2**64, 10**30, 10**5000, 0.5, 1.0, 5.0, float("nan"), float("inf"), -0.0, "", "5", "x",
    b"5", [], [1], {}, {"a": 1}, (), ["d0"], ["d0", "d0", "d1"], ["d2", "d1", "d0"], [["d0"]], object(), 1j, np.bool_(True), np.float32(5),
    np.float64("nan"), np.int64(-3), np.zeros(3), np.array([1, 2]), np.array(True), np.array(5.0), np.array(["d0", "d1"]), np.array("d0"),
    np.datetime64("2026-01-01"), np.array(None, dtype=object), range(3), {"d0", "d1", "d2"}, "0" * 32, "0" * 16,
]  # fmt: skip


def following(stream, position, count=30):
    """Return the next samples by name."""
    end = position + count if stream.length is None else min(position + count, stream.length)
    domain, index, epoch = (column.tolist() for column in stream.positions(position, end))
    return [(stream.domains[k], i, e) for k, i, e in zip(domain, index, epoch, strict=True)]


def goes_on_with(stream, state):
    """Return the samples with which a cursor of a stream resumes from a state; None if the state is refused."""
    cursor = MixtureCursor(stream)
    try:
        cursor.load_state_dict(state)
    except SamplerError:
        return None
    return following(cursor.sampler, cursor.position)


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("earlier", [False, True])
def test_no_altered_field_leads_to_other_samples(kind, earlier):
    stream = STREAMS[kind]
    saved = former(stream.state(41)) if earlier else dict(stream.state(41))
    expected = following(stream, 41)
    assert goes_on_with(stream, saved) == expected
    for field in saved:
        assert goes_on_with(stream, {name: value for name, value in saved.items() if name != field}) in (
            [None, expected] if earlier and field == "domains" else [None]
        )
        for wrong in WRONG:
            assert goes_on_with(stream, {**saved, field: wrong}) is None, (field, wrong)
    for more in ("step", "check", "", 5, None, ("a", "b")):
        assert more in saved or goes_on_with(stream, {**saved, more: 1}) is None


@pytest.mark.parametrize("kind", STREAMS)
def test_a_position_that_was_altered_is_refused(kind):
    stream = STREAMS[kind]
    state = stream.state(41)
    for position in (0, 1, 40, 42, 60, 2**60):
        with pytest.raises(SamplerError, match=f"the state was altered after it was saved.*position {position}"):
            stream.check_state({**state, "position": position})
    with pytest.raises(SamplerError, match="the state was altered"):
        stream.check_state({**state, "check": stream.state(42)["check"]})
    # A state of an earlier release has no checksum, so it is accepted if the stream allows it.
    assert stream.check_state({**former(state), "position": 42}) == 42
    for position in (2**60 + 1, 2**62):
        with pytest.raises(SamplerError, match=r"beyond the last|past the end"):
            stream.check_state({**former(state), "position": position})


def test_fields_are_refused_by_name():
    stream = STREAMS["sampler"]
    state = stream.state(41)
    for change, message in (
        ({"position": True}, "position of the state must be a whole number of at least 0, got True"),
        ({"position": 41.0}, "position of the state must be a whole number of at least 0, got 41.0"),
        ({"position": 10**5000}, r"position of the state must be below 2\^64, got a number of 16610 bits"),
        ({"seed": "4"}, "seed of the state must be a whole number of at least 0, got '4'"),
        ({"algorithm": None}, "algorithm of the state must be a whole number"),
        ({"domains": ["a", "a"]}, "domains of the state must be a list of different names"),
        ({"history": 7}, "history of the state must be a text, got 7"),
        ({"check": 7}, "check of the state must be a text, got 7"),
        ({"step": 1}, "the state has the unknown field 'step'"),
    ):
        with pytest.raises(SamplerError, match=message):
            stream.check_state({**state, **change})
    for other in (None, [], "state", 5, {}, {"format": ["x"]}, {"format": np.arange(3)}):
        with pytest.raises(SamplerError, match="expected the state of the format 'mixfast-sampler-2', got"):
            stream.check_state(other)


@pytest.mark.parametrize("kind", STREAMS)
def test_what_a_checkpoint_makes_of_a_state_is_the_same_state(kind, tmp_path):
    stream = STREAMS[kind]
    state = dict(stream.state(41))
    np.savez(tmp_path / "state.npz", **state)
    with np.load(tmp_path / "state.npz") as arrays:
        numpy = dict(arrays)
    tuples = {name: tuple(value) if isinstance(value, list) else value for name, value in state.items()}
    scalars = {name: np.array(value)[()] for name, value in state.items()}
    small = {name: np.int16(value) if isinstance(value, int) else value for name, value in state.items()}
    for same in (json.loads(json.dumps(state)), pickle.loads(pickle.dumps(state)), numpy, tuples, scalars, small):
        assert stream.check_state(same) == 41
        assert goes_on_with(stream, same) == following(stream, 41)


def test_the_largest_seed_is_kept():
    stream = MixtureSampler(A, SIZES, seed=2**64 - 1)
    state = stream.state(2**60)
    assert stream.check_state({**state, "seed": np.uint64(2**64 - 1), "position": np.array(2**60)}) == 2**60


def family():
    """Return streams that differ in one or two of the settings that define them."""
    ramp = MixtureSchedule(A).ramp(B, start=30, stop=90)
    twice = MixtureSchedule(A).then(B, at=40).then(C, at=80)
    for schedule in (
        MixtureSchedule(A),
        MixtureSchedule(B),
        MixtureSchedule(A).then(B, at=40),
        twice,
        ramp,
        ramp.then(C, at=60),
    ):
        for sizes in (SIZES, [100, 60, 41], [9, 60, 40], None):
            for seed in (4, 5):
                yield schedule, sizes, {"seed": seed}
            yield schedule, sizes, {"seed": 4, "shuffle": False}
            if sizes is not None:
                yield schedule, sizes, {"seed": 4, "length": 70}
                for policy in ("stop", "redistribute"):
                    for epochs in (1, 2.5, {"d0": 1}, {"d0": 3, "d1": np.inf, "d2": 0.5}):
                        yield schedule, sizes, {"seed": 4, "on_exhausted": policy, "max_epochs": epochs}


@pytest.mark.filterwarnings("ignore::mixfast.errors.MixfastWarning")
def test_a_state_of_another_stream_is_taken_only_if_it_read_the_same():
    """The stream that resumes must have read the same samples before the state: all pairs of 250 streams."""
    made = [MixtureSampler(schedule, sizes, **options) for schedule, sizes, options in family()]
    read = [following(stream, 0, 120) for stream in made]
    taken = refused = 0
    for (j, one), position in itertools.product(enumerate(made), (1, 29, 41, 95)):
        if one.length is not None and position > one.length:
            continue
        state = one.state(position)
        for k, other in enumerate(made):
            try:
                found = other.check_state(state)
            except SamplerError:
                refused += 1
                # A stream itself, and one with the same samples from start to end, is never refused.
                assert j != k
                continue
            taken += 1
            assert found == position
            assert read[j][:position] == read[k][:position], (j, k, position)
    assert min(taken, refused) > 10_000


def test_parts_of_two_states_are_never_one():
    """Exchange fields of states of one family at random: an accepted state resumes as the stream that loads it."""
    rng = random.Random(0)
    states = [
        (stream, position, dict(stream.state(position)))
        for stream in (
            MixtureSampler(schedule, sizes, seed=seed)
            for schedule, sizes, seed in itertools.product(
                (A, B, MixtureSchedule(A).then(B, at=40)), (SIZES, None), (4, 5)
            )
        )
        for position in (0, 17, 40, 41, 300)
    ]
    for _ in range(4000):
        stream, _, state = rng.choice(states)
        other = rng.choice(states)[2]
        mixed = {name: rng.choice((state, other))[name] for name in state}
        found = goes_on_with(stream, mixed)
        if found is not None:
            assert mixed in (other, state)
            assert found == following(stream, mixed["position"])


def test_a_domain_that_max_epochs_leaves_out_is_read_as_often_as_without_it():
    mixture, sizes = Mixture(["a", "b"], [0.9, 0.1]), {"a": 10, "b": 100}
    for policy in ("stop", "redistribute"):
        stream = MixtureSampler(mixture, sizes, seed=0, on_exhausted=policy, max_epochs={"b": 1})
        assert stream.length == MixtureSampler(mixture, sizes, seed=0, on_exhausted=policy).length
        assert stream.counts(stream.length)[0] == 10
        for endless in (np.inf, None):
            stream = MixtureSampler(mixture, sizes, seed=0, on_exhausted=policy, max_epochs={"a": endless, "b": 1})
            assert stream.counts(800)[0] == pytest.approx(720, abs=1.5)
    # The policy of repeating needs no limits.
    assert (
        MixtureSampler(mixture, sizes, seed=0, max_epochs={"b": 1}).length
        == MixtureSampler(mixture, sizes, seed=0, max_epochs={"a": np.inf, "b": 1}).length
    )


def test_out_must_be_three_arrays():
    stream = STREAMS["sampler"]
    for out in ([[0] * 5] * 3, [np.zeros(5, np.int64)] * 2, "abc", 5, [None] * 3, [np.zeros(5)] * 3):
        with pytest.raises(SamplerError, match=r"out must be|out\.domain must be"):
            stream.positions(0, 5, out=out)
    read_only = np.zeros(5, np.int64)
    read_only.setflags(write=False)
    with pytest.raises(SamplerError, match=r"out\.domain must be"):
        stream.positions(0, 5, out=(read_only, np.zeros(5, np.int64), np.zeros(5, np.int64)))
