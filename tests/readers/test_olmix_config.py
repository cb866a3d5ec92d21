"""Fit configurations of Olmix: read by name, refused where they would be misread."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from mixfast.errors import AlignmentError
from mixfast.readers import olmix_config
from mixfast.readers._olmix_config import OlmixConfigError

TEXT = """
swarm:
  ratios: ratios.csv
  metrics: metrics.csv
priors:
  relative_sizes: {web: 0.7, code: 0.1, books: 0.2}
  token_counts:
    books: 20_000
    web: 70_000
    code: 10_000
eval:
  type: offline
  tasks:
    math: [m1, m2]
    qa: [q1]
regression: {type: log_linear, seed: 3, train_split: 64}
proposer: {type: exact, kl_reg: 0.05, temperature: null}
constraints: {enabled: true, target_tokens: 100_000, repetition_factor: 4.0}
filtering:
  drop_metrics: [m2, absent]
  obj_weights: {math: "7/10.0", qa: 0.3}
"""


@pytest.fixture
def config(tmp_path):
    def write(text=TEXT, **changes):
        for old, new in changes.values():
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "fit.yaml").write_text(text)
        return olmix_config(tmp_path / "fit.yaml")

    return write


def test_a_configuration_says_what_to_do(config, tmp_path):
    found = config()
    assert found.ratios == tmp_path / "ratios.csv"
    assert found.token_counts == {"books": 20_000, "web": 70_000, "code": 10_000}
    assert (found.regression, found.proposer, found.kl, found.seed) == ("log_linear", "exact", 0.05, 3)
    assert (found.target_tokens, found.max_epochs, found.train_split) == (100_000, 4.0, (64.0,))
    assert found.families == {"math": ("m1", "m2"), "qa": ("q1",)}
    assert found.notes == ()
    assert not found.fit_only


def test_limits_go_by_name_and_not_by_position(config):
    for domains in (["web", "code", "books"], ["books", "web", "code"]):
        region = config().region(domains)
        assert region.domains == tuple(domains)
        assert dict(zip(domains, region.cap.round(12).tolist(), strict=True)) == {"web": 1.0, "code": 0.4, "books": 0.8}
        assert dict(zip(domains, region.prior.round(12).tolist(), strict=True)) == {
            "web": 0.7,
            "code": 0.1,
            "books": 0.2,
        }
    assert (config(off=("enabled: true", "enabled: false")).region(["web", "code", "books"]).cap == 1.0).all()
    with pytest.raises(AlignmentError, match="Only in the swarm: wiki"):
        config().region(["web", "code", "wiki"])


def test_weights_go_by_name_and_follow_what_is_dropped(config):
    assert config().objective(["q1", "m1"]) == pytest.approx({"q1": 0.3, "m1": 0.7})
    assert config().objective(["q1", "m1", "m2"]) == pytest.approx({"q1": 0.3, "m1": 0.35, "m2": 0.35})
    single = config(by=('{math: "7/10.0", qa: 0.3}', "{q1: 3, m2: 5}"))
    assert single.objective(["m1", "q1"]) == pytest.approx({"m1": 0.25, "q1": 0.75})
    assert config(by=('{math: "7/10.0", qa: 0.3}', "{}")).objective(["m1"]) is None
    with pytest.raises(AlignmentError, match="unknown metrics: math, q2; the metrics are: m1"):
        config(by=("qa: 0.3}", "q2: 0.3}")).objective(["m1"])
    with pytest.raises(AlignmentError, match="no metric of the family 'qa' is left"):
        config().objective(["m1"])


def test_the_swarm_of_a_configuration(config, tmp_path):
    (tmp_path / "ratios.csv").write_text("run,name,index,code,web,books\nr1,a,0,0.5,0.25,0.25\nr2,b,1,0,1,0\n")
    (tmp_path / "metrics.csv").write_text("run,name,index,m2,q1_score,m1\nr2,b,1,1,2,3\nr1,a,0,4,5,6\n")
    swarm = config().swarm()
    assert swarm.metrics == ("q1_score", "m1")
    assert swarm.domains == ("code", "web", "books")
    assert swarm.values.tolist() == [[5, 6], [2, 3]]
    assert set(swarm.unit) == {"bits_per_byte"}
    assert set(swarm.direction) == {"min"}
    assert config().region(swarm.domains).cap.round(12).tolist() == [0.4, 1.0, 0.8]


def test_what_contradicts_itself_is_said(config):
    note = config(sum=("web: 0.7,", "web: 0.63,")).notes
    assert "relative_sizes sum to 0.93" in note[0]
    assert "differ from the shares of token_counts" in note[1]
    outside = config(a=("  token_counts:\n", "token_counts:\n"), b=("  relative", "  relative"))
    assert outside.notes == ("token_counts stands beside priors and was taken for a part of it",)
    assert outside.token_counts == config().token_counts


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kl_reg", "kl_ref", r"proposer has the unknown key 'kl_ref' \(did you mean 'kl_reg'\?\)"),
        ("swarm:", "swarms:", r"unknown key 'swarms' \(did you mean 'swarm'"),
        ("  ratios: ratios.csv\n", "", r"swarm\.ratios must be the path of a file, got None"),
        ("temperature: null", "temperature: 0.5", r"proposer\.temperature = 0\.5 is not offered"),
        ("web: 70_000", "web: 70_000.5", r"token_counts\.web must be a whole number"),
        ("web: 70_000", "web: 1\n    web: 2", "'web' is given twice"),
        ("web: 70_000", "wiki: 70_000", "relative_sizes and token_counts name different domains"),
        ("web: 0.7", "web: -0.7", r"relative_sizes\.web must be a number of at least 0"),
        ("7/10.0", "7/0", r"obj_weights\.math must be a number"),
        ("target_tokens: 100_000", "target_tokens: null", "target_tokens is missing"),
        ("enabled: true", "enabled: maybe", "must be true or false, got 'maybe'"),
        ("[m1, m2]", "m1", r"eval\.tasks\.math must be a list"),
        ("priors:", "priors: [", "is not YAML"),
    ],
)
def test_bad_configurations_are_refused_with_a_reason(config, old, new, message):
    with pytest.raises((OlmixConfigError, AlignmentError), match=message):
        config(change=(old, new))


def test_the_case_study(shared_data, tmp_path):
    fits = json.loads((shared_data / "olmix" / "case_study.json").read_text())["fits"]
    assert len(fits) > 5
    for fit in fits.values():
        document = {
            "swarm": {"ratios": "r.csv", "metrics": "m.csv"},
            "priors": {"relative_sizes": fit["relative_sizes"], "token_counts": fit["token_counts"]},
            "filtering": {"obj_weights": fit["obj_weights"]},
            **{key: fit[key] for key in ("regression", "proposer", "constraints")},
        }
        (tmp_path / "fit.yaml").write_text(yaml.safe_dump(document))
        found = olmix_config(tmp_path / "fit.yaml")
        domains = sorted(found.prior, reverse=True)
        region = found.region(domains)
        assert region.prior.sum() == pytest.approx(1.0)
        if found.target_tokens is not None:
            tokens = np.array([found.token_counts[name] for name in domains])
            expected = np.minimum(found.max_epochs * tokens / found.target_tokens, 1.0)
            np.testing.assert_allclose(region.cap, expected, rtol=1e-12)
        assert found.kl is None or found.kl > 0.0


def test_names_that_tell_another_unit_keep_it(tmp_path):
    (tmp_path / "ratios.csv").write_text("run,a,b\n1,0.5,0.5\n2,0.2,0.8\n")
    (tmp_path / "metrics.csv").write_text("run,arc,c4_nats_per_byte\n1,1,2\n2,3,4\n")
    (tmp_path / "fit.yaml").write_text(
        "swarm: {ratios: ratios.csv, metrics: metrics.csv}\npriors: {relative_sizes: {a: 1, b: 1}}\n"
    )
    assert olmix_config(tmp_path / "fit.yaml").swarm().unit == ("bits_per_byte", "nats_per_byte")
