"""Streams in the order of other loaders: compared with the published formulas, and with the packages if installed."""

import importlib.util
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from streams import former

from mixfast import Mixture, MixtureSchedule, errors, loaders
from mixfast.loaders import _megatron
from mixfast.sampler import MixtureCursor

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

weight_lists = st.lists(st.floats(1e-4, 1e3), min_size=1, max_size=12)


def megatron_formula(weights, size, limits=None):
    """For each sample, return the first domain with the largest w max(k, 1) - count, in float64."""
    had, domain, index = [0] * len(weights), [], []
    for k in range(size):
        lack = [
            (w * float(max(k, 1)) - float(c), -i)
            for i, (w, c) in enumerate(zip(weights, had, strict=True))
            if limits is None or c < limits[i]
        ]
        best = -max(lack)[1]
        domain.append(best)
        index.append(had[best])
        had[best] += 1
    return domain, index


def grain_formula(k, proportions):
    """Return the number of samples of each domain in a prefix, by nested floors; sample k is from the domain whose number increases."""

    def counts(prefix):
        found, rest = [], sum(proportions)
        for q in proportions:
            later = (Fraction(prefix) * (rest - q) / rest).__floor__()
            found.append(prefix - later)
            prefix, rest = later, rest - q
        return found

    before, after = counts(k), counts(k + 1)
    (grown,) = [i for i in range(len(proportions)) if before[i] != after[i]]
    return grown, before[grown]


def names(count):
    return [f"d{i}" for i in range(count)]


# ---------------------------------------------------------------------------------------------------------- Megatron-LM


@pytest.fixture(params=["compiled", "plain"])
def greedy(request, monkeypatch):
    """Use the loop with Numba, and without."""
    if request.param == "compiled":
        pytest.importorskip("numba")
        return
    monkeypatch.setitem(__import__("sys").modules, "mixfast.loaders._greedy_loops", None)


@settings(max_examples=40, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@given(weights=weight_lists, size=st.integers(1, 400))
def test_megatron_is_its_formula(greedy, weights, size):
    domain, index = loaders.megatron_indices(weights, size)
    assert domain.dtype == np.int16
    assert index.dtype == np.int64
    given_ = np.array(weights)
    assert (domain.tolist(), index.tolist()) == megatron_formula((given_ / np.sum(given_)).tolist(), size)


@settings(max_examples=40, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=10))
def test_megatron_exhaustive_is_its_formula(greedy, sizes):
    domain, index = loaders.megatron_exhaustive_indices(sizes)
    assert (domain.tolist(), index.tolist()) == megatron_formula(
        [size / float(sum(sizes)) for size in sizes], sum(sizes), sizes
    )
    assert np.bincount(domain).tolist() == sizes


@pytest.fixture(scope="module")
def helpers():
    """Return Megatron-LM's compiled helpers, without the other imports of `megatron.core`."""
    try:
        spec = importlib.util.find_spec("megatron")
    except ImportError:
        spec = None
    found = [
        path
        for place in (spec.submodule_search_locations if spec else [])
        for path in Path(place).glob("core/datasets/helpers_cpp*.so")
    ]
    if not found:
        pytest.skip("megatron-core is not installed")
    spec = importlib.util.spec_from_file_location("helpers_cpp", found[0])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("count", [1, 2, 3, 24, 150])
def test_megatron_is_the_package(helpers, count):
    rng = np.random.default_rng(count)
    for concentration in (0.1, 1.0, 1e6):
        weights = rng.dirichlet(np.full(count, concentration)) + 1e-9
        size = 30_000
        domain, index = np.zeros(size, dtype=np.int16), np.zeros(size, dtype=np.int64)
        helpers.build_blending_indices(domain, index, (weights / np.sum(weights)).tolist(), count, size, False)
        found = loaders.megatron_indices(weights, size)
        np.testing.assert_array_equal(found[0], domain)
        np.testing.assert_array_equal(found[1], index)
        sizes = rng.integers(1, 2000, count)
        domain, index = np.zeros(sizes.sum(), dtype=np.int16), np.zeros(sizes.sum(), dtype=np.int64)
        helpers.build_exhaustive_blending_indices(domain, index, sizes, count)
        found = loaders.megatron_exhaustive_indices(sizes)
        np.testing.assert_array_equal(found[0], domain)
        np.testing.assert_array_equal(found[1], index)


