"""States of the sampler, refusals, and the recorded streams."""

import hashlib
import json

import numpy as np
import pytest
from streams import SIZES, A, B, C, counted, former, mixture_of

from mixfast import Mixture
from mixfast.errors import AlignmentError, ExhaustedError, MixfastError, SamplerError
from mixfast.sampler import MixtureCursor, MixtureSampler, MixtureSchedule

# States.


def test_states_are_small_and_go_on_anywhere():
    sampler = MixtureSampler(MixtureSchedule(A).then(B, at=400), SIZES, seed=4)
    cursor = sampler.cursor()
    cursor.take(700)
    text = json.dumps(cursor.state_dict())
    assert len(text) < 300
    again = MixtureSampler(MixtureSchedule(A).then(B, at=400), SIZES, seed=4).cursor()
    again.load_state_dict(json.loads(text))
    assert again.position == 700
    np.testing.assert_array_equal(again.take(64, rank=3, world_size=8).index, sampler.positions(703, 764, 8).index)


def test_the_future_may_change_and_the_past_may_not():
    schedule = MixtureSchedule(A).then(B, at=400)
    state = MixtureSampler(schedule, SIZES, seed=4).state(500)
    new = Mixture(["d1", "new"], [0.5, 0.5])
    for other in (schedule.then(C, at=500), schedule.ramp(new, start=600, stop=900), schedule.then(A, at=1 << 40)):
        sizes = dict(zip(["d0", "d1", "d2", "new"], [*SIZES, 9], strict=True))
        assert MixtureSampler(other, sizes, seed=4).check_state(state) == 500
    changed = [
        MixtureSampler(MixtureSchedule(A).then(B, at=401), SIZES, seed=4),
        MixtureSampler(MixtureSchedule(A).then(C, at=400), SIZES, seed=4),
        MixtureSampler(schedule.then(C, at=499), SIZES, seed=4),
        MixtureSampler(A, SIZES, seed=4),
        MixtureSampler(schedule, [100, 60, 41], seed=4),
        MixtureSampler(schedule, SIZES, seed=4, shuffle=False),
        MixtureSampler(schedule, SIZES, seed=4, on_exhausted="redistribute", max_epochs={"d0": 2, "d1": 9, "d2": 99}),
        MixtureSampler(
            MixtureSchedule(Mixture(["d1", "d0", "d2"], A.weights[[1, 0, 2]])).then(B, at=400),
            [SIZES[k] for k in (1, 0, 2)],
            seed=4,
        ),
        MixtureSampler(
            MixtureSchedule(Mixture(["x", "y", "z"], A.weights)).then(B, at=400), [*SIZES, 100, 60, 40], seed=4
        ),
    ]
    for other in changed:
        with pytest.raises(SamplerError, match="sample 500 of another stream"):
            other.check_state(state)
    assert MixtureSampler(C, SIZES, seed=4).check_state(MixtureSampler(A, SIZES, seed=4).state(0)) == 0


def named(sampler, start, stop):
    """Return samples with the names of their domains."""
    found = sampler.positions(start, stop)
    return [(sampler.domains[k], i, e) for k, i, e in zip(*(column.tolist() for column in found), strict=True)]


