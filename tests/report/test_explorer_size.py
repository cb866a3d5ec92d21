"""The size of a page with the explorer at 64 domains, 52 metrics and 200 runs, and what the rounding behind it costs."""

import json
import re

import browsing
import numpy as np
import pytest

import mixfast
from mixfast import report
from mixfast.laws import _power_law, fit, power
from mixfast.report import _explorer_script as script
from mixfast.report import _law_model as law_model

browser = browsing.browser

NAMES = [f"{family}/part_{k:02d}_of_a_long_name" for k, family in enumerate(["web", "code", "books", "wiki"] * 16)]
METRICS = 52
MOST = 3_000_000
# What the rest of the page takes at most, which the first test measures: figures, tables, script, mixtures and runs.
REST = 1_380_000

_RANDOM = np.random.default_rng(1)
# Mixtures of all domains and of few.
MIXTURES = np.vstack([_RANDOM.dirichlet(np.full(64, one), 60) for one in (1.0, 0.3, 0.05)])


def a_swarm(domains=NAMES, metrics=METRICS, runs=200):
    rng = np.random.default_rng(0)
    ratios = rng.dirichlet(np.ones(len(domains)), runs)
    slopes = rng.normal(size=(metrics, len(domains)))
    values = 1.0 + np.exp(0.5 * ratios @ slopes.T) + 0.01 * rng.normal(size=(runs, metrics))
    return mixfast.Swarm(
        ratios, values, domains=domains, metric_names=[f"metric_{j:02d}_loss" for j in range(metrics)],
        tokens={name: 5e7 * (1 + k % 5) for k, name in enumerate(domains)}, budget=6e9,
    )  # fmt: skip


def predicted(browser, kind, data, mixtures, metrics):
    """Return predictions and standard deviations (M, metrics) that the page computes from the data of one law."""
    tab = browser.new_page()
    modules = script.MODULES[: script.MODULES.index("model") + 1]
    tab.set_content(f"<script>{script.script(modules)};globalThis.explorer = {{ LAWS }}</script>")
    call = """([kind, data, rows, metrics]) => {
        const law = new explorer.LAWS[kind](data);
        for (let i = 0; i < metrics; i++) law.prepare?.(i);
        const of = (what) => rows.map((row) => Array.from({ length: metrics }, (_, i) => law[what](i, row)));
        return [of("value"), of("sd")];
    }"""
    data = json.loads(json.dumps(data, allow_nan=False))
    found = np.array(tab.evaluate(call, [kind, data, mixtures.tolist(), metrics]), dtype=np.float64)
    tab.close()
    return found


def test_a_report_with_all_figures():
    pytest.importorskip("matplotlib")
    swarm = a_swarm()
    law = fit(swarm, "linear", folds=5)
    region = mixfast.Region.from_tokens({n: 10**9 * (1 + k % 5) for k, n in enumerate(NAMES)}, 4 * 10**9, max_epochs=2)
    today = mixfast.Mixture(NAMES, np.full(64, 1 / 64))
    page = report.page(mixfast.propose(law, region, kl=0.05), law, swarm, today, when="2026-01-31")
    assert {"Near-optimal set", "Predicted against measured", "Try a mixture"} <= set(page.sections)
    size = len(page.html.encode())
    data = json.loads(re.search('id="explorer-data">(.*?)</script>', page.html)[1])
    assert size < MOST
    assert size - len(json.dumps(data["model"]["laws"])) < REST


# The numbers of a law do not depend on the metric: one or two are fitted, and 52 are written. At 52 metrics, all but `linear` and `log_linear` have
# the fewest bits.