def test_a_megatron_stream_reads_as_the_indices_say():
    weights = {"web": 7, "code": 2, "books": 1}
    stream = loaders.MegatronStream(weights, 100, sizes={"web": 71, "code": 21, "books": 11})
    domain, index = loaders.megatron_indices(list(weights.values()), 100)
    whole = stream.positions(0, 100)
    assert whole.domain.tolist() == domain.tolist()
    assert whole.index.tolist() == index.tolist()
    assert not whole.epoch.any()
    assert stream.positions(3, 90, 7).domain.tolist() == domain[3:90:7].tolist()
    assert stream[42] == (domain[42], index[42], 0)
    assert len(stream) == 100
    with pytest.raises(errors.ExhaustedError, match="sample 100 is past the end"):
        stream.positions(99, 101)


def test_an_exhaustive_megatron_stream_reads_everything_once():
    stream = loaders.MegatronStream({"web": 50, "code": 7})
    found = stream.positions(0, len(stream))
    assert sorted(zip(found.domain.tolist(), found.index.tolist(), strict=True)) == [
        *((0, i) for i in range(50)),
        *((1, i) for i in range(7)),
    ]


def test_what_megatron_would_fail_at_is_refused_before():
    with pytest.raises(errors.SamplerError, match=r"more samples than the data sets have \(code: 20 of 10\)"):
        loaders.MegatronStream({"web": 0.8, "code": 0.2}, 100, sizes={"web": 100, "code": 10})
    for wrong in (0.0, -1, "much", None):
        with pytest.raises(errors.SamplerError, match=f"positive numbers, got code={wrong!r}; leave such"):
            loaders.MegatronStream({"web": 0.8, "code": wrong}, 100)
    schedule = MixtureSchedule(Mixture(["a"], [1.0]))
    for stream in (loaders.MegatronStream, loaders.GrainStream):
        with pytest.raises(errors.SamplerError, match="one blend for the whole run; MixtureSampler takes a schedule"):
            stream(schedule, 100)
    with pytest.raises(errors.AlignmentError, match="Only in the weights: code"):
        loaders.MegatronStream({"web": 0.8, "code": 0.2}, 100, sizes={"web": 100})
    with pytest.raises(
        errors.SamplerError, match=r"size of domain 'web' must be a whole number of at least 1, got 0\.5"
    ):
        loaders.MegatronStream({"web": 0.5, "code": 3})
    with pytest.raises(errors.SamplerError, match="fewer than 32767 data sets"):
        loaders.megatron_indices(np.ones(32767), 1)
    with pytest.raises(errors.SamplerError, match="sizes must be whole numbers of at least 1"):
        loaders.megatron_exhaustive_indices([3, 0])


# ----------------------------------------------------------------------------------------------------------------- grain


@settings(max_examples=60)
@given(weights=weight_lists, start=st.integers(0, 1 << 59), step=st.integers(1, 1000))
def test_grain_is_its_formula(weights, start, step):
    stream = loaders.GrainStream(dict(zip(names(len(weights)), weights, strict=True)))
    scale = 100 / min(weights)
    proportions = [int(weight * scale) for weight in weights]
    for first in (0, start):
        found = stream.positions(first, first + 20 * step, step)
        want = [grain_formula(k, proportions) for k in range(first, first + 20 * step, step)]
        assert list(zip(found.domain.tolist(), found.index.tolist(), strict=True)) == want


