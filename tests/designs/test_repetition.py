"""Pools that repeat as the target run does, and what the epochs of a design can tell."""

import numpy as np
import pytest

import mixfast
from mixfast import readers
from mixfast.designs import Design, Olmix, RegMix, design, extend, next_runs
from mixfast.designs._repetition import wear_is_told
from mixfast.errors import AlignmentError, RegionError
from mixfast.region import Region
from mixfast.sampler import MixtureSampler
from mixfast.swarm import SwarmError

TOKENS = {"web": 900_000, "code": 300_000, "books": 20_000}
TARGET, PROXY = 1_000_000, 50_000


def region(**options):
    return Region.from_tokens(TOKENS, TARGET, **options)


def target_epochs(found):
    return found.ratios * TARGET / np.array(list(TOKENS.values()))


@pytest.mark.parametrize("method", ["cover", "regmix", "olmix"])
def test_a_share_is_read_as_often_in_the_proxy_as_in_the_target_run(method):
    found = design(region(), 8, seed=0, method=method, proxy_budget=PROXY)
    assert found.pools == {"web": 45_000, "code": 15_000, "books": 1_000}
    assert found.epochs == pytest.approx(target_epochs(found), rel=1e-12)


def test_pools_are_whole_sequences_and_at_least_one():
    found = design(region(), 8, seed=0, proxy_budget=PROXY, sequence_length=512)
    assert found.pools == {"web": 45_056, "code": 14_848, "books": 1_024}
    assert found.sizes == {"web": 88, "code": 29, "books": 2}
    short = design(region(), 8, seed=0, proxy_budget=PROXY, sequence_length=2048)
    assert short.pools["books"] == 2048
    assert any("pools smaller than one sequence" in doubt and "books" in doubt for doubt in short.doubts)


def test_the_tokens_of_the_target_may_be_given_beside_a_region_without_them():
    given = design(Region(list(TOKENS)), 8, seed=0, tokens=TOKENS, target_budget=TARGET, proxy_budget=PROXY)
    assert given.pools == design(region(), 8, seed=0, proxy_budget=PROXY).pools


