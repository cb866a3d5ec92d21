"""Controls of a proposal: the same law predicts cheap baselines, in the summary, the json and the report."""

import numpy as np
import pytest

import mixfast
from mixfast import baselines, report
from mixfast.region import Region

TOKENS = {"web": 9_000, "code": 3_000, "books": 500}


@pytest.fixture(scope="module")
def proposal():
    rng = np.random.default_rng(0)
    ratios = rng.dirichlet(np.ones(3), 24)
    values = np.exp(ratios @ [[-0.3, -0.1], [-0.6, 0.2], [0.1, -0.9]]) + 2
    swarm = mixfast.Swarm(ratios, values, domains=tuple(TOKENS), metric_names=["bpb_a", "bpb_b"])
    law = mixfast.fit(swarm, "log_linear", folds=0)
    return mixfast.propose(law, Region.from_tokens(TOKENS, 8_000), kl=0.01)


def test_a_control_is_the_baseline_with_the_laws_predictions(proposal):
    found = {one.name: one for one in proposal.controls}
    assert list(found) == ["natural", "temperature 3.33", "uniform", "UniMax"]
    assert found["natural"].is_prior
    assert found["UniMax"].mixture == baselines.unimax(TOKENS, 8_000)
    predicted = proposal.law.predict(found["UniMax"].mixture.weights[None, :])[0]
    assert list(found["UniMax"].predicted.values()) == pytest.approx(predicted, abs=1e-14)
    assert found["UniMax"].gain == pytest.approx(predicted.mean() - np.mean(list(proposal.predicted.values())))
    assert found["natural"].gain == pytest.approx(proposal.gain.value)


def test_a_control_outside_the_limits_is_said_to_be(proposal):
    # Equal shares read the books 5.3 times, more often than the limit of 4.
    outside = [one.name for one in proposal.controls if one.violation]
    assert outside == ["uniform"]
    line = proposal.summary().split("cheap controls: ")[1].splitlines()[0]
    assert [part.split(":")[0] for part in line.split("; ")] == ["temperature 3.33", "uniform", "UniMax"]
    assert line.split("; ")[1].endswith("(outside the limits)")


def test_the_json_and_the_page_have_the_controls(proposal):
    said = proposal.to_dict()["controls"]
    assert [one["name"] for one in said] == [one.name for one in proposal.controls]
    page = report.page(proposal, when="2026-01-31").html
    for words in ("UniMax", "temperature 3.33", "uniform (outside the limits)", "Cheap controls"):
        assert words in page


def test_a_region_without_limits_or_tokens_has_no_control_beside_its_prior(proposal):
    free = mixfast.propose(proposal.law)
    assert [one.name for one in free.controls if not one.is_prior] == []
    assert "controls" not in free.summary()
