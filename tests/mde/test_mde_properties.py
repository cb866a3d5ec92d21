"""Properties of ensemble features that hold for any table and any mixtures."""

import warnings

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mixfast import ExpertTable, mde

LEVELS = ("token", "posterior", "sequence", "block:2")


@st.composite
def problems(draw):
    """Draw a table of tokens in sequences and groups, and mixtures; differences between experts from none to extreme, zero shares."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    k = draw(st.integers(1, 5))
    lengths = rng.integers(1, 6, draw(st.integers(2, 8)))
    sequence = np.repeat(np.arange(lengths.size), lengths)
    spread = draw(st.sampled_from([0.0, 0.1, 3.0, 60.0, 900.0]))
    loglik = -spread * rng.random((sequence.size, k)) - rng.exponential(1.0, (sequence.size, 1))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    ratios = rng.dirichlet(np.full(k, draw(st.sampled_from([0.1, 1.0, 20.0]))), 3)
    ratios[rng.random(ratios.shape) < draw(st.sampled_from([0.0, 0.5]))] = 0.0
    empty = ratios.sum(axis=1) == 0.0
    ratios[empty, 0] = 1.0
    ratios /= ratios.sum(axis=1, keepdims=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = ExpertTable.from_loglik(
            loglik.astype(dtype), domains=[f"d{i}" for i in range(k)], group=sequence % 2, sequence=sequence
        )
    return table, ratios


def features(table, ratios, **options):
    return mde.features(table, ratios, levels=LEVELS, **options)


def close(table):
    """Return the tolerance for rounding of probabilities in float32 or float64."""
    return 1e-9 if table.dtype == np.float64 else 1e-5


@given(problems(), st.floats(0.0, 1.0))
def test_features_are_convex_in_the_mixture(problem, t):
    table, ratios = problem
    between = t * ratios[0] + (1.0 - t) * ratios[1]
    found = features(table, ratios)
    chord = t * found.values[0] + (1.0 - t) * found.values[1]
    assert (found.at(between)[0] <= chord + close(table) * (1.0 + np.abs(chord))).all()


@given(problems())
def test_slopes_lie_below(problem):
    """The tangent of a convex function lies below it; Euler: the sum of shares times slopes is minus the rows' weight."""
    table, ratios = problem
    found = features(table, ratios)
    values, gradients = found.slopes(ratios)
    assert not np.isnan(gradients).any()
    assert (gradients <= 0.0).all()
    np.testing.assert_allclose(values, found.values, rtol=close(table), atol=close(table))
    with np.errstate(invalid="ignore"):
        step = ratios[1] - ratios[0]
        rise = np.where(step != 0.0, gradients[0] * step, 0.0).sum(axis=1)
    below = values[0] + rise <= values[1] + close(table) * (1.0 + np.abs(values[1]) + np.abs(gradients[0]).max(axis=1))
    assert (below | ~np.isfinite(rise)).all()
    held = ratios[0] > 0.0
    euler = gradients[0][:, held] @ ratios[0][held]
    np.testing.assert_allclose(euler[:2], -1.0, rtol=1e-5)


@given(problems(), st.randoms(use_true_random=False))
def test_order_of_domains_does_not_matter(problem, random):
    table, ratios = problem
    turned = list(range(table.n_domains))
    random.shuffle(turned)
    names = [table.domains[k] for k in turned]
    other = features(table, ratios[:, turned], domains=names)
    np.testing.assert_allclose(other.values, features(table, ratios).values, rtol=1e-6)
    np.testing.assert_allclose(
        features(table.select(names), ratios, domains=table.domains).values, other.values, rtol=1e-6
    )


@given(problems(), st.floats(0.0, 1.0))
def test_a_share_may_be_split_between_twins(problem, t):
    table, ratios = problem
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twins = ExpertTable.from_loglik(
            np.hstack([table.loglik, table.loglik[:, :1]]),
            domains=[*table.domains, "twin"],
            group=table.group,
            sequence=table.sequence,
        )
    split = np.hstack([ratios, (1.0 - t) * ratios[:, :1]])
    split[:, 0] *= t
    np.testing.assert_allclose(features(twins, split).values, features(table, ratios).values, rtol=1e-6)


@given(problems())
def test_the_whole_on_one_domain_is_its_expert_alone(problem):
    table, _ = problem
    corners = features(table, np.eye(table.n_domains))
    loglik = table.loglik.astype(np.float64)
    for g in range(2):
        rows = slice(*table.group_offsets[g : g + 2])
        want = -loglik[rows].mean(axis=0)
        for level in ("token", "posterior", "block:2"):  # with one expert all levels agree
            got = corners.values[:, corners.names.index(f"{table.group_names[g]}@{level}")]
            np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


@given(problems())
@settings(max_examples=50)
def test_more_prefix_never_costs_more_than_the_experts_differ(problem):
    """The sequence's loss lies between that of its best expert and the same plus the cost of its share, once."""
    table, ratios = problem
    found = features(table, ratios)
    assert np.isfinite(found.values).all()
    best = features(table, np.eye(table.n_domains)).values
    for f, name in enumerate(found.names):
        if name.endswith("@posterior"):
            for w, value in zip(ratios, found.values[:, f], strict=True):
                held = w > 0.0
                sequences = np.unique(table.sequence).size
                assert value <= (best[held, f] - sequences * np.log(w[held])).min() + 1e-5 * (1.0 + abs(value))
