"""fit_wear: planted wear is recovered, what the runs do not tell is said, and the file is read by `solve`."""

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest

from mixfast import ExpertTable, Region, Swarm, laws, solve
from mixfast._engine.objectives.wear import Wear
from mixfast._engine.optimise import wear_fit
from mixfast._text.yaml import read_yaml

NAMES = ["web", "code", "books", "maths", "wiki"]
NATURAL = np.array([0.55, 0.2, 0.12, 0.08, 0.05])
REPEATS = np.array([15.4, 4.0, 1.5, 8.0, 20.0])


def pools():
    return {"tokens": dict(zip(NAMES, 1e9 * NATURAL, strict=True)), "budget": 1e9}


def planted(runs=120, *, power=1.0, noise=0.02, seed=0, repeats=REPEATS, thresholds=None, scale=1.0, **options):
    """Return runs in which repeated tokens of each domain wear out, or count up to thresholds, as planted."""
    rng = np.random.default_rng(seed)
    w = rng.dirichlet(0.5 + 4.0 * NATURAL, runs)
    epochs = w / NATURAL * scale
    fading = wear_fit.effective(epochs, 1.0 / (1.0 + repeats))[0]
    worth = (fading if thresholds is None else np.minimum(epochs, thresholds)) ** power
    value = rng.uniform(0.05, 0.3, size=(3, len(NAMES))) / scale**power
    losses = 2.0 + np.exp(0.5 - worth @ value.T)
    losses += noise * losses.std(axis=0) * rng.standard_normal(losses.shape)
    given = pools() | options
    return Swarm(w, losses, domains=NAMES, metric_names=["a_loss", "b_loss", "c_loss"], **given)