def test_the_order_of_the_domains_decides_the_stream_and_the_state_says_so():
    one, other = Mixture(["a", "b"], [0.3, 0.7]), Mixture(["b", "a"], [0.7, 0.3])
    state = MixtureSampler(one, [9, 9], seed=0).state(5)
    assert state["domains"] == ["a", "b"]
    with pytest.raises(
        SamplerError, match=r"sample 5 of another stream: it numbers the domains a, b, and this one b, a"
    ):
        MixtureSampler(other, [9, 9], seed=0).check_state(state)
    again = MixtureSampler(other, [9, 9], seed=0).reordered(state["domains"])
    assert again.check_state(state) == 5
    assert named(again, 0, 100) == named(MixtureSampler(one, [9, 9], seed=0), 0, 100)
    assert MixtureSchedule(one) != MixtureSchedule(other)
    assert MixtureSchedule(one) == MixtureSchedule(other).reordered(["a", "b"])
    # At the start no sample has been read, so nothing has to agree.
    assert MixtureSampler(other, [9, 9], seed=0).check_state(MixtureSampler(one, [9, 9], seed=0).state(0)) == 0
    # The message names the renamed domain.
    third = MixtureSampler(Mixture(["a", "c"], [0.3, 0.7]), [9, 9], seed=0)
    with pytest.raises(
        SamplerError, match=r"sample 5 of another stream: .*Only in the state: b\. Only in this stream: c"
    ):
        third.check_state(state)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shuffle": False, "sizes": None},
        {"on_exhausted": "redistribute", "max_epochs": {"b": 3, "d": 1.5, "new": 2, "a": 30, "c": 30}},
    ],
)
def test_a_state_goes_on_as_saved_whatever_the_order_of_the_domains(options):
    # With equal shares, the order of the domains decides every tie.
    weights = {"a": 0.25, "b": 0.25, "c": 0.25, "d": 0.25}
    late = {"d": 0.3, "new": 0.3, "a": 0.2, "b": 0.1, "c": 0.1}
    sizes = {"a": 50, "b": 20, "c": 7, "d": 90, "new": 33}
    sizes = options.get("sizes", sizes)
    options = {name: value for name, value in options.items() if name != "sizes"}

    def sampler(order, late_order):
        schedule = MixtureSchedule(Mixture(order, [weights[name] for name in order]))
        return MixtureSampler(
            schedule.ramp(Mixture(late_order, [late[name] for name in late_order]), start=300, stop=400),
            sizes,
            seed=11,
            **options,
        )

    saved, other = sampler(list("abcd"), list(late)), sampler(list("dcab"), sorted(late))
    assert saved.domains != other.domains
    assert named(saved, 0, 500) != named(other, 0, 500)
    for position in (1, 250, 300, 301, 350, 450):
        cursor = other.cursor()
        cursor.load_state_dict(json.loads(json.dumps(saved.state(position))))
        assert cursor.position == position
        assert cursor.sampler.domains == other.domains
        assert cursor.sampler.sizes.tolist() == other.sizes.tolist()
        domain, index, _ = cursor.sampler[position]
        assert (other.domains[domain], index) == named(saved, position, position + 1)[0][:2]
        # Ties that no earlier sample decided follow this sampler's order: "new" is the last domain in both.
        assert named(cursor.sampler, position, 500) == named(saved, position, 500)
        # Saved again, it is the same state, from which each of the three resumes.
        state = cursor.state_dict()
        assert state == saved.state(position)
        for stream in (saved, other, cursor.sampler):
            last = MixtureCursor(stream)
            last.load_state_dict(state)
            assert named(last.sampler, position, 500) == named(saved, position, 500)
        # And back to a state in its own order.
        cursor.load_state_dict(other.state(position))
        assert cursor.sampler.domains == other.domains
        assert named(cursor.sampler, 0, 500) == named(other, 0, 500)


def test_a_schedule_whose_file_a_tool_has_sorted_goes_on():
    schedule = MixtureSchedule(Mixture(["web", "code"], [0.5, 0.5])).then(Mixture(["books", "web"], [0.5, 0.5]), at=40)
    again = MixtureSchedule.from_dict(json.loads(json.dumps(schedule.as_dict(), sort_keys=True)))
    assert (schedule.domains, again.domains) == (("web", "code", "books"), ("code", "web", "books"))
    sizes = {"web": 30, "code": 20, "books": 9}
    saved, cursor = MixtureSampler(schedule, sizes, seed=1), MixtureSampler(again, sizes, seed=1).cursor()
    cursor.load_state_dict(saved.state(45))
    assert named(cursor.sampler, 45, 200) == named(saved, 45, 200)


def test_states_of_the_first_release_have_no_names():
    sampler = MixtureSampler(A, SIZES, seed=4)
    state = former(sampler.state(10))
    assert sampler.check_state({key: value for key, value in state.items() if key != "domains"}) == 10
    for wrong in ("d0", [1, 2, 3], None):
        with pytest.raises(SamplerError, match="domains of the state must be a list of names"):
            sampler.check_state({**state, "domains": wrong})


def test_limits_that_have_not_been_reached_are_the_future():
    def limited(epochs):
        return MixtureSampler(A, SIZES, seed=4, on_exhausted="redistribute", max_epochs=epochs)

    reached = {"d0": 1, "d1": 9, "d2": 9}
    sampler = limited(reached)
    spent = int((counted(sampler.positions(0, 500).domain, 3)[:, 0] == 100).argmax()) + 1
    for epochs in ({**reached, "d1": 20}, {**reached, "d2": 7.5}):
        assert limited(epochs).check_state(sampler.state(400)) == 400
    assert MixtureSampler(A, SIZES, seed=4).check_state(sampler.state(spent)) == spent
    assert limited({**reached, "d0": 3}).check_state(sampler.state(spent)) == spent
    for other in (MixtureSampler(A, SIZES, seed=4), limited({**reached, "d0": 3}), limited({**reached, "d1": 0.5})):
        with pytest.raises(SamplerError, match="another stream"):
            other.check_state(sampler.state(spent + 1))