def test_a_sampler_over_the_pools_repeats_as_the_target_run():
    found = design(region(), 8, seed=0, proxy_budget=PROXY, sequence_length=50)
    row = int(found.epochs[:, 2].argmax())
    mixture = mixfast.Mixture(found.domains, found.ratios[row])
    sampler = MixtureSampler(mixture, found.sizes, seed=0, length=PROXY // 50)
    last = max(epoch for place in range(PROXY // 50) for domain, _, epoch in [sampler[place]] if domain == 2)
    assert last + 1 == int(np.ceil(target_epochs(found)[row, 2]))


def test_metrics_make_a_swarm_that_knows_its_epochs():
    found = design(region(), 8, seed=0, proxy_budget=PROXY)
    swarm = found.with_metrics(np.ones((8, 1)), ["loss"])
    np.testing.assert_array_equal(swarm.epochs, found.epochs)
    other = found.with_metrics(np.ones((8, 1)), ["loss"], tokens=TOKENS, budget=10_000)
    assert other.budget.tolist() == [10_000.0] * 8
    assert design(region(), 8, seed=0).with_metrics(np.ones((8, 1)), ["loss"]).epochs is None


def test_written_pools_are_token_counts(tmp_path):
    found = design(region(), 8, seed=0, proxy_budget=PROXY)
    found.save_pools(tmp_path / "pools.yaml")
    assert (tmp_path / "pools.yaml").read_text() == "web: 45000\ncode: 15000\nbooks: 1000\n"
    assert mixfast.Swarm(
        found.ratios, np.ones((8, 1)), domains=found.domains, metric_names=["loss"], runs=found.runs
    ).with_tokens(readers.token_counts(tmp_path / "pools.yaml"), PROXY).epochs == pytest.approx(found.epochs)
    with pytest.raises(RegionError, match=r"ends in \.yaml"):
        found.save_pools(tmp_path / "pools.csv")
    with pytest.raises(RegionError, match="not planned"):
        design(region(), 8, seed=0).save_pools(tmp_path / "more.yaml")


@pytest.mark.parametrize("method", ["cover", "regmix", "olmix"])
def test_every_sampler_names_domains_that_few_runs_sample(method):
    settings = {"cover": "cover", "regmix": RegMix(minimum=0.05), "olmix": Olmix(minimum=0.05)}
    found = design(
        Region(["a", "b", "c"], prior=[0.7, 0.299, 0.001], cap={"c": 1e-4}), 12, seed=0, method=settings[method]
    )
    tight = design(
        Region.from_tokens({"a": 700, "b": 300, "c": 1}, 100_000, max_epochs=1000),
        12,
        seed=0,
        method=settings[method],
        proxy_budget=100,
        sequence_length=50,
    )
    # With sequences of half a run, smaller shares are not sampled.
    assert all(count < 5 for count in tight.rare.values())
    counts = (tight.ratios >= 0.5).sum(axis=0)
    assert tight.rare == {name: counts[k] for k, name in enumerate(tight.domains) if counts[k] < 5}
    if method != "cover":
        assert found.rare == {"c": 0}


def test_a_spread_of_epochs_from_1_to_8_in_5_runs_tells_wear():
    even = np.exp(np.linspace(0.0, np.log(8.0), 40))[1:]
    assert wear_is_told(even)
    assert not wear_is_told(np.exp(np.linspace(0.0, np.log(4.0), 40)))
    assert not wear_is_told(np.array([0.5, 0.2, 1.5, 3.0, 8.0, 16.0]))
    assert not wear_is_told(np.array([0.5, 0.2, 1.0]))


def test_wear_that_the_runs_cannot_tell_is_said_with_what_to_do():
    short = design(region(), 12, seed=0, proxy_budget=PROXY)
    (doubt,) = short.doubts
    # At 3.3 and 1.1 epochs alone, the wear of code and web is too small to matter.
    assert "books (at most 4 epochs" in doubt
    assert "code" not in doubt
    assert "max_epochs=16" in doubt
    assert doubt in short.summary()
    assert "Add runs, or allow more epochs" in doubt
    assert design(region(max_epochs=16), 12, seed=0, proxy_budget=PROXY).doubts == ()
    # More epochs than these change nothing.
    (doubt,) = design(region(max_epochs=16), 4, seed=0, proxy_budget=PROXY).doubts
    assert doubt.endswith("Add runs whose shares of these domains differ more.")


def test_unplanned_pools_are_said_only_if_the_target_may_repeat():
    (doubt,) = design(region(), 12, seed=0).doubts
    assert "proxy_budget" in doubt
    assert design(region(max_epochs=1), 12, seed=0).doubts == ()
    assert design(Region(list(TOKENS)), 12, seed=0).doubts == ()


def test_existing_runs_that_repeat_nothing_are_named():
    first = design(region(max_epochs=16), 12, seed=0)
    large = {name: 100 * count for name, count in TOKENS.items()}
    unmatched = first.with_metrics(np.ones((12, 1)), ["loss"], tokens=large, budget=PROXY)
    more = extend(unmatched, region(max_epochs=16), 12, seed=0, proxy_budget=PROXY)
    assert "the existing runs repeat nothing" in "".join(more.doubts)
    matched = design(region(max_epochs=16), 12, seed=0, proxy_budget=PROXY).with_metrics(np.ones((12, 1)), ["loss"])
    assert extend(matched, region(max_epochs=16), 12, seed=0, proxy_budget=PROXY).doubts == ()
    half = first.with_metrics(
        np.ones((12, 1)), ["loss"], tokens={name: count // 40 for name, count in TOKENS.items()}, budget=PROXY
    )
    assert "more or less often" in "".join(extend(half, region(max_epochs=16), 12, seed=0, proxy_budget=PROXY).doubts)


def test_the_next_runs_read_the_pools_of_the_runs_before_them():
    found = design(region(max_epochs=16), 16, seed=0, proxy_budget=PROXY)
    values = np.exp(found.ratios @ [[-0.4], [-0.8], [0.3]]) + 1
    swarm = found.with_metrics(values, ["loss"])
    law = mixfast.fit(swarm, "log_linear", folds=0)
    following = next_runs(swarm, law, region(max_epochs=16), 2).design
    assert following.pools == found.pools
    assert following.budget == PROXY
    assert following.epochs == pytest.approx(target_epochs(following))
    planned = next_runs(swarm, law, region(max_epochs=16), 2, proxy_budget=2 * PROXY).design
    assert planned.pools == {name: 2 * size for name, size in found.pools.items()}


def test_a_design_keeps_its_pools_through_pickling():
    import pickle

    found = design(region(), 8, seed=0, proxy_budget=PROXY)
    again = pickle.loads(pickle.dumps(found))
    assert again == found
    assert again.pools == found.pools


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"proxy_budget": PROXY, "tokens": TOKENS}, RegionError, "leave out tokens and target_budget"),
        ({"proxy_budget": 2 * TARGET}, RegionError, "more than the 1,000,000 of the target run"),
        ({"proxy_budget": 0}, RegionError, "at least 1, got 0"),
        ({"proxy_budget": "1K"}, RegionError, "whole number of tokens"),
        ({"proxy_budget": PROXY, "sequence_length": 2 * PROXY}, RegionError, "longer than a proxy run"),
        ({"sequence_length": 8}, RegionError, "need proxy_budget|needs? proxy_budget"),
        ({"proxy_budget": PROXY, "method": Olmix(proxy_tokens=100)}, RegionError, "leave out one of them"),
    ],
)
def test_errors_say_what_to_give(options, kind, words):
    with pytest.raises(kind, match=words):
        design(region(), 8, seed=0, **options)


