"""Designs: positions of mixtures, exactness, coverage, and RegMix's sampler sample by sample."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mixfast import designs
from mixfast.designs import Design, Olmix, RegMix, advised_runs, design, extend
from mixfast.errors import AlignmentError, InfeasibleError, MixfastError, RegionError
from mixfast.region import Region
from mixfast.swarm import Swarm

pytest.importorskip("numba")

NAMES = [f"d{k:02}" for k in range(24)]
PILE = {
    "arxiv": 0.113285273, "freelaw": 0.079608651, "nih_exporter": 0.003913491, "pubmed_central": 0.185375901,
    "wikipedia_en": 0.051081359, "dm_mathematics": 0.015962925, "github": 0.101750772, "philpapers": 0.003707518,
    "stackexchange": 0.066529351, "enron": 0.001750772, "gutenberg": 0.027085479, "pile_cc": 0.236869207,
    "ubuntu_irc": 0.01184346, "europarl": 0.007929969, "hackernews": 0.008032956, "pubmed_abstracts": 0.038825953,
    "uspto": 0.046446962,
}  # fmt: skip


def pile():
    return Region(PILE, prior=PILE)


def tight(slack, size=64):
    """Return caps slightly above a mixture, so that about slack^(size-1) of the simplex remains."""
    shares = np.random.default_rng(3).dirichlet(np.ones(size))
    return Region([f"t{k}" for k in range(size)], prior=shares, cap=shares * (1.0 + slack))


def check(rows, region):
    assert [math.fsum(row) for row in rows] == [1.0] * len(rows)
    # Caps that sum to 1 only up to rounding can be satisfied only up to rounding.
    slack = 1e-14 if math.fsum(region.cap) < 1.0 + 1e-12 else 0.0
    assert (rows >= region.floor - slack).all()
    assert (rows <= region.cap + slack).all()
    for row in rows:
        assert region.violation(row) <= 1e-12


def closest(rows):
    """Return the smallest Hellinger distance between two rows."""
    roots = np.sqrt(rows)
    squares = 2.0 - 2.0 * roots @ roots.T
    return math.sqrt(max(squares[np.triu_indices(len(rows), 1)].min(), 0.0))


# Our samplers.


@pytest.mark.parametrize(
    "region",
    [
        Region(NAMES),
        Region(NAMES, prior=np.arange(1, 25), cap=0.2, floor={"d03": 0.1}),
        Region(NAMES, cap={"d00": 0.0, "d01": 1e-6}),
        Region(NAMES, cap=1 / 24),
        Region(NAMES, bounds={("d00", "d01", "d02"): (0.3, 0.5), "even": (NAMES[::2], None, 0.6)}),
        tight(0.01),
        Region(["alone"]),
    ],
    ids=["free", "caps", "shut", "point", "bounds", "tight", "one"],
)
def test_every_mixture_lies_in_the_region_and_sums_to_one(region):
    found = design(region, 30, seed=1)
    assert found.ratios.shape == (30, region.n_domains)
    assert found.domains == region.domains
    check(found.ratios, region)
    assert not found.ratios.flags.writeable


def test_the_seed_decides():
    region = Region(NAMES, cap=0.3)
    one, same, other = (design(region, 20, seed=seed).ratios for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.01


def test_the_first_run_is_the_prior_where_it_is_allowed():
    region = pile()
    np.testing.assert_allclose(design(region, 5, seed=0).ratios[0], region.prior, atol=1e-5)


def test_a_cover_is_spread_wider_than_draws():
    region = pile()
    ours = design(region, 64, seed=0).ratios
    drawn = design(region, 64, seed=0, method="regmix").ratios
    uniform = np.random.default_rng(0).dirichlet(np.ones(17), 64)
    assert closest(ours) > 1.5 * closest(drawn / drawn.sum(axis=1, keepdims=True))
    assert closest(ours) > 1.5 * closest(uniform)
    assert np.linalg.matrix_rank(ours) == 17


def test_ten_thousand_mixtures_within_caps_that_leave_next_to_nothing():
    for slack in (1.0, 0.3, 1e-3):
        region = tight(slack)
        # Shares of a uniform mixture are negatively associated, so the probability that all satisfy their caps is below this. A sampler that
        # rejects would never finish.
        assert np.prod(1.0 - (1.0 - region.cap) ** 63) < 1e-9
        found = design(region, 10_000, seed=0).ratios
        assert [math.fsum(row) for row in found] == [1.0] * 10_000
        assert (found <= region.cap).all()


# Frozen groups.


@pytest.mark.parametrize("seed", range(3))
def test_frozen_ratios_hold(seed):
    rng = np.random.default_rng(seed)
    old = dict(zip(NAMES[:20], rng.dirichlet(np.ones(20)), strict=True))
    region = Region(NAMES, cap={NAMES[0]: 0.5 * old[NAMES[0]], NAMES[22]: 0.5}, floor={NAMES[5]: 0.3 * old[NAMES[5]]})
    found = design(region, 40, seed=seed, frozen={"old": old}).ratios
    check(found, region)
    total = found[:, :20].sum(axis=1)
    ratios = found[:, :20] / total[:, None]
    np.testing.assert_allclose(ratios, np.tile(np.array(list(old.values())), (40, 1)), rtol=0, atol=1e-12)
    # Lemma 1: the most constrained member caps the group, and its floor raises it.
    assert total.max() <= 0.5 + 1e-12
    assert total.min() >= 0.3 - 1e-12
    assert total.max() - total.min() > 0.1


def test_several_groups_freeze_apart_and_everything_may_be_frozen():
    region = Region(NAMES, bounds={"first": (NAMES[:3], None, 0.4)})
    groups = {"a": {"d00": 3.0, "d05": 1.0}, "b": {"d01": 1.0, "d02": 1.0, "d23": 2.0}}
    found = design(region, 25, seed=0, frozen=groups)
    check(found.ratios, region)
    np.testing.assert_allclose(found.ratios[:, 0], 3 * found.ratios[:, 5], atol=1e-12)
    assert found.advised == advised_runs(24 - 3)
    whole = design(Region(NAMES), 2, seed=0, frozen={"all": dict.fromkeys(NAMES, 1.0)}).ratios
    np.testing.assert_allclose(whole, 1 / 24, atol=1e-15)


def test_frozen_shares_of_the_published_case_study(shared_data):
    import json

    study = json.loads((shared_data / "olmix" / "case_study.json").read_text(encoding="utf-8"))
    weights = study["stages"]["1_add_stackedu"]["frozen_weights"]
    weights = next(iter(weights.values())) if isinstance(next(iter(weights.values())), dict) else weights
    new = [f"stack-edu:{k}" for k in range(15)]
    found = design(Region([*weights, *new]), seed=0, frozen={"dclm": weights})
    assert len(found) == 3 * 17
    ratios = found.ratios[:, : len(weights)]
    kept = ratios.sum(axis=1) > 1e-3
    share = ratios[kept] / ratios[kept].sum(axis=1, keepdims=True)
    old = np.array(list(weights.values()))
    np.testing.assert_allclose(share, np.tile(old / old.sum(), (kept.sum(), 1)), rtol=0, atol=1e-12)


def test_frozen_groups_that_cannot_be():
    region = Region(NAMES, cap={"d00": 0.1})
    for frozen, error, words in (
        ({"a": {"nowhere": 1.0}}, AlignmentError, "nowhere"),
        ({"a": {}}, RegionError, "at least one"),
        ({"a": {"d00": -1.0, "d01": 2.0}}, RegionError, "d00=-1"),
        ({"a": {"d00": 0.0, "d01": 2.0}}, RegionError, "leave these domains out"),
        ({"a": {"d00": 1.0}, "b": {"d00": 1.0}}, RegionError, "overlap"),
        ({"d05": {"d00": 1.0}}, RegionError, "d05"),
        ({"all": dict.fromkeys(NAMES, 1.0 / 24) | {"d00": 0.2}}, InfeasibleError, "caps sum"),
    ):
        with pytest.raises(error, match=words):
            design(region, 5, seed=0, frozen=frozen)


# RegMix's sampler.


# From `generate_weights_dirichlet` of sail-sg/regmix at b004d3a3f39846dc, for the prior of its file, 8 runs out of 20 samples for each, with both
# generators seeded alike: shares in multiples of the minimum.
REGMIX = json.loads((Path(__file__).parent / "regmix_draws.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", REGMIX)
def test_regmix_draws_the_bits_of_regmix_own_code(name):
    recorded = REGMIX[name]
    way = RegMix(multiplier=20, **recorded["settings"])
    found = design(pile(), 8, seed=recorded["seed"], method=way).ratios
    np.testing.assert_array_equal(found, np.array(recorded["multiples"]) * way.minimum)


def test_regmix_keeps_bounds_floors_and_multiples_and_repeats_nothing():
    region = pile()
    found = design(region, 100, seed=42, method="regmix").ratios
    assert np.abs(found / 2e-4 - np.rint(found / 2e-4)).max() < 1e-9
    # The usage cap holds for the samples; dividing and rounding afterwards changes shares by less than their size.
    assert (found <= 15 * region.prior * 1.01 + 2e-4).all()
    assert np.abs(found.sum(axis=1) - 1.0).max() < 17 * 1e-4
    assert min(np.abs(a - b).sum() for a, b in itertools.combinations(found, 2)) > 1e-5
    assert 0.1 < (found == 0.0).mean() < 0.7
    np.testing.assert_array_equal(found, design(region, 100, seed=42, method="regmix").ratios)


def test_regmix_settings_and_the_limits_of_the_region():
    region = Region(PILE, prior=PILE, cap={"pile_cc": 0.1}, bounds={("arxiv", "github"): (0.05, None)})
    found = design(region, 20, seed=1, method=RegMix(minimum=1e-3, strength=(1.0, 20.0))).ratios
    assert np.abs(found / 1e-3 - np.rint(found / 1e-3)).max() < 1e-9
    assert all(region.violation(row / row.sum()) < 1e-8 for row in found)
    with pytest.raises(InfeasibleError, match="method='cover'"):
        design(tight(0.01), 5, seed=1, method="regmix")
    with pytest.raises(RegionError, match="minimum"):
        RegMix(minimum=0.0)
    with pytest.raises(RegionError, match="frozen"):
        design(region, 5, seed=1, method="regmix", frozen={"a": {"arxiv": 1.0}})


# Olmix's sampler.

TREE = {
    "code:c": 30, "code:python": 70, "pdf": 200, "web:art": 100, "web:law": 50, "web:news:high": 60, "web:news:low": 240,
    "web:sport": 250,
}  # fmt: skip


def tree(**options):
    return Region(TREE, prior=TREE, **options)


def multiples(row):
    """Return whether shares are integer multiples of one unit between 0.9 and 1.1 times 1 / 500."""
    return any(np.abs(row * n - np.rint(row * n)).max() < 1e-9 for n in range(450, 550))


def test_olmix_floors_rounds_and_repeats_nothing():
    found = design(tree(), 60, seed=0, method="olmix").ratios
    assert [math.fsum(row) for row in found] == [1.0] * 60
    assert all(multiples(row) for row in found)
    assert found[found > 0].min() > 0.9 * 0.002
    assert min(np.abs(a - b).max() for a, b in itertools.combinations(found, 2)) > 1e-6
    np.testing.assert_array_equal(found, design(tree(), 60, seed=0, method="olmix").ratios)
    turned = Region(dict(reversed(TREE.items())), prior=dict(reversed(TREE.items())))
    np.testing.assert_allclose(found, design(turned, 60, seed=0, method="olmix").ratios[:, ::-1], atol=1e-15)


def test_olmix_draws_qualities_within_their_topic():
    way = Olmix(strength=(5.0, 5.0), minimum=1e-6, multiplier=1)
    found = design(tree(), 400, seed=0, method=way).ratios
    news = found[:, 5] + found[:, 6]
    high = found[news > 0.01, 5] / news[news > 0.01]
    # Beta(5 * 0.6 / 7, 5 * 2.4 / 7): mean 0.2, standard deviation 0.23.
    assert abs(high.mean() - 0.2) < 0.04
    assert abs(high.std() - 0.23) < 0.03


def test_olmix_sparse_and_dense_swarms():
    sparse = design(tree(), 80, seed=0, method=Olmix(minimum=0.05)).ratios
    dense = design(tree(), 80, seed=0, method=Olmix(strength=(1.0, 20.0), minimum=1e-4)).ratios
    assert (sparse == 0.0).mean() > 2 * (dense == 0.0).mean()
    assert sparse[sparse > 0].min() > 0.2 * 0.045


def test_olmix_draws_have_the_priors_as_means():
    dense = Olmix(strength=(50.0, 50.0), minimum=1e-6, multiplier=1)
    found = design(tree(), 500, seed=1, method=dense).ratios
    np.testing.assert_allclose(found.mean(axis=0), np.array(list(TREE.values())) / 1000, atol=0.008)
    own = Olmix(
        strength=(50.0, 50.0), minimum=1e-6, multiplier=1, source_prior={"code": 0.5, "pdf": 0.3, "web": 0.2},
        topic_prior={"code:c": 0.9, "code:python": 0.1},
    )  # fmt: skip
    found = design(tree(), 500, seed=1, method=own).ratios
    np.testing.assert_allclose(found.mean(axis=0)[:3], [0.45, 0.05, 0.3], atol=0.01)
    flat = design(tree(), 500, seed=1, method=Olmix(strength=(50.0, 50.0), minimum=1e-6, temperature=0.01)).ratios
    np.testing.assert_allclose(flat.mean(axis=0)[:3], [1 / 6, 1 / 6, 1 / 3], atol=0.01)


def test_olmix_nonzero_sets_given_shares_and_distance():
    way = Olmix(minimum=0.05, nonzero=("code", "web:art", "pdf"), apart=0.05)
    found = design(tree(), 40, seed=2, method=way).ratios
    assert (found[:, :2].sum(axis=1) > 0).all()
    assert (found[:, 2] > 0).all()
    assert (found[:, 3] > 0).all()
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(found, 2)) >= 0.05
    way = Olmix(minimum=(0.01, 0.1), source_share={"pdf": 0.25})
    found = design(tree(), 40, seed=2, method=way).ratios
    topics = found[:, 3:] / np.maximum(found[:, 3:].sum(axis=1, keepdims=True), 1e-300)
    assert topics[topics > 0].min() >= 0.1
    np.testing.assert_allclose(np.median(found[:, 2]), 0.25, atol=0.03)


def test_two_minima_of_olmix_drop_topics_but_no_source_that_has_topics():
    way = Olmix(minimum=(0.2, 0.1), strength=(50.0, 50.0))
    found = design(tree(), 40, seed=2, method=way).ratios
    # Code has a share of 0.1, below the minimum share of a source, which applies only to sources without topics.
    assert (found[:, :2].sum(axis=1) > 0.0).all()
    assert 0 < (found[:, 2] == 0.0).sum() < 40
    assert found[:, 2][found[:, 2] > 0.0].min() > 0.2 * 0.9
    one = design(tree(), 40, seed=2, method=Olmix(minimum=(0.02, 0.02))).ratios
    np.testing.assert_array_equal(one, design(tree(), 40, seed=2, method=Olmix(minimum=0.02)).ratios)


def test_olmix_fixed_topics_hold_up_to_the_minimum_and_count_once():
    shares = {"web:art": 0.1, "web:law": 0.2, "web:news": 0.3, "web:sport": 0.4}
    way = Olmix(topic_share=shares, minimum=1e-4, strength=(1.0, 20.0))
    found = design(tree(), 40, seed=0, method=way)
    web = found.ratios[:, 3:].sum(axis=1)
    want = np.array([0.1, 0.2, 0.06, 0.24, 0.4])
    used = web > 0.05
    assert np.abs(found.ratios[used, 3:] / web[used, None] - want).max() < 1e-4 / 0.05
    assert found.advised == advised_runs(8 - 4)


def test_olmix_settings_of_sources_and_topics_apart():
    # Sources stay near their prior and topics do not, and vice versa.
    for options, steady, free in (
        ({"source_strength": (900.0, 900.0), "topic_strength": (1.0, 1.0)}, "source", "topic"),
        ({"source_strength": (1.0, 1.0), "topic_strength": (900.0, 900.0)}, "topic", "source"),
    ):
        found = design(tree(), 100, seed=0, method=Olmix(minimum=1e-6, multiplier=1, **options)).ratios
        web = found[:, 3:].sum(axis=1)
        sd = {"source": web.std(), "topic": (found[web > 0.01, 3] / web[web > 0.01]).std()}
        assert sd[steady] < 0.05 < 0.1 < sd[free]
    flat = Olmix(strength=(900.0, 900.0), minimum=1e-6, multiplier=1, topic_temperature=0.01)
    mean = design(tree(), 50, seed=0, method=flat).ratios.mean(axis=0)
    np.testing.assert_allclose(mean, [0.05, 0.05, 0.2, *[0.14] * 5], atol=0.006)


def test_olmix_nonzero_in_draws_lets_the_minimum_drop_shares():
    way = Olmix(nonzero=("web:art",), minimum=0.02, strength=(1.0, 20.0))
    assert (design(tree(), 80, seed=0, method=way).ratios[:, 3] > 0.0).all()
    draws = design(tree(), 80, seed=0, method=replace(way, nonzero_in="draws")).ratios
    assert 0 < (draws[:, 3] == 0.0).sum() < 60


def test_an_extension_by_olmix_keeps_away_from_runs_that_exist():
    first = design(tree(), 30, seed=0, method=Olmix(minimum=0.05))
    more = extend(first, tree(), 30, seed=0, method=Olmix(minimum=0.05, existing_apart=0.1))
    distances = np.linalg.norm(first.ratios[:, None] - more.ratios[None], axis=2)
    assert distances.min() >= 0.1
    assert more.runs[0] == "30"
    assert more.method == "olmix"
    with pytest.raises(RegionError, match="cannot avoid existing runs"):
        extend(first, tree(), 4, seed=0, method="regmix")


def test_olmix_limits_repetition():
    region = Region.from_tokens(TREE, 1000, max_epochs=4)
    found = design(region, 40, seed=3, method=Olmix(proxy_tokens=500)).ratios
    epochs = found * 500 / np.array(list(TREE.values()))
    assert epochs.max() <= 1.0
    assert epochs.max() > 0.8
    free = design(region, 40, seed=3, method="olmix").ratios
    assert (free * 500 / np.array(list(TREE.values()))).max() > 1.5
    with pytest.raises(RegionError, match="from_tokens"):
        design(tree(), 4, seed=0, method=Olmix(proxy_tokens=500))


def test_olmix_virtual_domains_keep_their_ratios():
    old = {name: 1.0 + k for k, name in enumerate(TREE) if not name.startswith("code")}
    way = Olmix(source_prior={"old": 0.75, "code": 0.25}, minimum=0.05)
    found = design(tree(cap={"pdf": 0.12}), 40, seed=4, frozen={"old": old}, method=way)
    total = found.ratios[:, 2:].sum(axis=1)
    kept = total > 0
    want = np.array(list(old.values())) / sum(old.values())
    np.testing.assert_allclose(found.ratios[kept, 2:] / total[kept, None], np.tile(want, (kept.sum(), 1)), atol=1e-12)
    # Lemma 1: the cap of one member caps all of them.
    assert 0.5 < total.max() <= 0.12 / want[0] + 1e-9
    assert found.method == "olmix"
    assert found.advised == advised_runs(3)


def test_olmix_refuses_what_it_does_not_know():
    for way, error, words in (
        (Olmix(source_prior={"wiki": 1.0}), AlignmentError, "wiki"),
        (Olmix(topic_prior={"web:wiki": 1.0}), AlignmentError, "web:wiki"),
        (Olmix(topic_prior={"web": 1.0}), AlignmentError, "topic_prior names web"),
        (Olmix(topic_prior={"web:art": 1.0}), RegionError, "but not web:law.*name all of them or none"),
        (Olmix(topic_share={"code:c": 0.0, "code:python": 0.0}), RegionError, "topic_share gives the share 0 to all"),
        (Olmix(nonzero=("news",)), AlignmentError, "news"),
        (Olmix(minimum=0.45, multiplier=1), InfeasibleError, "method='cover'"),
    ):
        with pytest.raises(error, match=words):
            design(tree(), 60, seed=0, method=way)
    for options in (
        {"strength": (5.0, 1.0)},
        {"minimum": 0.0},
        {"minimum": (0.1,)},
        {"source_share": {"pdf": 1.5}},
        {"nonzero": "pdf"},
        {"nonzero_in": "both"},
        {"topic_strength": (0.0, 1.0)},
        {"source_temperature": 1.5},
        {"existing_apart": -1.0},
    ):
        with pytest.raises(RegionError, match=next(iter(options))):
            Olmix(**options)


# Domains that are sampled in few runs.


def test_a_design_says_which_domains_few_runs_sample():
    tokens = {
        "web": 5 * 10**12,
        "code": 5 * 10**11,
        "wiki": 5 * 10**9,
        "maths": 2 * 10**10,
        "books": 10**11,
        "shut": 10,
    }
    region = Region.from_tokens(tokens, 10**12, cap={"shut": 0.0})
    for way in ("olmix", "regmix", "cover"):
        found = design(region, 64, seed=0, method=way)
        counts = (found.ratios >= 1e-5).sum(axis=0)
        assert found.rare == {
            name: n for name, n in zip(tokens, counts.tolist(), strict=True) if n < 5 and name != "shut"
        }
        assert ("wiki" in found.rare) == (way == "olmix")
    sparse = design(region, 64, seed=0, method="olmix")
    assert f"fewer than 5 runs sample wiki ({sparse.rare['wiki']})" in str(sparse)
    assert design(region, 64, seed=0, method=Olmix(temperature=0.3)).rare == {}
    none = design(region, 3, seed=0, method="olmix")
    assert set(none.rare.values()) == {0}
    assert "no run samples wiki" in str(none)


def test_an_extension_counts_the_runs_that_exist():
    region = Region(["a", "b"])
    first = design(region, 4, seed=0)
    assert extend(first, region, 3, seed=0).rare == {}
    few = Region(["a", "b", "new"])
    assert set(extend(first, few, 4, seed=0).rare) == {"new"}


# Extensions of a design, numbers of runs, files.


def test_an_extension_goes_where_the_swarm_has_not_been():
    region = Region(["a", "b", "c"])
    half = Region(["a", "b", "c"], cap={"c": 0.1})
    first = design(half, 20, seed=0)
    more = extend(first, region, 10, seed=1)
    assert more.runs == tuple(str(run) for run in range(20, 30))
    assert (more.ratios[:, 2] > 0.1).mean() > 0.7
    both = np.concatenate([first.ratios, more.ratios])
    assert closest(both) > 0.9 * closest(first.ratios)


def test_an_extension_aligns_by_name_and_knows_new_domains():
    swarm = Swarm([[0.9, 0.1], [0.2, 0.8]], [1.0, 2.0], domains=["b", "a"], metric_names=["loss"], runs=["x", "y"])
    region = Region(["a", "b", "new"])
    more = extend(swarm, region, 30, seed=0)
    turned = Swarm([[0.1, 0.9], [0.8, 0.2]], [1.0, 2.0], domains=["a", "b"], metric_names=["loss"])
    np.testing.assert_array_equal(more.ratios, extend(turned, region, 30, seed=0).ratios)
    assert more.ratios[0, 2] > 0.5
    assert set(more.runs).isdisjoint(swarm.runs)
    with pytest.raises(AlignmentError, match="lacks: b"):
        extend(swarm, Region(["a", "new"]), 4, seed=0)


def test_advised_runs():
    assert [advised_runs(k) for k in (1, 24, 64)] == [6, 75, 195]
    assert advised_runs(NAMES) == 75
    shut = design(Region(NAMES, cap={"d00": 0.0}), seed=0)
    assert len(shut) == shut.advised == 72
    assert "fewer than advised" in str(design(Region(NAMES), 10, seed=0))
    for wrong in (0, -3, True, 2.5, []):
        with pytest.raises(MixfastError):
            advised_runs(wrong)


def test_a_design_becomes_a_swarm(tmp_path):
    found = design(Region(NAMES), 12, seed=0)
    metrics = np.linspace(2.0, 3.0, 12)
    swarm = found.with_metrics(metrics, ["loss"])
    np.testing.assert_array_equal(swarm.ratios, found.ratios)
    found.to_csv(tmp_path / "ratios.csv")
    lines = ["run,loss", *(f"{run},{value!r}" for run, value in zip(found.runs, metrics.tolist(), strict=True))]
    (tmp_path / "metrics.csv").write_text("\n".join(lines), encoding="utf-8")
    read = Swarm.from_csv(tmp_path / "ratios.csv", tmp_path / "metrics.csv")
    np.testing.assert_array_equal(read.ratios, found.ratios)
    assert read.runs == found.runs


@pytest.mark.parametrize(
    ("change", "words"),
    [({"runs": 0}, "runs"), ({"runs": 2.5}, "runs"), ({"seed": -1}, "seed"), ({"method": "lattice"}, "cover")],
)
def test_what_is_refused(change, words):
    arguments = {"runs": 3, "seed": 0, "method": "cover"} | change
    with pytest.raises(RegionError, match=words):
        design(Region(NAMES), **arguments)


def test_many_domains_take_memory_in_proportion():
    names = [f"d{k}" for k in range(50_000)]
    assert design(Region(names), 2, seed=0).ratios.shape == (2, 50_000)
    many = design(Region(names), 2, seed=0, frozen={"most": dict.fromkeys(names[:49_990], 1.0)}).ratios
    assert many.shape == (2, 50_000)
    assert np.ptp(many[:, :49_990], axis=1).max() < 1e-12


def test_more_mixtures_than_anybody_trains_are_only_planned_if_asked_for(monkeypatch):
    names = [f"d{k}" for k in range(4_000)]
    with pytest.raises(RegionError, match=r"4000 domains: 12003 runs are advised .* give the number of runs"):
        design(Region(names), seed=0)
    groups = {"most": dict.fromkeys(names[:3_990], 1.0)}
    assert len(design(Region(names), seed=0, frozen=groups)) == 36
    monkeypatch.setattr("mixfast._text.memory._SMALL", 0)
    monkeypatch.setattr("mixfast._text.memory.available_memory", lambda: 1000)
    with pytest.raises(RegionError, match=r"choosing 9 mixtures of 3 domains takes about .* and 1 KB of memory"):
        design(Region(NAMES[:3]), 9, seed=0)
    with pytest.raises(RegionError, match="of memory are free"):
        extend(design(Region(NAMES[:3]), 2, seed=0), Region(NAMES[:3]), 9, seed=0)


def test_what_the_module_offers():
    assert isinstance(design(Region(NAMES), 2, seed=0), Design)
    assert all(getattr(designs, name).__doc__ for name in designs.__all__)