def test_the_state_behind_the_end_is_that_of_the_end():
    short = MixtureSampler(A, SIZES, seed=4, length=1000)
    assert short.state(1024) == short.state(1000)  # after a partial last batch
    assert MixtureSampler(A, SIZES, seed=4, length=2000).check_state(short.state(1024)) == 1000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 5}, "saved with seed 5, and this sampler has seed 4"),
        ({"algorithm": 2}, "version 2 of the algorithm, and this is version 1"),
        ({"position": -1}, "position of the state must be a whole number"),
        ({"position": 10**6}, "past the end of this stream at 1000"),
        ({"format": "other"}, "expected the state of the format 'mixfast-sampler-2', got .*'other'"),
        ({"history": None}, "history of the state must be a text, got None"),
        ({"history": "0" * 32}, "another stream"),
        (
            {"step": 3},
            "the state has the unknown field 'step'; its fields are algorithm, position, seed, domains, history",
        ),
    ],
)
def test_states_of_others_are_refused(changes, message):
    sampler = MixtureSampler(A, SIZES, seed=4, length=1000)
    with pytest.raises(SamplerError, match=message):
        sampler.check_state({**former(sampler.state(10)), **changes})
    for state in (sampler.state(10), former(sampler.state(10))):
        with pytest.raises(SamplerError, match="lacks history"):
            sampler.check_state({key: value for key, value in state.items() if key != "history"})


# Refusals.


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"mixture": {"d0": 1.0}}, SamplerError, "must be a Mixture or a MixtureSchedule, got dict"),
        ({"sizes": {"d0": 1, "d1": 2}}, AlignmentError, "sizes name different domains"),
        ({"sizes": [1, 2]}, SamplerError, "one number for each of the 3 domains"),
        ({"sizes": [100, 0, 3]}, SamplerError, "have a share but no samples: d1"),
        ({"sizes": [100, -2, 3]}, SamplerError, "d1=-2"),
        ({"sizes": [100, 2.5, 3]}, SamplerError, "whole numbers"),
        ({"sizes": [100, 2**70, 3]}, SamplerError, "whole numbers|between"),
        ({"sizes": [100, float("nan"), 3]}, SamplerError, "whole numbers"),
        ({"seed": -1}, SamplerError, "seed must be a whole number"),
        ({"seed": 1.5}, SamplerError, "seed must be a whole number"),
        ({"seed": 1 << 64}, SamplerError, r"below 2\^64"),
        ({"length": 0}, SamplerError, "length must be"),
        ({"length": (1 << 60) + 1}, SamplerError, r"at most 2\^60"),
        ({"on_exhausted": "cycle"}, SamplerError, "one of repeat, stop, redistribute"),
        ({"on_exhausted": "stop", "sizes": None}, SamplerError, "give their sizes"),
        ({"max_epochs": 0}, SamplerError, "positive numbers, got 0 for domain 'd0'"),
        ({"max_epochs": float("nan")}, SamplerError, "positive numbers"),
        ({"max_epochs": 0.001}, SamplerError, "leaves no sample of domain 'd0'"),
        ({"max_epochs": {"other": 2}}, AlignmentError, "max_epochs"),
        ({"max_epochs": [1, 2, 3]}, SamplerError, "positive numbers"),
    ],
)
def test_bad_arguments_are_refused_before_training(arguments, error, message):
    settings = {"mixture": A, "sizes": SIZES, "seed": 0, **arguments}
    with pytest.raises(error, match=message):
        MixtureSampler(settings.pop("mixture"), settings.pop("sizes"), **settings)


def saved(**entry):
    return MixtureSchedule.from_dict({"format": "mixfast-schedule-1", **entry})