def test_effective_epochs_are_those_of_solve_and_their_slopes_are_right():
    epochs = np.array([[0.0, 0.5, 1.0, 1.5, 9.0]])
    for v in (1e-3, 0.06, 0.5, 0.95):
        repeats = np.full(5, 1.0 / v - 1.0)
        value, slope = wear_fit.effective(epochs, np.full(5, v))
        np.testing.assert_allclose(value[0], Wear(np.ones(5), repeats).worth(epochs[0]).share, rtol=1e-9)
        step = 1e-6 * min(v, 1.0 - v)
        ahead, behind = (wear_fit.effective(epochs, np.full(5, v + d))[0] for d in (step, -step))
        np.testing.assert_allclose(slope, (ahead - behind) / (2.0 * step), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("power", [1.0, 0.5])
def test_planted_wear_is_recovered(power):
    found = laws.fit_wear(planted(power=power))
    assert found.power == power
    # More than half of all tokens are web: no run reads them twice.
    assert found.told == {name: name != "web" for name in NAMES}
    np.testing.assert_allclose(np.log(found.fitted[1:]), np.log(REPEATS[1:]), atol=0.35)
    assert all(
        low <= planted_one <= high for low, planted_one, high in zip(found.low, REPEATS, found.high, strict=True)
    )
    assert 1.5 < found.common < 20.0
    assert found.pooled_low <= found.pooled <= found.pooled_high
    assert (found.low < found.high).all()
    assert [found.mapping[name] for name in NAMES[1:]] == found.fitted[1:].tolist()
    again = laws.fit_wear(planted(power=power))
    np.testing.assert_array_equal(again.high, found.high)
    assert pickle.loads(pickle.dumps(found)).mapping == found.mapping


THRESHOLDS = np.array([4.0, 1.7, 3.0, 4.0, 6.0])


@pytest.mark.parametrize("corner", [4.0, np.inf])
def test_epochs_up_to_a_threshold_have_the_slopes_of_their_values(corner):
    epochs = np.array([[0.0, 0.5, 1.0, 3.3, 9.0]])
    for v in (1e-3, 0.06, 0.5, 0.95):
        _, slope = wear_fit.up_to(epochs, np.full(5, v), corner)
        step = 1e-6 * v
        ahead, behind = (wear_fit.up_to(epochs, np.full(5, v + d), corner)[0] for d in (step, -step))
        np.testing.assert_allclose(slope, (ahead - behind) / (2.0 * step), rtol=1e-3, atol=1e-3)
    endless = wear_fit.up_to(epochs, np.zeros(5), corner)
    np.testing.assert_array_equal(endless[0], epochs)
    np.testing.assert_array_equal(endless[1], 0.0)


def test_planted_thresholds_are_recovered_and_taken_by_solve():
    runs = planted(thresholds=THRESHOLDS)
    found = laws.fit_wear(runs, form="threshold")
    assert found.told == {name: name != "web" for name in NAMES}
    np.testing.assert_allclose(found.fitted[1:], THRESHOLDS[1:], rtol=0.05)
    assert (found.low <= THRESHOLDS).all()
    assert (found.high >= THRESHOLDS).all()
    # The runs say which form they have.
    assert found.residual < 0.5 * laws.fit_wear(runs).residual
    fading = planted()
    assert laws.fit_wear(fading).residual < 0.8 * laws.fit_wear(fading, form="threshold").residual
    assert found.mapping["code"] == f"{found.fitted[1]:.6g} epochs"
    table = ExpertTable.from_loglik(-np.random.default_rng(0).exponential(size=(80, 5)), domains=NAMES)
    counts = dict(zip(NAMES, (1e6 * NATURAL).astype(int).tolist(), strict=True))
    solution = solve(table, Region.from_tokens(counts, 10**6, max_epochs=32), wear=found.mapping)
    assert all(solution.epochs[name] <= found.fitted[k] + 0.05 for k, name in enumerate(NAMES) if k)


def test_wear_that_fades_does_not_stand_in_for_thresholds_and_the_residual_says_so():
    """The exponential takes up part of the corner, so wear of 3 to 6 epochs looks like more than 20 repeats."""
    found = laws.fit_wear(planted(thresholds=THRESHOLDS))
    assert (found.fitted[2:] > 4.0 * THRESHOLDS[2:]).all()
    assert found.residual > 5.0 * laws.fit_wear(planted(thresholds=THRESHOLDS), form="threshold").residual
    assert "form='threshold'" in found.summary()


@pytest.mark.parametrize("form", ["fade", "threshold"])
def test_too_few_runs_for_their_domains_tell_nothing(form):
    """With more domains than runs the fit has no residual, and noise looks like wear."""
    rng = np.random.default_rng(0)
    names = [f"d{k}" for k in range(30)]
    runs = Swarm(
        rng.dirichlet(np.full(30, 0.3), 20), rng.random((20, 2)), domains=names, metric_names=["a_loss", "b_loss"],
        tokens=dict.fromkeys(names, 1e7), budget=1e9,
    )  # fmt: skip
    found = laws.fit_wear(runs, form=form)
    assert not any(found.told.values())
    assert "20 runs do not tell noise from the effects of 30 domains" in found.why.values()
    assert "endless" not in found.mapping.values()


def test_a_diverged_run_is_named_and_left_out():
    runs = planted()
    values = runs.values.copy()
    values[3, 1] += 30.0 * np.ptp(values[:, 1])
    values[7] = 1e90
    found = laws.fit_wear(Swarm(runs.ratios, values, domains=NAMES, metric_names=runs.metrics, **pools()))
    assert found.diverged == ("3", "7")
    assert "they look diverged: values of 3, 7" in found.summary()
    np.testing.assert_allclose(found.fitted[1:], laws.fit_wear(runs).fitted[1:], rtol=0.1)


def test_units_of_the_metrics_and_orders_of_runs_and_domains_do_not_matter():
    runs, turned = planted(), [3, 0, 4, 1, 2]
    found = laws.fit_wear(runs)
    mixed = np.random.default_rng(0).permutation(len(runs))
    others = {
        "small": Swarm(runs.ratios, 1e-200 * runs.values, domains=NAMES, metric_names=runs.metrics, **pools()),
        "large": Swarm(runs.ratios, 1e6 + 1e3 * runs.values, domains=NAMES, metric_names=runs.metrics, **pools()),
        "runs": runs.subset(mixed),
        "domains": Swarm(
            runs.ratios[:, turned],
            runs.values,
            domains=[NAMES[k] for k in turned],
            metric_names=runs.metrics,
            **pools(),
        ),
    }
    for name, other in others.items():
        again = laws.fit_wear(other)
        order = [again.domains.index(domain) for domain in NAMES]
        np.testing.assert_allclose(again.fitted[order], found.fitted, rtol=1e-4, err_msg=name)
        np.testing.assert_allclose(again.high[order], found.high, rtol=1e-4, err_msg=name)


def test_a_threshold_far_above_the_first_guess_is_found():
    """No run lies near 4 epochs, so the slopes there say nothing of a threshold at 80."""
    found = laws.fit_wear(
        planted(tokens=dict(zip(NAMES, 2e7 * NATURAL, strict=True)), scale=50.0, thresholds=np.full(5, 80.0)),
        form="threshold",
    )
    np.testing.assert_allclose(found.fitted[1:], 80.0, rtol=0.1)


def test_ends_of_intervals_that_the_runs_do_not_tell_are_open():
    """Hardly any value of repeats: the search ends at 0.05 repeats, and the runs do not exclude less."""
    found = laws.fit_wear(planted(repeats=np.array([15.4, 4.0, 0.01, 8.0, 20.0]), noise=0.2))
    assert found.told["books"]
    assert found.low[2] == 0.0
    (row,) = [line for line in found.summary().splitlines() if line.startswith("books")]
    assert f"below {found.high[2]:.3g}" in row
    assert found.to_dict()["intervals"]["books"][0] == 0.0
    assert found.mapping["books"] > 0.0
    # Web is not repeated by any run.
    (row,) = [line for line in found.summary().splitlines() if line.startswith("web")]
    assert " any " in row
    sharp = laws.fit_wear(planted(thresholds=np.array([4.0, 2.5, 1.02, 4.0, 6.0]), noise=0.1), form="threshold")
    assert sharp.low[2] == 1.0
    assert f"below {sharp.high[2]:.3g}" in sharp.summary()
    # A number at the end of the search is open too.
    assert "at most 0.05" in replace(found, fitted=np.full(5, 0.05 + 1e-16)).summary()


def test_scores_are_read_in_their_direction_and_missing_values_are_left_out():
    losses = planted()
    values = 3.0 - losses.values
    values[::7, 1] = np.nan
    scores = Swarm(
        losses.ratios, values, domains=NAMES, metric_names=["a", "b", "c"], direction=["max"] * 3,
        tokens=losses.tokens, budget=losses.budget,
    )  # fmt: skip
    found = laws.fit_wear(scores)
    np.testing.assert_allclose(np.log(found.fitted[1:]), np.log(REPEATS[1:]), atol=0.4)
    one = laws.fit_wear(losses, metrics="a_loss")
    assert one.metrics == ("a_loss",)


def test_what_the_runs_do_not_tell_is_said_and_gets_the_number_of_all():
    rare = planted(tokens=dict(zip(NAMES, [*(1e9 * NATURAL[:4]), 1e12], strict=True)))
    found = laws.fit_wear(rare)
    assert not found.told["wiki"]
    assert found.why["wiki"].startswith("no run reads it twice")
    assert found.low[4] <= found.mapping["wiki"] <= found.high[4]
    assert "not told" in found.summary()
    # Without wear there is no upper end.
    endless = laws.fit_wear(planted(repeats=np.full(5, 1e9), noise=0.3))
    assert not any(endless.told.values())
    assert all("no upper end" in why for name, why in endless.why.items() if name != "web")
    assert all(math.isfinite(repeats) for repeats in endless.mapping.values())


def test_runs_that_cannot_tell_are_refused():
    runs = planted()
    with pytest.raises(ValueError, match=r"tokens available.*Swarm\(\.\.\., tokens"):
        laws.fit_wear(Swarm(runs.ratios, runs.values, domains=NAMES, metric_names=runs.metrics))
    with pytest.raises(ValueError, match="no run reads a domain twice"):
        laws.fit_wear(planted(budget=1e7))
    with pytest.raises(ValueError, match=r"e\+07 times: check that the tokens"):
        laws.fit_wear(planted(budget=1e15))
    with pytest.raises(ValueError, match="at least 10 runs"):
        laws.fit_wear(planted(9))
    with pytest.raises(ValueError, match=r"form is 'steps', expected one of fade, threshold"):
        laws.fit_wear(runs, form="steps")
    with pytest.raises(ValueError, match="level"):
        laws.fit_wear(runs, level=2.0)
    flat = Swarm(runs.ratios, np.ones((120, 1)), domains=NAMES, metric_names=["a_loss"], tokens=runs.tokens, budget=1e9)
    with pytest.raises(ValueError, match="no metric has different values"):
        laws.fit_wear(flat)


def test_the_file_has_the_numbers_that_solve_takes(tmp_path):
    found = laws.fit_wear(planted())
    found.save(tmp_path / "wear.yaml")
    text = (tmp_path / "wear.yaml").read_text(encoding="utf-8")
    read = {name: float(value) for name, value in read_yaml(text, ValueError).items()}
    assert read == pytest.approx(found.mapping, rel=1e-5)
    assert "90 % interval" in text
    table = ExpertTable.from_loglik(-np.random.default_rng(0).exponential(size=(80, 5)), domains=NAMES)
    region = Region.from_tokens(
        dict(zip(NAMES, (1e6 * NATURAL).astype(int).tolist(), strict=True)), 10**6, max_epochs=32
    )
    assert solve(table, region, wear=found.mapping).wear == found.mapping
    found.save(tmp_path / "wear.yaml")
    with pytest.raises(ValueError, match="yaml"):
        found.save(tmp_path / "wear.csv")
    assert set(found.to_dict()) >= {"wear", "intervals", "told", "why", "pooled", "power"}
    assert list(found.to_pandas().index) == NAMES