def test_tokens_are_aligned_by_name_and_complete():
    bare = Region(["code", "web", "books"])
    assert design(bare, 8, seed=0, tokens=TOKENS, target_budget=TARGET, proxy_budget=PROXY).pools == {
        "code": 15_000, "web": 45_000, "books": 1_000,
    }  # fmt: skip
    with pytest.raises(AlignmentError):
        design(bare, 8, seed=0, tokens={"web": 1}, target_budget=TARGET, proxy_budget=PROXY)
    with pytest.raises(RegionError, match="together"):
        design(bare, 8, seed=0, tokens=TOKENS, proxy_budget=PROXY)
    with pytest.raises(RegionError, match="tokens and target_budget, or a region"):
        design(bare, 8, seed=0, proxy_budget=PROXY)


def test_mixtures_of_a_file_have_no_pools(tmp_path):
    design(region(), 8, seed=0, proxy_budget=PROXY).to_csv(tmp_path / "runs.csv")
    again = Design.from_csv(tmp_path / "runs.csv")
    assert again.pools is None
    assert again.epochs is None


@pytest.mark.parametrize("method", ["cover", "regmix", "olmix"])
def test_repeats_are_runs_of_the_centre_from_which_the_noise_is_known(method):
    region = Region.from_tokens({"web": 900, "code": 300, "books": 40}, 1000)
    found = design(region, 12, seed=0, method=method, repeats=3)
    assert found.repeats == ("0", "1", "2")
    assert (found.ratios[:3] == found.ratios[0]).all()
    assert found.ratios[0] == pytest.approx(region.prior)
    assert found.different == 10
    swarm = found.with_metrics(np.random.default_rng(0).normal(size=(12, 1)), ["loss"])
    assert swarm.noise.repeats == (found.repeats,)
    assert len(design(region, seed=0, method=method, repeats=3)) == found.advised + 2
    assert design(region, 12, seed=0, method=method).repeats == ()


def test_repeats_keep_limits_and_frozen_ratios_and_follow_existing_runs():
    region = Region(["web", "code", "books"], prior=[0.8, 0.1, 0.1], cap={"web": 0.5}, bounds=[(["code"], 0.3, None)])
    found = design(region, 6, seed=0, repeats=2, frozen={"old": {"web": 0.75, "books": 0.25}})
    assert region.contains(dict(zip(found.domains, found.ratios[0], strict=True)))
    assert found.ratios[0, 0] == pytest.approx(3 * found.ratios[0, 2])
    more = extend(found, region, 5, seed=0, repeats=2)
    assert more.runs == ("6", "7", "8", "9", "10")
    assert more.repeats == ("6", "7")


@pytest.mark.parametrize(
    ("repeats", "said"), [(1, "at least 2"), (-1, "at least 2"), (2.0, "at least 2"), (6, "none of another mixture")]
)
def test_repeats_that_tell_no_noise_or_nothing_else_are_refused(repeats, said):
    with pytest.raises(RegionError, match=said):
        design(Region(["web", "code"]), 6, seed=0, repeats=repeats)


def test_existing_runs_from_a_file_may_say_what_they_read(tmp_path):
    path = tmp_path / "ratios.csv"
    first = design(Region.from_tokens({"web": 900, "code": 300}, 1000), 8, seed=0, proxy_budget=100)
    first.to_csv(path)
    again = Design.from_csv(path, tokens={"web": 90, "code": 30, "books": 5}, budget=100)
    assert again.epochs == pytest.approx(first.epochs)
    assert Design.from_csv(path).epochs is None
    with pytest.raises(SwarmError, match="budget"):
        Design.from_csv(path, tokens={"web": 90, "code": 30})