def test_bad_schedules_and_samples_are_refused():
    schedule = MixtureSchedule(A).ramp(B, start=10, stop=20)
    for wrong, message in (
        (lambda: schedule.then(C, at=10), "must come after the one before it, which is at sample 10"),
        (lambda: schedule.ramp(C, start=15, stop=30), "inside the ramp of samples 10 to 20"),
        (lambda: schedule.ramp(C, start=30, stop=30), "its length must be"),
        (lambda: schedule.then(C, at=-1), "at must be a whole number"),
        (lambda: schedule.then(C, at=1 << 61), "beyond the last"),
        (lambda: schedule.then({"a": 1.0}, at=99), "changes to a Mixture, got dict"),
        (lambda: MixtureSchedule(A, sample_tokens=0), "sample_tokens"),
        (lambda: MixtureSchedule.from_dict({"format": "other"}), "mixfast-schedule-1"),
        (lambda: MixtureSchedule.from_json("web: 1"), "written as JSON, and this is not JSON"),
        (lambda: saved(changes=5), "and its changes"),
        (lambda: saved(changes=[{"start": 0}]), "has a start and a mixture"),
        (lambda: saved(changes=[{"start": 3, "mixture": {"a": 1.0}}]), "constant shares at sample 0, got .*3"),
        (
            lambda: saved(changes=[{"start": 0, "stop": 3, "mixture": {"a": 1.0}}]),
            "constant shares at sample 0, got .*stop",
        ),
        (lambda: saved(changes=[{"start": 0, "mixture": {"a": 1.0}}], sample_tokens="1k"), "sample_tokens must be"),
        (lambda: saved(changes=[{"start": False, "mixture": {"a": 1.0}}]), "start of the first change must be a whole"),
        (lambda: saved(changes=[{"start": 0.0, "mixture": {"a": 1.0}}]), "start of the first change must be a whole"),
        (
            lambda: saved(changes=[{"start": 0, "mixture": {"a": 0.4}}]),
            "the mixture of the change at 0: shares must sum",
        ),
        (
            lambda: saved(changes=[{"start": 0, "mixture": 5}]),
            "the mixture of the change at 0: shares must be a mapping",
        ),
        (lambda: saved(changes=[{"start": 0, "mixture": {"a": 1.0}, "end": 3}]), "has no field end; its fields are"),
        (lambda: saved(changes=[{"start": 0, "mixture": {"a": 1.0}}], tokens=3), "a schedule has no field tokens"),
        (lambda: MixtureSchedule.from_json('{"format": 1, "format": 2}'), "given twice: format"),
    ):
        with pytest.raises(SamplerError, match=message):
            wrong()
    sampler = MixtureSampler(A, SIZES, seed=0)
    with pytest.raises(IndexError, match="counted from 0"):
        sampler[-1]
    with pytest.raises(SamplerError, match="step must be"):
        sampler.positions(0, 10, 0)
    for wrong in (True, 5.0, np.float64(5), "5", None, slice(0, 5), [1, 2], np.array([1, 2])):
        with pytest.raises(SamplerError, match="asked for by its number"):
            sampler[wrong]
    assert sampler[np.uint8(200)] == sampler[np.int64(200)] == sampler[200]
    with pytest.raises(ExhaustedError):
        sampler.positions(0, 1 << 70)
    assert sampler.positions(7, 9, 1 << 70).index.tolist() == [sampler[7][1]]
    assert issubclass(ExhaustedError, MixfastError)


# Streams of version 1 of the algorithm. They must never change, because a saved state must find its samples again.


def test_golden_streams():
    found = MixtureSampler(A, SIZES, seed=1).positions(0, 12)
    assert found.domain.tolist() == GOLDEN["domain"]
    assert found.index.tolist() == GOLDEN["index"]
    rng = np.random.default_rng(5)
    weights = np.round(rng.dirichlet(np.full(100, 0.5)), 6) + 1e-6
    schedule = MixtureSchedule(mixture_of(weights)).ramp(mixture_of(weights[::-1]), start=3000, stop=9000)
    schedule = schedule.then(mixture_of(np.arange(1, 101)), at=12_000)
    sampler = MixtureSampler(
        schedule, np.arange(1, 101) * 7, seed=2, on_exhausted="redistribute", max_epochs=8, length=20_000
    )
    far = MixtureSampler(mixture_of([3, 2, 1]), [10**6 + 3, 2**40 + 1, 5], seed=2**64 - 1)
    streams = [*sampler.positions(0, 20_000), *far.positions(10**17, 10**17 + 2000)]
    data = b"".join(column.astype("<i8").tobytes() for column in streams)
    assert hashlib.sha256(data).hexdigest()[:16] == GOLDEN["hash"]
    assert sampler.state(15_000)["history"] == GOLDEN["history"]


GOLDEN = {
    "domain": [0, 1, 0, 1, 0, 2, 0, 1, 0, 0, 1, 0],
    "index": [19, 14, 68, 50, 21, 20, 16, 21, 43, 44, 59, 37],
    "hash": "17e247a182bc75aa",
    "history": "1a3d6037a4ecf152d9789d35b1714194",
}
