"""Ensemble features of tables in folders of parts equal those of the same rows in memory."""

import numpy as np
import pytest
from makers import parts, tokens

from mixfast import mde
from mixfast.errors import TableError
from mixfast.mde import _features

CUTS = (14_000, 14_700, 40_000)
LEVELS = ("token", "posterior", "sequence", "block:7")


def facts(n=40_000, *, longest=40):
    """Return sequences that lie in one, two or more blocks, in groups that share some of them."""
    rng = np.random.default_rng(3)
    sequence = np.repeat(np.arange(n), rng.integers(1, longest, n))[:n]
    sequence[20_000:37_000] = sequence[20_000]
    for cut in CUTS[:-1]:
        sequence[cut:] += 1
    return {
        "sequence": np.sort(sequence),
        "group": (np.arange(n) >= np.where(np.arange(n) < 14_000, 9_000, 25_000)) * 1,
    }


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    return parts(tmp_path_factory.mktemp("t"), CUTS, tokens(40_000, 5), **facts())


@pytest.fixture(scope="module")
def ratios():
    return np.random.default_rng(0).dirichlet(np.ones(5), 4)


@pytest.mark.parametrize("level", LEVELS)
def test_values_and_slopes_are_those_of_the_rows_in_memory(both, ratios, level):
    table, whole = both
    assert table.n_blocks > 4
    found, want = (mde.features(one, ratios, levels=(level,)) for one in (table, whole))
    assert found.names == want.names
    np.testing.assert_allclose(found.values, want.values, rtol=1e-12)
    assert not found.errors.any()
    for got, expected in zip(found.slopes(ratios[:2]), want.slopes(ratios[:2]), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-11)
    np.testing.assert_allclose(found.at(ratios[0]), want.values[:1], rtol=1e-12)


@pytest.mark.parametrize("level", LEVELS)
def test_a_sample_has_the_rows_that_a_table_in_memory_samples(both, ratios, level):
    found, want = (mde.features(one, ratios, levels=(level,), rows=2000, seed=4) for one in both)
    np.testing.assert_allclose(found.values, want.values, rtol=1e-12)
    np.testing.assert_allclose(found.errors, want.errors, rtol=1e-5)
    assert (found.errors > 0.0).all()


def test_weights_and_lengths_keep_their_meaning(tmp_path, ratios):
    rng = np.random.default_rng(1)
    n, cuts = 3000, (1000, 3000)
    sequence = np.arange(n) // 4
    weight = np.where(sequence % 5 == 0, 0.0, 1.0 + sequence % 3)
    weighted = parts(tmp_path / "a", cuts, tokens(n, 5), sequence=sequence, weight=weight)
    long = parts(tmp_path / "b", cuts, 50 * tokens(n, 5), length=rng.integers(10, 99, n), group=np.arange(n) % 2)
    for (table, whole), levels in ((weighted, ("token", "posterior", "block:3")), (long, ("sequence", "posterior"))):
        for options in ({}, {"rows": 200}):
            found, want = (mde.features(one, ratios, levels=levels, **options) for one in (table, whole))
            np.testing.assert_allclose(found.values, want.values, rtol=1e-11)
    for table, whole, level in ((*weighted, "sequence"), (*long, "token")):
        with pytest.raises(TableError) as refused:
            mde.features(whole, ratios, levels=(level,))
        with pytest.raises(TableError) as too:
            mde.features(table, ratios, levels=(level,))
        assert str(too.value) == str(refused.value)


def test_sequences_whose_rows_are_apart_are_refused_with_the_reason(tmp_path, ratios):
    table, _ = parts(tmp_path, (50, 100), tokens(100, 5), sequence=np.arange(100) % 7)
    with pytest.raises(TableError, match="ids that ascend within each group of each part"):
        mde.features(table, ratios, levels=("posterior",))
    assert mde.features(table, ratios).values.shape == (4, 1)


def test_features_come_back_from_their_state_with_the_folder(both, ratios):
    table, whole = both
    state = mde.features(whole, ratios, levels=("posterior",)).state()
    again = _features.Features.from_state(state, table=table)
    np.testing.assert_allclose(again.at(ratios), state["values"], rtol=1e-12)


def test_stack_refuses_folders_and_names_the_command_that_merges_them(both):
    table, whole = both
    with pytest.raises(TableError, match="mixfast table merge --group-by-file NAME=TABLE"):
        mde.stack({"here": whole, "there": table})


@pytest.mark.parametrize("options", [{}, {"rows": 1500}, {"rows": 10**7}])
def test_some_domains_of_one_side_of_a_split_give_the_features_of_the_same_rows(both, ratios, options):
    domains = ["domain_4", "domain_1", "domain_2"]
    own = ratios[:, :3] / ratios[:, :3].sum(axis=1, keepdims=True)
    sides = [one.select(domains).split(0.2, seed=1)[0] for one in both]
    found, want = (mde.features(side, own, levels=LEVELS, **options) for side in sides)
    np.testing.assert_allclose(found.values, want.values, rtol=1e-12)
    np.testing.assert_allclose(found.errors, want.errors, rtol=1e-5, atol=1e-12)
