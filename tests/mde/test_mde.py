"""Ensemble features: values at every level, slopes, their benefit for a law, and the law of the residuals."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest

import mixfast
from mixfast import ExpertTable, mde, reference
from mixfast.errors import AlignmentError, MixfastError, TableError
from mixfast.laws import Ridge

DOMAINS = ("web", "code", "math", "wiki")


class Swarm:
    """Only the part of a swarm that `mde` uses."""

    def __init__(self, ratios, values, domains=DOMAINS, metrics=None):
        self.ratios, self.values, self.domains = ratios, values, domains
        self.metrics = metrics or [f"m{j}" for j in range(values.shape[1])]


class RidgeLaw:
    """A smooth linear law, as simple as possible."""

    name, uses_features = "test-ridge", False

    def fit(self, x, y):
        out = copy.copy(self)
        design = np.hstack([x, np.ones((len(x), 1))])
        out.coef = np.linalg.lstsq(design, np.nan_to_num(y, nan=0.0), rcond=None)[0]
        out.spread = np.std(y - design @ out.coef, axis=0)
        return out

    def predict(self, x):
        return np.hstack([x, np.ones((len(x), 1))]) @ self.coef

    def sd(self, x):
        return np.tile(self.spread, (len(x), 1))

    def slopes(self, x):
        return self.predict(x), np.tile(self.coef[:-1].T, (len(x), 1, 1))

    def state(self):
        return {"coef": self.coef, "spread": self.spread}

    @classmethod
    def from_state(cls, state):
        out = cls()
        out.coef, out.spread = state["coef"], state["spread"]
        return out


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def token_table(rng, *, sequences=12, longest=9, spread=1.5, domains=DOMAINS, **options):
    """Return sequences of unequal length in two groups; the tokens of a sequence favour its expert."""
    lengths = rng.integers(2, longest, sequences)
    sequence = np.repeat(np.arange(sequences), lengths)
    loglik = -np.abs(rng.normal(2.0, spread, (sequence.size, len(domains))))
    loglik[np.arange(sequence.size), sequence % len(domains)] += spread
    group = np.where(sequence < sequences // 2, "easy", "hard")
    return ExpertTable.from_loglik(np.minimum(loglik, 0.0), domains=domains, group=group, sequence=sequence, **options)


def mixtures(rng, runs, domains=DOMAINS):
    return rng.dirichlet(np.ones(len(domains)), runs)


def walked(table, w, block=None):
    """Return the loss of each group if the weights follow the posterior token by token: a slow, direct computation."""
    out = []
    for g in range(table.n_groups):
        rows = range(table.group_offsets[g], table.group_offsets[g + 1])
        total, beliefs, seen = 0.0, {}, {}
        for i in rows:
            s = table.sequence[i]
            if block is not None and seen.get(s, 0) % block == 0:
                beliefs[s] = w
            belief = beliefs.get(s, w)
            p = np.exp(table.loglik[i].astype(float))
            total -= table.row_weight[i] * np.log(belief @ p)
            beliefs[s] = belief * p / (belief @ p)
            seen[s] = seen.get(s, 0) + 1
        out.append(total)
    return out


# ---- values ----


def test_token_level_is_the_loss_of_the_ensemble_whatever_the_order_of_domains(rng):
    table, ratios = token_table(rng), mixtures(rng, 5)
    found = mde.features(table, ratios)
    for g, name in enumerate(table.group_names):
        rows = slice(*table.group_offsets[g : g + 2])
        want = [reference.ensemble_loss(table.loglik[rows], table.row_weight[rows], w) for w in ratios]
        np.testing.assert_allclose(found.values[:, found.names.index(f"{name}@token")], want, rtol=1e-12)
    turned = [2, 0, 3, 1]
    other = mde.features(table, Swarm(ratios[:, turned], np.zeros((5, 1)), [DOMAINS[k] for k in turned]))
    np.testing.assert_allclose(other.values, found.values, rtol=1e-13)
    np.testing.assert_allclose(other.slopes(ratios[:, turned])[1], found.slopes(ratios)[1][:, :, turned], rtol=1e-12)


@pytest.mark.parametrize(("level", "block"), [("posterior", None), ("block:3", 3), ("block:1", 1)])
def test_chain_rule_sums_of_sequences_are_tokens_with_posterior_weights(rng, level, block):
    table, ratios = token_table(rng), mixtures(rng, 4)
    found = mde.features(table, ratios, levels=(level,))
    want = [walked(table, w, block) for w in ratios]
    np.testing.assert_allclose(found.values, want, rtol=1e-13)
    assert found.names == (f"easy@{level}", f"hard@{level}")


def test_rows_of_a_sequence_need_not_stand_together(rng):
    table, ratios = token_table(rng), mixtures(rng, 3)
    # Tokens interleaved: the first of every sequence, then the second, and so on; the order within a sequence is kept.
    position = np.concatenate([np.arange(n) for n in np.unique(table.sequence, return_counts=True)[1]])
    order = np.lexsort((table.sequence, position))
    shuffled = ExpertTable.from_loglik(
        table.loglik[order],
        domains=DOMAINS,
        group=np.array(table.group_names)[table.group[order]],
        sequence=table.sequence[order],
    )
    levels = ("posterior", "sequence", "block:2", "token")
    a, b = (mde.features(t, ratios, levels=levels) for t in (table, shuffled))
    np.testing.assert_allclose([b.values[:, b.names.index(n)] for n in a.names], a.values.T, rtol=1e-13)


def test_sequence_level_counts_sequences_alike_from_tokens_or_from_sums(rng):
    table, ratios = token_table(rng), mixtures(rng, 4)
    starts = np.flatnonzero(np.diff(table.sequence, prepend=-1))
    sums = np.add.reduceat(table.loglik, starts, axis=0)
    lengths = np.diff(np.append(starts, table.n_rows))
    whole = ExpertTable.from_loglik(
        sums, domains=DOMAINS, length=lengths, group=table.group[starts], group_names=dict(enumerate(table.group_names))
    )
    levels = ("sequence", "posterior")
    a, b = (mde.features(t, ratios, levels=levels) for t in (table, whole))
    np.testing.assert_allclose(a.values, b.values, rtol=1e-13)
    nll = np.stack([-reference.log_mixed(sums, w) for w in ratios])
    easy = table.group[starts] == 0
    np.testing.assert_allclose(a.values[:, 0], (nll / lengths)[:, easy].mean(axis=1), rtol=1e-13)
    np.testing.assert_allclose(a.values[:, 2], nll[:, easy].sum(axis=1) / lengths[easy].sum(), rtol=1e-13)


def test_weights_of_rows_are_kept(rng):
    plain = token_table(rng)
    c = 0.5 + rng.random(12)[plain.sequence]
    table = ExpertTable.from_loglik(plain.loglik, domains=DOMAINS, sequence=plain.sequence, weight=c)
    w = mixtures(rng, 1)
    found = mde.features(table, w, levels=("token", "posterior"))
    np.testing.assert_allclose(found.values[0], [reference.ensemble_loss(plain.loglik, c, w[0]), *walked(table, w[0])])
    with pytest.raises(TableError, match='use "posterior"'):
        mde.features(table, w, levels="sequence")
    uneven = ExpertTable.from_loglik(
        plain.loglik, domains=DOMAINS, sequence=plain.sequence, weight=rng.random(plain.n_rows)
    )
    with pytest.raises(TableError, match="equal weights"):
        mde.features(uneven, w, levels="posterior")


def test_shares_of_zero_and_hundreds_of_nats(rng):
    tokens = rng.integers(200, 400, 20)
    loglik = -rng.uniform(0.0, 3000.0, (20, 4))
    table = ExpertTable.from_loglik(loglik, domains=DOMAINS, length=tokens)
    ratios = np.vstack([np.eye(4), mixtures(rng, 3), [[0.5, 0.5, 0.0, 0.0]]])
    found = mde.features(table, ratios, levels="sequence")
    want = [reference.ensemble_loss(loglik, table.row_weight, w) for w in ratios]
    np.testing.assert_allclose(found.values[:, 0], want, rtol=1e-12)
    values, gradients = found.slopes(ratios)
    np.testing.assert_allclose(values, found.values, rtol=1e-12)
    assert not np.isnan(gradients).any()
    for w, got in zip(ratios, gradients[:, 0], strict=True):
        np.testing.assert_allclose(got, reference.gradient(loglik, table.row_weight, w), rtol=1e-9)


# ---- at and slopes ----


def test_other_mixtures_and_slopes(rng):
    table, ratios = token_table(rng), mixtures(rng, 6)
    found = mde.features(table, ratios, levels=("token", "posterior"))
    np.testing.assert_array_equal(found.at(ratios), found.values)
    np.testing.assert_array_equal(found.matrix(), found.matrix(ratios))
    where = mixtures(rng, 3)
    values, gradients = found.slopes(where)
    assert gradients.shape == (3, 4, 4)
    np.testing.assert_allclose(values, found.at(where), rtol=1e-12)
    step = 1e-6
    for k in range(4):
        bump = np.zeros(4)
        bump[k] = step
        measured = (found.at(where + bump) - found.at(where - bump)) / (2 * step)
        np.testing.assert_allclose(gradients[:, :, k], measured, rtol=1e-6)
    np.testing.assert_allclose(np.einsum("mfk,mk->mf", gradients, where)[:, :2], -1.0, rtol=1e-12)


def test_float32_tables_lose_no_digits_that_matter(rng):
    table = token_table(rng, sequences=4000, longest=40, spread=3.0)
    small = ExpertTable.from_loglik(table.loglik.astype(np.float32), domains=DOMAINS, group=table.group)
    ratios = mixtures(rng, 10)
    np.testing.assert_allclose(mde.features(small, ratios).values, mde.features(table, ratios).values, rtol=1e-6)


def test_the_callers_array_stays_its_own(rng):
    ratios = mixtures(rng, 3)
    found = mde.features(token_table(rng), ratios)
    ratios[0] = 0.25
    assert found.ratios[0, 0] != 0.25
    with pytest.raises(ValueError, match="read-only"):
        found.values[0, 0] = 0.0


# ---- sampling ----


def test_a_sample_is_off_by_what_its_errors_say(rng):
    table, ratios = token_table(rng, sequences=400, longest=60), mixtures(rng, 2)
    levels = ("token", "posterior", "sequence")
    full = mde.features(table, ratios, levels=levels)
    scores = []
    for seed in range(60):
        part = mde.features(table, ratios, levels=levels, rows=2000, seed=seed)
        assert (part.errors > 0).all()
        scores.append((part.values - full.values) / part.errors)
    scores = np.array(scores)
    # 60 samples: the mean square of a standard normal is within 1 +- .5 except in fewer than one case in a thousand.
    assert (np.mean(scores**2, axis=0) < 1.6).all()
    assert (np.mean(scores**2, axis=0) > 0.5).all()


def test_samples_are_seeded_even_among_groups_and_whole_where_the_table_is_small(rng):
    table, ratios = token_table(rng, sequences=200), mixtures(rng, 2)
    one, same, other = (mde.features(table, ratios, rows=100, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.values, same.values)
    assert (one.values != other.values).all()
    everything = mde.features(table, ratios, rows=10**6)
    np.testing.assert_array_equal(everything.values, mde.features(table, ratios).values)
    assert not everything.errors.any()
    with pytest.raises(ValueError, match="at least 1"):
        mde.features(table, ratios, rows=0)


# ---- state ----


def test_state_goes_round_and_says_what_it_lacks(rng):
    table, ratios = token_table(rng), mixtures(rng, 4)
    found = mde.features(table, ratios, levels=("token", "block:4"), rows=40, seed=3)
    alone = mde.Features.from_state(found.state())
    np.testing.assert_array_equal(alone.values, found.values)
    with pytest.raises(MixfastError, match="give the table"):
        alone.at(ratios)
    thawed = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(thawed.errors, found.errors)
    assert "without their table" in repr(thawed)
    assert copy.deepcopy(found) is found
    again = mde.Features.from_state(found.state(), table=table)
    np.testing.assert_array_equal(again.at(ratios), found.values)
    with pytest.raises(TableError, match="other losses"):
        mde.Features.from_state(found.state(), table=token_table(np.random.default_rng(8)))


# ---- refusals ----


def test_refusals_say_what_to_do(rng):
    table, ratios = token_table(rng), mixtures(rng, 3)
    bare = ExpertTable.from_loglik(table.loglik, domains=DOMAINS)
    sums = ExpertTable.from_loglik(table.loglik, domains=DOMAINS, length=np.full(table.n_rows, 7))
    with pytest.raises(AlignmentError, match=r"table\.select"):
        mde.features(table, ratios[:, :3] / ratios[:, :3].sum(1, keepdims=True), domains=DOMAINS[:3])
    with pytest.raises(ValueError, match="level is 'words'"):
        mde.features(table, ratios, levels=("words",))
    with pytest.raises(TableError, match="sequence="):
        mde.features(bare, ratios, levels=("posterior",))
    with pytest.raises(TableError, match="rows that are tokens"):
        mde.features(sums, ratios)
    with pytest.raises(TableError, match="predictions"):
        mde.features(ExpertTable.from_predictions(np.ones((5, 4)), np.ones(5), domains=DOMAINS), ratios)
    with pytest.raises(ValueError, match="runs 1 sum to"):
        mde.features(table, ratios * [[1.0], [0.9], [1.0]])
    with pytest.raises(ValueError, match=">= 0"):
        mde.features(table, ratios - [[0.0], [0.9], [0.0]])
    dead = table.loglik.copy()
    first = np.flatnonzero(table.sequence == 3)
    dead[first[0], :2], dead[first[1], 2:] = -np.inf, -np.inf
    with pytest.raises(TableError, match=r"infinite: 3;"):
        mde.features(
            ExpertTable.from_loglik(dead, domains=DOMAINS, sequence=table.sequence), ratios, levels="posterior"
        )


# ---- stack ----


def test_stack_makes_a_group_of_each_table(rng):
    first, second = token_table(rng), token_table(rng).select(DOMAINS[::-1])
    one = mde.stack({"a": first, "b": second})
    assert one.group_names == ("a/easy", "a/hard", "b/easy", "b/hard")
    assert np.unique(one.sequence).size == 24  # 12 of each table, kept apart
    ratios = mixtures(rng, 3)
    levels = ("token", "sequence")
    got = mde.features(one, ratios, levels=levels)
    for name, table in (("a", first), ("b", second)):
        alone = mde.features(table, Swarm(ratios, None, DOMAINS, ["x"]), levels=levels)
        for f, feature in enumerate(alone.names):
            np.testing.assert_allclose(
                got.values[:, got.names.index(f"{name}/{feature}")], alone.values[:, f], rtol=1e-12
            )
    weighted = ExpertTable.from_loglik(
        first.loglik, domains=DOMAINS, weight=rng.random(first.n_rows), sequence=first.sequence
    )
    both = mde.features(mde.stack({"w": weighted, "p": first}), ratios)
    np.testing.assert_allclose(both.values[:, :1], mde.features(weighted, ratios).values, rtol=1e-12)
    np.testing.assert_allclose(both.values[:, 1:], mde.features(first, ratios).values, rtol=1e-12)
    with pytest.raises(AlignmentError, match="table 'b'"):
        mde.stack({"a": first, "b": second.select(DOMAINS[:3])})
    with pytest.raises(TableError, match="sequence in all tables or in none"):
        mde.stack({"a": first, "b": ExpertTable.from_loglik(first.loglik, domains=DOMAINS)})


# ---- whether they are worth it ----


def test_ridge_is_leave_one_out_ridge(rng):
    x, y = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))
    y[:, 0] += x @ [3.0, -1.0, 0.0]
    z = (x - x.mean(0)) / x.std(0)
    expected = []
    for j in range(2):
        totals = []
        for penalty in np.logspace(-4, 2, 25):
            errors = []
            for i in range(20):
                # The columns keep their scale, and the mean is fitted again: an unpenalised intercept.
                keep = np.arange(20) != i
                design = np.hstack([z[keep], np.ones((19, 1))])
                coef = np.linalg.solve(design.T @ design + np.diag([penalty] * 3 + [0.0]), design.T @ y[keep, j])
                errors.append(y[i, j] - np.append(z[i], 1.0) @ coef)
            totals.append(np.sum(np.square(errors)))
        penalty = np.logspace(-4, 2, 25)[int(np.argmin(totals))]
        design = np.hstack([z, np.ones((20, 1))])
        coef = np.linalg.solve(design.T @ design + np.diag([penalty] * 3 + [0.0]), design.T @ y[:, j])
        expected.append(design @ coef)
    np.testing.assert_allclose(Ridge.of(x).predict(y, x), np.transpose(expected), rtol=1e-10)


@pytest.fixture
def planted(rng):
    """Return nonlinear features of 40 runs, and metrics that depend on them or on the shares alone."""
    table = token_table(rng, sequences=60, spread=4.0)
    ratios = rng.dirichlet(np.full(4, 0.5), 40)
    found = mde.features(table, ratios)
    noise = rng.normal(0.0, 0.01, (40, 3))
    bent = found.values @ rng.random((2, 3)) + noise
    straight = ratios @ rng.normal(size=(4, 3)) + noise
    return found, ratios, bent, straight


def test_advice_is_for_features_that_metrics_follow_and_against_others(planted):
    found, ratios, bent, straight = planted
    use = mde.redundancy(found, Swarm(ratios, bent))
    leave = mde.redundancy(found, Swarm(ratios, straight))
    assert use.advice == "use"
    assert use.gain > 0.5
    assert (use.rmse[-1] < use.rmse[0]).all()
    assert leave.advice == "leave out"
    assert leave.gain < 0.05
    assert str(use).startswith("use the features")
    assert str(leave).startswith("leave the features out")
    assert use.variants == ("shares", "shares + log-shares", "features", "shares + features")
    assert use.baseline in use.variants[:2]
    assert 1.0 <= use.rank <= 2.0


def test_features_that_no_law_uses_are_refused(planted):
    pandas = pytest.importorskip("pandas")
    found, ratios, bent, _ = planted
    frames = (
        pandas.DataFrame(values, columns=names)
        for values, names in ((ratios, DOMAINS), (np.exp(bent), ["a", "b", "c"]))
    )
    swarm = mixfast.Swarm.from_frames(*(frame.assign(run=range(len(ratios))) for frame in frames))
    with pytest.raises(ValueError, match="features have no effect with log_linear"):
        mixfast.fit(swarm, "log_linear", features=found)
    mixfast.fit(swarm, ["linear", "log_linear"], features=found)


def test_features_that_repeat_the_shares_are_seen_through(rng, planted):
    _, ratios, _, straight = planted
    # All experts are alike up to a factor near 1, so losses are linear in the shares.
    flat = ExpertTable.from_loglik(np.log(0.5 + 1e-4 * rng.random((50, 4))), domains=DOMAINS, group=np.arange(50) % 5)
    found = mde.features(flat, ratios)
    report = mde.redundancy(found, straight)
    assert report.r2.min() > 0.999
    assert report.rank <= 4.0
    assert report.advice == "leave out"


def test_missing_metrics_seeds_and_other_laws(planted):
    found, ratios, bent, _ = planted
    holes = bent.copy()
    holes[:5, 0] = np.nan
    holes[:, 2] = np.nan
    report = mde.redundancy(found, holes)
    assert np.isfinite(report.rmse[:, :2]).all()
    assert np.isnan(report.rmse[:, 2]).all()
    again = mde.redundancy(found, holes)
    np.testing.assert_array_equal(report.rmse, again.rmse)
    other = mde.redundancy(found, bent, law=RidgeLaw())
    assert other.advice == "use"
    assert other.rmse.shape == (2, 3)
    with pytest.raises(ValueError, match="'boosted'"):
        mde.redundancy(found, bent, law="boosted")
    with pytest.raises(AlignmentError, match="other mixtures"):
        mde.redundancy(found, Swarm(np.roll(ratios, 1, axis=0), bent))
    with pytest.raises(AlignmentError, match="one row for each run"):
        mde.redundancy(found, bent[:-1])
    with pytest.raises(ValueError, match="at least 6"):
        mde.redundancy(
            mde.Features.from_state(found.state() | {"values": found.values[:4], "ratios": ratios[:4]}), bent[:4]
        )


def test_runs_of_one_mixture_never_help_each_other(rng):
    """Every mixture occurs twice with the same noise: folds that split a pair would predict the noise."""
    table, half = token_table(rng), mixtures(rng, 15)
    ratios = np.repeat(half, 2, axis=0)
    noise = np.repeat(rng.normal(size=(15, 4)), 2, axis=0)

    class Memory:
        def fit(self, x, y):
            self.x, self.y = x, y
            return self

        def predict(self, x):
            return self.y[np.abs(x[:, None] - self.x).sum(axis=2).argmin(axis=1)]

    report = mde.redundancy(mde.features(table, ratios), noise, law=Memory())
    # The standard deviation of the difference of two standard normals, 1.41; if a pair is split, most errors are 0.
    assert report.rmse.mean() > 1.0


# ---- the law of the rest ----


def test_metrics_find_their_feature_by_name():
    names = ["code@token", "code_c@token", "web@token", "web@sequence"]
    assert mde.match(["eval/code_c/bpb", "code-loss", "webby", "web"], names) == {
        "eval/code_c/bpb": "code_c@token",
        "code-loss": "code@token",
        "web": "web@token",
    }
    assert mde.match(["web"], names, level="sequence") == {"web": "web@sequence"}
    with pytest.raises(AlignmentError, match="several groups"):
        mde.match(["foo_bar"], ["foo@token", "bar@token"])


def test_residual_takes_the_bias_away_and_knows_its_slopes(rng):
    table, ratios = token_table(rng, spread=4.0), mixtures(rng, 40)
    found = mde.features(table, ratios)
    shares = rng.normal(size=(4, 3))
    y = ratios @ shares + np.stack([0.3 + 1.7 * found.values[:, 1], found.values[:, 0] - 1.0, np.zeros(40)], axis=1)
    y[:4, 1] = np.nan
    law = mde.Residual(RidgeLaw(), found, metrics=["hard_bpb", "easy_bpb", "other"])
    with pytest.raises(MixfastError, match="not fitted"):
        law.predict(found.matrix())
    seen = np.isfinite(y).all(axis=1)
    fitted = law.fit(found.matrix()[seen], y[seen])
    assert not law._fitted
    assert fitted.scale[2] == 0.0
    where = mixtures(rng, 5)
    x = found.matrix(where)
    alone = RidgeLaw().fit(ratios[seen], y[seen])
    truth = where @ shares + np.stack([0.3 + 1.7 * x[:, 5], x[:, 4] - 1.0, np.zeros(5)], axis=1)
    better, plain = (np.abs(p - truth).mean(axis=0) for p in (fitted.predict(x), alone.predict(where)))
    assert (better[:2] < plain[:2]).all()
    np.testing.assert_allclose(better[2], plain[2], atol=1e-10)
    assert fitted.sd(x).shape == (5, 3)
    values, gradients = fitted.slopes(x)
    np.testing.assert_allclose(values, fitted.predict(x))
    for k in range(4):
        bump = np.zeros(4)
        bump[k] = 1e-6
        measured = (fitted.predict(found.matrix(where + bump)) - fitted.predict(found.matrix(where - bump))) / 2e-6
        np.testing.assert_allclose(gradients[:, :, k], measured, rtol=1e-5, atol=1e-7)
    again = mde.Residual.from_state(fitted.state(), law=RidgeLaw)
    np.testing.assert_array_equal(again.predict(x), fitted.predict(x))
    with pytest.raises(MixfastError, match="features"):
        again.slopes(x)
    with pytest.raises(ValueError, match="law="):
        mde.Residual.from_state(fitted.state())
    with pytest.raises(AlignmentError, match="no metric has a feature"):
        mde.Residual(RidgeLaw(), found, metrics=["a", "b", "c"])
    with pytest.raises(ValueError, match=r"features, as Features\.matrix"):
        fitted.predict(where)


# ---- where the truth is known ----


def markov_world(rng, *, k=5, symbols=8, sequences=60, length=40, blind=False):
    """Make K Markov domains, validation text from three blends of them, exact experts, and the exact bigram model of any mixture.

    blind: all domains have the same (uniform) symbol frequencies, so one symbol says nothing about the domain.
    """
    if blind:
        turns = np.array([[np.eye(symbols)[rng.permutation(symbols)] for _ in range(6)] for _ in range(k)])
        chains = np.einsum("kp,kpab->kab", rng.dirichlet(np.ones(6), k), turns) + 1e-3
    else:
        chains = rng.dirichlet(np.full(symbols, 0.3), (k, symbols)) + 1e-3
    chains /= chains.sum(axis=2, keepdims=True)
    stationary = np.stack([np.linalg.matrix_power(chain, 500)[0] for chain in chains])
    blends = rng.dirichlet(np.full(k, 0.4), 3)
    cumulative = chains.cumsum(axis=2)
    table, group, of_sequence, prefix = [], [], [], []
    for g, blend in enumerate(blends):
        for s in range(sequences):
            source = rng.choice(k, p=blend)
            state = rng.choice(symbols, p=stationary[source])
            for u in rng.random(length):
                following = min(int(np.searchsorted(cumulative[source, state], u)), symbols - 1)
                table.append(np.log(chains[:, state, following]))
                prefix.append(stationary[:, state])
                group.append(f"val{g}")
                of_sequence.append(g * sequences + s)
                state = following
    table, prefix, group = np.array(table), np.array(prefix), np.array(group)
    joint = prefix * np.exp(table)

    def truth(w):
        loss = np.log(prefix @ w) - np.log(joint @ w)
        return [loss[group == f"val{g}"].mean() for g in range(3)]

    names = [f"d{i}" for i in range(k)]
    return ExpertTable.from_loglik(table, domains=names, group=group, sequence=of_sequence), truth


def test_constant_weights_are_exact_where_the_prefix_says_nothing(rng):
    """Proposition 3.1: if all prefixes have the same distribution, the ensemble is the best model of the mixture."""
    table, truth = markov_world(rng, blind=True)
    ratios = rng.dirichlet(np.ones(5), 10)
    found = mde.features(table, ratios)
    np.testing.assert_allclose(found.values, [truth(w) for w in ratios], rtol=1e-9)


def test_constant_weights_posterior_weights_and_truth(rng):
    """A bigram model sees one symbol of the prefix; constant weights use none of it, posterior weights use all of it."""
    table, truth = markov_world(rng)
    ratios = rng.dirichlet(np.ones(5), 60)
    y = np.array([truth(w) for w in ratios])
    found = mde.features(table, ratios, levels=("token", "posterior"))
    token, posterior = found.values[:, :3], found.values[:, 3:]
    # Constant weights overestimate the loss, but rank mixtures well.
    assert 0.005 < (token - y).mean() < 0.2
    assert min(np.corrcoef(token[:, j], y[:, j])[0, 1] for j in range(3)) > 0.97
    # Whole sequences reveal their domain, which a bigram model cannot use: the loss is far lower, and a worse feature.
    assert (posterior < y).all()
    assert (posterior - y).mean() < -0.3

    def left(x, target):
        return np.std(target - np.polyval(np.polyfit(x, target, 1), x))

    assert all(left(token[:, j], y[:, j]) < 0.7 * left(posterior[:, j], y[:, j]) for j in range(3))


def test_features_help_a_linear_law_of_few_runs(rng):
    """A9: with few runs, [shares | features] rank unseen mixtures better than shares alone."""
    from scipy.stats import spearmanr

    table, truth = markov_world(rng)
    test = rng.dirichlet(np.full(5, 0.6), 120)
    held_out = np.array([truth(w) for w in test])
    rho = {"shares": [], "both": []}
    for _ in range(6):
        ratios = rng.dirichlet(np.full(5, 0.6), 12)
        y = np.array([truth(w) for w in ratios]) + rng.normal(0.0, 0.003, (12, 3))
        found = mde.features(table, ratios)
        for name, x, at in (("shares", ratios, test), ("both", found.matrix(), found.matrix(test))):
            guess = Ridge.of(x).predict(y, at)
            rho[name] += [spearmanr(guess[:, j], held_out[:, j])[0] for j in range(3)]
    assert np.mean(rho["both"]) > np.mean(rho["shares"]) + 0.03
    assert np.mean(rho["both"]) > 0.95


# ---- real tables ----


def real_tables(folder, level, names, domains):
    tables = {}
    for name in names:
        data = np.load(folder / "tables" / level / f"{name}.npz")
        options = {"sequence": data["sequence"]} if level == "token" else {"length": data["length"]}
        tables[name] = ExpertTable.from_loglik(data["loglik"], domains=data["experts"].tolist(), **options).select(
            domains
        )
    return mde.stack(tables)


def real_swarm(folder):
    """Return the runs with the same budget: mixtures, the uniform mixture, single domains."""
    import csv

    def read(name):
        with open(folder / "tables" / "swarm" / name, encoding="utf-8") as file:
            head, *lines = csv.reader(file)
        return head[1:], {line[0]: [float(v) for v in line[1:]] for line in lines}

    domains, ratios = read("ratios.csv")
    metrics, values = read("metrics.csv")
    runs = [run for run in ratios if run.startswith(("mix_", "uniform_", "single_"))]
    return Swarm(np.array([ratios[r] for r in runs]), np.array([values[r] for r in runs]), domains, metrics)


def test_real_tokens_and_real_sequences_agree(shared_data):
    swarm = real_swarm(shared_data)
    names = ["val_law_licences", "val_help_de"]
    tokens, sums = (real_tables(shared_data, level, names, swarm.domains) for level in ("token", "sequence"))
    a = mde.features(tokens, swarm, levels=("posterior", "sequence"))
    b = mde.features(sums, swarm, levels=("posterior", "sequence"))
    np.testing.assert_allclose(a.values, b.values, rtol=1e-7)
    np.testing.assert_allclose(a.values[:, :2], a.values[:, 2:], rtol=1e-12)  # all windows have the same length


def test_real_swarm_constant_weights_help_and_posterior_weights_do_not(shared_data):
    """24 mixtures and 3 uniform runs, without single domains, which a law linear in the shares cannot fit."""
    swarm = real_swarm(shared_data)
    swarm.ratios, swarm.values = swarm.ratios[:27], swarm.values[:27]
    names = [f"val_{name}" for name in swarm.domains]
    table = real_tables(shared_data, "token", names, swarm.domains)
    found = mde.features(table, swarm)
    assert mde.match(swarm.metrics, found.names).keys() == {f"{name}_nats_per_byte" for name in names}
    report = mde.redundancy(found, swarm)
    shares, with_logs, alone, both = report.rmse.mean(axis=1)
    # Measured: .0765, .0347, .0268, .0239; rank correlations .81, .94, .95, .955.
    assert report.advice == "use"
    assert both < 0.8 * with_logs < 0.8 * shares
    assert alone < with_logs
    assert report.spearman[-1].mean() > 0.94
    # The features are nearly functions of log-shares, but they help with 27 runs.
    assert np.median(report.r2_log) > 0.97 > np.median(report.r2)
    # A sequence of 255 bytes reveals its domain, but a small model trained on a mixture cannot use this as much.
    assert mde.redundancy(mde.features(table, swarm, levels="posterior"), swarm).advice == "leave out"


@pytest.mark.process
def test_the_modules_of_the_readme_come_with_the_package():
    done = subprocess.run(
        [sys.executable, "-c", "import mixfast; mixfast.mde.features; mixfast.proposers.bootstrap"], check=False
    )
    assert done.returncode == 0
