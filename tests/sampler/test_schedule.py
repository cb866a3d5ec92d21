"""Schedules of the sampler, and limits of repetition."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import SIZES, A, B, C, assert_one_stream, counted, mixture_of

from mixfast import Mixture
from mixfast.errors import ExhaustedError, MixfastWarning, SamplerError
from mixfast.sampler import MixtureSampler, MixtureSchedule


def exact_counts(schedule, length):
    """Return the exact number of samples of each domain up to and including each sample (n, K), in float64: the shares summed."""
    domains = schedule.domains
    share = np.zeros((length, len(domains)))
    last = np.zeros(len(domains))
    for change in schedule.changes:
        now = np.array([change.mixture.get(name, 0.0) for name in domains])
        share[change.start :] = now
        if change.stop is not None:
            passed = (np.arange(change.stop - change.start) + 0.5) / (change.stop - change.start)
            line = last + passed[:, None] * (now - last)
            share[change.start : change.stop] = line[: max(0, length - change.start)]
        last = now
    return np.cumsum(share, axis=0)


def off(schedule, length):
    found = MixtureSampler(schedule, seed=0).positions(0, length)
    return counted(found.domain, len(schedule.domains)) - exact_counts(schedule, length)


# Schedules.


@st.composite
def schedules(draw):
    domains = draw(st.integers(2, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))

    def mixture():
        weights = rng.dirichlet(np.full(domains, draw(st.sampled_from([0.2, 0.5, 2.0])))) + 1e-9
        weights[rng.random(domains) < draw(st.sampled_from([0.0, 0.2]))] = 0.0
        return mixture_of(weights if weights.any() else np.ones(domains))

    schedule, at = MixtureSchedule(mixture()), 0
    for _ in range(draw(st.integers(0, 4))):
        at += draw(st.integers(1, 2000))
        if draw(st.booleans()):
            schedule = schedule.then(mixture(), at=at)
        else:
            stop = at + draw(st.integers(1, 2000))
            schedule, at = schedule.ramp(mixture(), start=at, stop=stop), stop
    return schedule, at + 1500


@given(schedules(), st.data())
@settings(max_examples=60)
def test_all_ways_to_ask_agree_across_changes(case, data):
    schedule, length = case
    domains = len(schedule.domains)
    sampler = MixtureSampler(schedule, np.arange(1, domains + 1) * 5, seed=1)
    found = sampler.positions(0, length)
    count = counted(found.domain, domains)
    had = count[np.arange(length), found.domain] - 1
    np.testing.assert_array_equal(
        found.epoch, had // (5 * (found.domain + 1))
    )  # no sample lost, none repeated too early
    near = [at for change in schedule.changes for at in (change.start - 1, change.start, change.start + 1) if at >= 0]
    points = [data.draw(st.integers(0, length - 1)) for _ in range(4)] + near
    assert_one_stream(sampler, found, 0, points)
    for i in points:
        np.testing.assert_array_equal(sampler.counts(i), count[i - 1] if i else np.zeros(domains))
        assert sampler[i] == tuple(int(column[i]) for column in found)
    for k, (name, at) in enumerate(sampler.first_samples().items()):
        seen = np.flatnonzero(found.domain == k)
        assert at == seen[0] if len(seen) else at is None or at >= length, name


def test_changes_do_not_add_up():
    rng = np.random.default_rng(1)
    worst = []
    for _ in range(40):
        domains = int(rng.integers(2, 30))
        schedule = MixtureSchedule(mixture_of(rng.dirichlet(np.ones(domains))))
        for j in range(1, 12):
            schedule = schedule.then(mixture_of(rng.dirichlet(np.ones(domains))), at=300 * j + int(rng.integers(200)))
        worst.append(np.abs(off(schedule, 6000)).max(axis=1))
    worst = np.array(worst)
    assert (worst.max(axis=1) < 1.5).mean() > 0.8
    assert worst.max() < 2.5
    assert worst[:, 5500:].max() < 1.5  # long after the last change


def test_no_stream_keeps_1_5_at_changes_it_does_not_know():
    """Each sampled domain loses its share at once: the last of 8 domains is behind by 1/8 + 1/7 + ... + 1/2 in any order."""
    left = [f"d{k}" for k in range(8)]
    schedule = MixtureSchedule(mixture_of(np.ones(8)))
    for sample in range(6):
        left.remove(schedule.domains[MixtureSampler(schedule, seed=0)[sample][0]])
        schedule = schedule.then(Mixture(left, np.full(len(left), 1 / len(left))), at=sample + 1)
    assert abs(np.abs(off(schedule, 7)[-1]).max() - sum(1 / j for j in range(2, 9))) < 1e-9


def test_a_domain_that_all_know_of_from_the_start_keeps_1_5_after_a_change_of_one():
    schedule = MixtureSchedule(A).then(B, at=1001).then(C, at=5003)
    assert np.abs(off(schedule, 20_000)).max() < 1.5


@pytest.mark.parametrize("length", [1, 2, 3, 10, 1000, 100_000])
def test_ramps_are_straight(length):
    for first, last in ((A, B), (Mixture(["d0", "d1"], [1.0, 0.0]), Mixture(["d0", "d1"], [0.0, 1.0]))):
        schedule = MixtureSchedule(first).ramp(last, start=50, stop=50 + length)
        assert np.abs(off(schedule, length + 2000)).max() < 1.75


def test_a_ramp_of_many_samples_ends_on_its_exact_counts():
    stop = 10 + (1 << 34)
    schedule = MixtureSchedule(A).ramp(B, start=10, stop=stop).then(A, at=stop + 5)
    sampler = MixtureSampler(schedule, SIZES, seed=0)
    mean = (A.weights + B.weights) / 2
    np.testing.assert_allclose(sampler.counts(stop), 10 * A.weights + mean * (stop - 10), atol=1.75, rtol=0)
    middle = (stop - 10) // 2
    exact = 10 * A.weights + (0.75 * A.weights + 0.25 * B.weights) * middle
    np.testing.assert_allclose(sampler.counts(10 + middle), exact, atol=1.75, rtol=0)
    for start in (middle, stop - 300):
        assert_one_stream(sampler, sampler.positions(start, start + 600), start, [start, start + 299, start + 301])
    with pytest.raises(SamplerError, match=r"between 1 and 2\^36"):
        MixtureSchedule(A).ramp(B, start=0, stop=(1 << 36) + 1)


def test_tokens_are_turned_into_the_first_sample_behind_them():
    schedule = MixtureSchedule(A, sample_tokens=1024).then(B, at=1024 * 7 + 1).ramp(C, start=1024 * 9, stop=20_000)
    assert [(change.start, change.stop) for change in schedule.changes] == [(0, None), (8, None), (9, 20)]
    assert MixtureSchedule.from_json(schedule.to_json()) == schedule
    plain = MixtureSchedule(A).then(B, at=8).ramp(C, start=9, stop=20)
    np.testing.assert_array_equal(
        MixtureSampler(plain, seed=0).positions(0, 99).domain, MixtureSampler(schedule, seed=0).positions(0, 99).domain
    )
    assert plain.at(8) == B
    assert plain.at(20) == C


def test_a_change_leaves_what_comes_before_it_alone():
    whole = MixtureSampler(A, SIZES, seed=0).positions(0, 3000)
    ramp = MixtureSampler(MixtureSchedule(A).ramp(B, start=500, stop=2500), SIZES, seed=0).positions(0, 3000)
    for schedule, other, same in (
        (MixtureSchedule(A).then(B, at=1000), whole, 1000),
        (MixtureSchedule(A).ramp(C, start=777, stop=1000), whole, 777),
        (MixtureSchedule(A).then(Mixture(["d0", "new"], [0.5, 0.5]), at=999), whole, 999),
        (MixtureSchedule(A).ramp(B, start=500, stop=2500).then(C, at=1600), ramp, 1600),
    ):
        found = MixtureSampler(schedule, dict(zip(["d0", "d1", "d2", "new"], [*SIZES, 9], strict=True)), seed=0)
        for column, before in zip(found.positions(0, 3000), other, strict=True):
            np.testing.assert_array_equal(column[:same], before[:same])
            assert (column[same:] != before[same:]).any()


def test_a_ramp_may_begin_with_the_first_sample_or_where_shares_jump():
    schedule = MixtureSchedule(A).ramp(B, start=0, stop=1000).then(C, at=1500).ramp(A, start=1500, stop=2500)
    assert np.abs(off(schedule, 4000)).max() < 1.75
    assert MixtureSchedule.from_json(schedule.to_json()) == schedule
    assert schedule.at(0) == A
    assert schedule.at(1500) == C
    sampler = MixtureSampler(schedule, SIZES, seed=1)
    assert_one_stream(sampler, sampler.positions(0, 3000), 0, [0, 1, 500, 999, 1499, 1500, 1501, 2499])
    for wrong in (
        lambda: schedule.then(B, at=1500),
        lambda: MixtureSchedule(A).then(B, at=0),
        lambda: MixtureSchedule(A).ramp(B, start=0, stop=9).ramp(C, start=0, stop=9),
    ):
        with pytest.raises(SamplerError, match=r"must come after|inside the ramp"):
            wrong()


def test_a_share_of_next_to_nothing_on_a_ramp():
    """The domain is still owed a sample, and gets it on a ramp on which its share is 1e-17."""

    def mixture(*weights):
        return Mixture(["a", "b", "c", "z"], np.array(weights) / sum(weights))

    tiny = 1e-17
    schedule = MixtureSchedule(mixture(0.6, 0.12, 0.09, 0.19)).then(mixture(0.15, 0.03, 0.21, tiny), at=3)
    schedule = schedule.ramp(mixture(0.23, 0.45, 0.13, tiny), start=5, stop=33)
    schedule = schedule.then(mixture(0.27, 0.08, 0.3, 0.35), at=63)
    found = MixtureSampler(schedule, seed=0).positions(0, 63).domain
    assert found[5] == 3
    assert MixtureSampler(schedule, seed=0).first_samples()["z"] == 5
    epochs = {name: 1 if name == "z" else None for name in schedule.domains}
    limited = MixtureSampler(schedule, [99, 99, 99, 1], seed=0, on_exhausted="redistribute", max_epochs=epochs)
    assert (limited.positions(6, 500).domain != 3).all()


def test_nothing_is_worked_off_where_that_comes_after_the_last_sample():
    nothing = 2.0**-61
    schedule = MixtureSchedule(mixture_of([3, 3, 3, 8])).then(mixture_of([nothing, nothing, 1.0, nothing]), at=2)
    sampler = MixtureSampler(schedule, seed=0)
    assert sampler.positions(2, 1000).domain.tolist() == [2] * 998
    assert sampler.counts(1 << 60).sum() == 1 << 60


@given(st.integers(0, 2**32))
@settings(max_examples=80)
def test_changes_far_out_and_shares_that_are_nearly_nothing(seed):
    rng = np.random.default_rng(seed)
    domains = int(rng.choice([2, 3, 7, 30]))

    def mixture():
        weights = rng.dirichlet(np.full(domains, rng.choice([0.05, 0.3, 1, 10])))
        weights[rng.random(domains) < rng.choice([0, 0.3])] = 0
        weights[rng.integers(domains)] = rng.choice([5e-324, 2**-62.0, 3 * 2**-62.0, 1e-17, 1e-12, 0.5])
        return mixture_of(weights if weights.sum() > 1e-3 else np.ones(domains))

    def far():
        return int(2 ** rng.uniform(0, rng.choice([10, 36, 59])))

    schedule, at = MixtureSchedule(mixture()), 0
    for _ in range(rng.integers(0, 4)):
        start, length = at + far(), min(far(), 1 << 36)
        if start + length >= 1 << 60:
            break
        at = start + length
        ramp = rng.random() < 0.5
        schedule = schedule.ramp(mixture(), start=start, stop=at) if ramp else schedule.then(mixture(), at=at)
    sizes = [int(2 ** rng.uniform(0, 60)) for _ in range(domains)]
    policy = str(rng.choice(["repeat", "stop", "redistribute"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixfastWarning)
        sampler = MixtureSampler(schedule, sizes, seed=seed, on_exhausted=policy)
    end = 1 << 60 if sampler.length is None else sampler.length
    last = sampler.counts(end)
    assert last.sum() == end
    assert policy == "repeat" or (last <= sizes).all()
    for name, first in sampler.first_samples().items():
        k = schedule.domains.index(name)
        assert last[k] == 0 if first is None else (sampler[first][0] == k and sampler.counts(first)[k] == 0)
    for near in {0, end, *(c.start for c in schedule.changes), *(c.stop or 0 for c in schedule.changes)}:
        start, stop = max(0, min(near, end) - 20), min(near + 20, end)
        found = sampler.positions(start, stop)
        for j, i in enumerate(range(start, stop)):
            assert sampler[i] == tuple(int(column[j]) for column in found)
        count = sampler.counts(start) + np.bincount(found.domain, minlength=domains)
        np.testing.assert_array_equal(count, sampler.counts(stop))


# Limits of repetition.


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(
    "schedule", [MixtureSchedule(A), MixtureSchedule(A).ramp(B, start=40, stop=260).then(C, at=300)]
)
@pytest.mark.parametrize("epochs", [1, 2.5, {"d0": 3, "d1": None, "d2": 1.0}])
def test_limits_are_kept_to_the_sample(schedule, epochs, shuffle):
    caps = [
        int(size * ((epochs[f"d{k}"] or 1e9) if isinstance(epochs, dict) else epochs)) for k, size in enumerate(SIZES)
    ]
    free = MixtureSampler(schedule, SIZES, seed=2, shuffle=shuffle).positions(0, 2000)
    end = int((counted(free.domain, 3) > caps).any(axis=1).argmax())
    spent = int(free.domain[end])
    stop = MixtureSampler(schedule, SIZES, seed=2, shuffle=shuffle, on_exhausted="stop", max_epochs=epochs)
    assert len(stop) == end
    for column, other in zip(stop.positions(0, end), free, strict=True):
        np.testing.assert_array_equal(column, other[:end])
    with pytest.raises(ExhaustedError, match=rf"at sample {end} domain 'd{spent}' .* its limit of {caps[spent]}"):
        stop[end]
    repeat = {"seed": 2, "shuffle": shuffle, "max_epochs": epochs}
    assert MixtureSampler(schedule, SIZES, length=end, **repeat).length == end
    with pytest.raises(
        SamplerError, match=rf"at sample {end} domain 'd{spent}' .* limit of {caps[spent]} samples; the run has"
    ):
        MixtureSampler(schedule, SIZES, length=end + 1, **repeat)
    # The other domains continue.
    length = None if not isinstance(epochs, dict) else 1500
    on = MixtureSampler(
        schedule, SIZES, seed=2, shuffle=shuffle, on_exhausted="redistribute", max_epochs=epochs, length=length
    )
    assert len(on) == (sum(caps) if length is None else length)
    found = on.positions(0, len(on))
    count = counted(found.domain, 3)
    assert (count <= caps).all()
    used = np.flatnonzero(count[-1] == caps)
    assert len(used) == (3 if length is None else 2)
    first = min(int((count[:, k] == caps[k]).argmax()) for k in used) + 1
    for column, other in zip(found, free, strict=True):
        np.testing.assert_array_equal(column[:first], other[:first])
    assert_one_stream(on, found, 0, [0, first - 1, first, first + 1, len(on) // 2])


def test_limits_are_read_as_they_are_written():
    sizes = [10, 10**9, 10**9]
    for epochs, cap in ((2.3, 23), (0.3, 3), (1.1, 11), (0.99, 9), (10**400, None), (np.float32("inf"), None)):
        sampler = MixtureSampler(A, sizes, seed=0, on_exhausted="redistribute", max_epochs={"d0": epochs})
        assert sampler.counts(10**6)[0] == cap or cap is None


def test_what_a_spent_domain_leaves_goes_to_the_others_by_their_shares():
    sampler = MixtureSampler(mixture_of([6, 3, 1]), [600, 10**6, 10**6], seed=0, on_exhausted="redistribute")
    count = counted(sampler.positions(0, 9000).domain, 3)
    spent = int((count[:, 0] == 600).argmax()) + 1
    rest = np.arange(1, 9001 - spent)[:, None] * np.array([0.75, 0.25])
    assert np.abs(count[spent:, 1:] - count[spent - 1, 1:] - rest).max() < 3.0
    assert (count[spent:, 0] == 600).all()
    assert np.abs(count[-1, 1:] - count[spent - 1, 1:] - rest[-1]).max() < 1.5


def test_the_run_is_too_long_for_all_domains_together():
    with pytest.raises(SamplerError, match="at sample 200 all domains with a share have been read"):
        MixtureSampler(A, SIZES, seed=0, on_exhausted="redistribute", length=201)
    assert len(MixtureSampler(A, SIZES, seed=0, on_exhausted="redistribute", length=200)) == 200


def test_a_domain_that_comes_too_late_is_named():
    mixture = Mixture(["web", "rare"], [1 - 1e-6, 1e-6])
    with pytest.warns(MixfastWarning, match="the 1000 samples of the run contain no sample of these domains: rare"):
        late = MixtureSampler(mixture, seed=0, length=1000)
    assert late.first_samples() == {"web": 0, "rare": None}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        enough = MixtureSampler(mixture, seed=0, length=1_000_000)
        first = enough.first_samples()["rare"]
        assert enough[first][:2] == (1, 0)
        MixtureSampler(Mixture(["web", "none"], [1.0, 0.0]), seed=0, length=9)  # no sample of it is expected
    schedule = MixtureSchedule(Mixture(["web"], [1.0])).then(Mixture(["late"], [1.0]), at=30)
    with pytest.warns(MixfastWarning, match="the 20 samples of the run contain no sample of these domains: late"):
        MixtureSampler(schedule, [20, 20], seed=0, on_exhausted="stop")
    with pytest.warns(
        MixfastWarning, match=r"2\^60 samples that can be counted contain no sample of these domains: none"
    ):
        MixtureSampler(Mixture(["web", "none"], [1.0, 1e-19]), seed=0)