@pytest.mark.parametrize("weights", [[0.3, 0.7], [1, 2, 3], [0.001, 0.5, 0.499], [1 / 3] * 3, [1e-7, 1.0]])
def test_grain_is_the_package(weights):
    grain = pytest.importorskip("grain")
    sizes = [40 + 13 * i for i in range(len(weights))]
    data = [grain.MapDataset.source([(k, i) for i in range(size)]) for k, size in enumerate(sizes)]
    mixed = grain.MapDataset.mix(data, weights=weights)
    keys = names(len(weights))
    stream = loaders.GrainStream(dict(zip(keys, weights, strict=True)), dict(zip(keys, sizes, strict=True)))
    assert len(stream) == len(mixed)
    # grain repeats the data sets themselves, so it continues beyond their ends.
    endless = grain.MapDataset.mix([each.repeat() for each in data], weights=weights)
    longer = loaders.GrainStream(stream_weights(stream), dict(zip(keys, sizes, strict=True)), length=10**12)
    for first, ours, theirs in ((0, stream, mixed), (0, longer, endless), (10**11, longer, endless)):
        last = min(first + 500, len(ours))
        found = ours.positions(first, last)
        assert list(zip(found.domain.tolist(), found.index.tolist(), strict=True)) == [
            theirs[i] for i in range(first, last)
        ]


def stream_weights(stream):
    return dict(zip(stream.domains, stream.weights, strict=True))


def test_a_prefix_of_a_grain_stream_can_wrap_within_a_domain():
    stream = loaders.GrainStream({"web": 1, "code": 1}, {"web": 3, "code": 100}, length=20)
    found = stream.positions(0, 20)
    assert found.index[found.domain == 0].tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    assert found.epoch[found.domain == 0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]


# ---------------------------------------------------------------------------------------------------------------- states


@pytest.mark.parametrize(
    "make",
    [
        lambda w: loaders.GrainStream(w, {"web": 30, "code": 30}),
        lambda w: loaders.MegatronStream(w, 30, sizes={"web": 30, "code": 30}),
    ],
)
def test_states_are_small_and_refused_elsewhere(make):
    stream = make({"web": 0.75, "code": 0.25})
    state = json.loads(json.dumps(stream.state(7)))
    assert len(json.dumps(state)) < 300
    assert make({"web": 0.75, "code": 0.25}).check_state(state) == 7
    with pytest.raises(errors.SamplerError, match="other domains, weights or sizes"):
        make({"web": 0.25, "code": 0.75}).check_state(state)
    # A run may be extended.
    assert (
        loaders.GrainStream({"a": 1}, length=10**6).check_state(loaders.GrainStream({"a": 1}, length=9).state(9)) == 9
    )
    with pytest.raises(errors.SamplerError, match="of the format"):
        stream.check_state({"format": "something"})
    with pytest.raises(errors.SamplerError, match="past the end"):
        stream.check_state({**former(state), "position": 99})


@pytest.mark.parametrize(
    "make",
    [
        lambda w: loaders.GrainStream(w, {"web": 30, "code": 30, "books": 9}),
        lambda w: loaders.GrainStream(w, length=100),
        lambda w: loaders.MegatronStream(w, 30, sizes={"web": 30, "code": 30, "books": 30}),
        lambda w: loaders.MegatronStream({name: {"web": 30, "code": 10, "books": 10}[name] for name in w}),
    ],
)
def test_a_state_goes_on_as_saved_whatever_the_order_of_the_domains(make):
    saved = make({"web": 0.5, "code": 0.25, "books": 0.25})
    other = make({"books": 0.25, "web": 0.5, "code": 0.25})
    state = json.loads(json.dumps(saved.state(7)))

    def named(stream):
        found = stream.positions(7, 25)
        return [(stream.domains[k], i) for k, i in zip(found.domain.tolist(), found.index.tolist(), strict=True)]

    assert named(other) != named(saved)
    with pytest.raises(
        errors.SamplerError, match="numbers the domains web, code, books, and this one books, web, code"
    ):
        other.check_state(state)
    assert named(other.reordered(state["domains"])) == named(saved)
    cursor = MixtureCursor(other)
    cursor.load_state_dict(state)
    assert cursor.position == 7
    assert cursor.sampler.domains == other.domains
    assert named(cursor.sampler) == named(saved)


def test_no_numba_is_no_other_stream(monkeypatch):
    pytest.importorskip("numba")
    weights = np.random.default_rng(0).dirichlet(np.ones(30))
    fast = loaders.megatron_indices(weights, 3000)
    slow = np.empty(3000, dtype=np.int16), np.empty(3000, dtype=np.int64)
    _megatron._greedy_slow(weights / np.sum(weights), np.full(30, 1 << 62), *slow)
    np.testing.assert_array_equal(fast, slow)