@pytest.mark.parametrize("kind", ["linear", "log_linear", "gp", "epochs"])
def test_the_laws_of_all_metrics(browser, kind):
    law = fit(a_swarm(metrics=2), kind, folds=0)
    data = law_model._FORMS[kind](law.parts[0].law.state(), [0, 1] * (METRICS // 2))
    assert len(json.dumps(data)) < MOST - REST
    if kind == "epochs":
        data["rate"] = law_model.packed(law.rate)
    values, sds = predicted(browser, kind, data, MIXTURES, 2)
    np.testing.assert_allclose(values, law.predict(MIXTURES), rtol=1e-10)
    np.testing.assert_allclose(sds, law.sd(MIXTURES), rtol=1e-3)


def test_leaves_of_boosted_trees_would_not_fit():
    pytest.importorskip("lightgbm")
    leaves = np.asarray(fit(a_swarm(metrics=1), "lightgbm", folds=0).parts[0].law.state()["leaf"])
    assert METRICS * len(leaves) * 4 * 4 / 3 > MOST - REST


def powers(kind, seed):
    """Return parameters of a power law of 64 domains as fits have them: some terms are 0 or constant, some exponents are large."""
    rng = np.random.default_rng(seed)
    if kind == "autoscale":
        return np.concatenate([[1.0, 1.0], 10 ** rng.uniform(-6, 3, 64), 10 ** rng.uniform(-3, 1, 64)])
    return np.concatenate(
        [rng.uniform(0, 0.05, 64) * (rng.random(64) < 0.7), 10 ** rng.uniform(-3, 0.5, 64) * (rng.random(64) < 0.6)]
    )


@pytest.mark.parametrize("bits", [64, 24, 20])
@pytest.mark.parametrize("kind", ["autoscale", "bimix"])
def test_the_laws_whose_fit_takes_minutes(browser, monkeypatch, kind, bits):
    # Covariances of given parameters at 200 runs, as a fit computes them.
    law = {"autoscale": power.AutoScale, "bimix": power.BiMix}[kind]()
    runs = np.random.default_rng(0).dirichlet(np.ones(64), 200)
    theta = np.array([powers(kind, seed) for seed in (1, 2)])
    state = {"tokens": law.tokens, "fixed_scale": None} if kind == "autoscale" else {"floor": law.floor}
    covariance = [_power_law._covariance(law._jacobian(one, runs), 0.01) for one in theta]
    state |= {"theta": theta, "unit": np.ones(2), "objective": np.zeros(2), "noise": np.full(2, 0.01), "notes": ()}
    law = law.from_state(state | {"covariance": np.array(covariance)})
    monkeypatch.setattr(law_model, "_bits", lambda state, own, fewest: bits)
    data = law_model._FORMS[kind](law.state(), [0, 1] * (METRICS // 2))
    assert bits > 20 or len(json.dumps(data)) < MOST - REST
    values, sds = predicted(browser, kind, data, MIXTURES, 2)
    np.testing.assert_allclose(values, law.predict(MIXTURES), rtol=1e-10)
    np.testing.assert_allclose(sds, law.sd(MIXTURES), rtol={64: 1e-6, 24: 1e-3, 20: 1e-2}[bits])


@pytest.mark.parametrize(("kind", "size"), [("autoscale", 130), ("bimix", 128)])
def test_the_fewest_bits_are_few_enough(kind, size):
    root = np.random.default_rng(0).normal(size=(size, size))
    numbers = dict.fromkeys(("noise", "unit"), np.zeros(1))
    numbers |= {"theta": np.ones((1, size)), "tokens": 1, "floor": 0.1, "covariance": (root @ root.T)[None]}
    data = law_model._FORMS[kind](numbers, [0] * METRICS)
    assert len(json.dumps(data)) < MOST - REST


@pytest.mark.parametrize("bits", [20, 24])
@pytest.mark.parametrize("kind", ["linear", "log_linear", "bimix", "autoscale", "epochs"])
def test_rounding_changes_no_prediction_and_hardly_an_interval(browser, monkeypatch, kind, bits):
    law = fit(a_swarm(["web", "code", "books", "wiki", "maths"], 2, 40), kind, folds=0)
    mixtures = np.random.default_rng(1).dirichlet(0.7 * np.ones(5), 200)
    monkeypatch.setattr(law_model, "_FEW", 0)
    monkeypatch.setattr(law_model, "_SOME", 0 if bits == 20 else 400_000)
    rounded = json.dumps(law_model.law_model(law)[0])
    assert ('"half"' in rounded, '"low"' in rounded) == (bits == 20 and kind != "epochs", bits == 24)
    values, sds = predicted(browser, kind, json.loads(rounded)["laws"][0], mixtures, 2)
    np.testing.assert_allclose(values, law.predict(mixtures), rtol=1e-10)
    np.testing.assert_allclose(sds, law.sd(mixtures), rtol=1e-3)
