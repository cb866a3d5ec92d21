"""The size of a page with the explorer at 64 domains, 52 metrics and 200 runs, and what the rounding behind it costs."""

import json
import re

import browsing
import numpy as np
import pytest

import mixfast
from mixfast import report
from mixfast.laws import fit
from mixfast.report import _explorer_script as script
from mixfast.report import _law_model

browser = browsing.browser

NAMES = [f"{family}/part_{k:02d}_of_a_long_name" for k, family in enumerate(["web", "code", "books", "wiki"] * 16)]
METRICS = 52
MOST = 3_000_000
# What the rest of the page takes at most, which the first test measures: figures, tables, script, mixtures and runs.
REST = 1_350_000


def a_swarm(domains=NAMES, metrics=METRICS, runs=200):
    rng = np.random.default_rng(0)
    ratios = rng.dirichlet(np.ones(len(domains)), runs)
    slopes = rng.normal(size=(metrics, len(domains)))
    values = 1.0 + np.exp(0.5 * ratios @ slopes.T) + 0.01 * rng.normal(size=(runs, metrics))
    return mixfast.Swarm(
        ratios, values, domains=domains, metric_names=[f"metric_{j:02d}_loss" for j in range(metrics)],
        tokens={name: 5e7 * (1 + k % 5) for k, name in enumerate(domains)}, budget=6e9,
    )  # fmt: skip


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


@pytest.mark.parametrize("kind", ["linear", "log_linear", "gp", "epochs"])
def test_the_laws_of_all_metrics(kind):
    # The numbers of a law do not depend on the metric: two are fitted, and 52 are written.
    law = fit(a_swarm(metrics=2), kind, folds=0).parts[0].law
    data = _law_model._FORMS[kind](law.state(), [0, 1] * (METRICS // 2))
    assert len(json.dumps(data)) < MOST - REST


@pytest.mark.parametrize(("kind", "size"), [("autoscale", 130), ("bimix", 128)])
def test_the_laws_whose_fit_takes_minutes(kind, size):
    root = np.random.default_rng(0).normal(size=(size, size))
    numbers = {name: np.zeros(1) for name in ("noise", "unit")} | {
        "theta": np.zeros((1, size)),
        "tokens": 1,
        "floor": 0.1,
    }
    data = _law_model._FORMS[kind](numbers | {"covariance": (root @ root.T)[None]}, [0] * METRICS)
    assert len(json.dumps(data)) < MOST - REST


@pytest.mark.parametrize("bits", [16, 24])
@pytest.mark.parametrize("kind", ["linear", "log_linear", "bimix", "autoscale", "epochs"])
def test_rounding_changes_no_prediction_and_hardly_an_interval(browser, monkeypatch, kind, bits):
    law = fit(a_swarm(["web", "code", "books", "wiki", "maths"], 2, 40), kind, folds=0)
    mixtures = np.random.default_rng(1).dirichlet(0.7 * np.ones(5), 200)
    tab = browser.new_page()
    modules = script.MODULES[: script.MODULES.index("model") + 1]
    tab.set_content(f"<script>{script.script(modules)};globalThis.explorer = {{ Model }}</script>")
    call = """([data, rows]) => {
        const model = new explorer.Model(data);
        while (model.prepareNext());
        return rows.map((row) => [model.values(row), model.metrics.map((_, j) => model.sd(j, row))]);
    }"""
    monkeypatch.setattr(_law_model, "_FEW", 0)
    monkeypatch.setattr(_law_model, "_SOME", 0 if bits == 16 else 400_000)
    rounded = json.dumps(_law_model.law_model(law)[0])
    assert ('"i2"' in rounded, '"low"' in rounded) == (True, bits == 24)
    found = np.array(tab.evaluate(call, [json.loads(rounded), mixtures.tolist()]))
    tab.close()
    np.testing.assert_allclose(found[:, 0], law.predict(mixtures), rtol=1e-10)
    # The variances of these two are small differences of large terms.
    most = 1e-2 if bits == 16 and kind in ("autoscale", "bimix") else 1e-3
    np.testing.assert_allclose(found[:, 1], law.sd(mixtures), rtol=most)
