"""The study of `benchmarks.studies.recovered`: where domains stop paying, and what is compared with what was planted."""

import csv

import numpy as np
import pytest

pytest.importorskip("scipy")
from benchmarks.studies import recovered
from benchmarks.studies.recovered import Planted, stops, worth_of_law, worth_of_wear
from mixfast import laws


def test_a_domain_without_harm_stops_paying_where_its_gain_is_spent():
    """With p = 1 the slope of the gain is exp(-rho E): a tenth of that at one epoch is left after log(10) / rho more epochs."""
    truth = Planted(np.ones((1, 2)), np.array([[0.0, 5.0]]), np.array([0.5]), np.array([1.0]), np.array([1.5]))
    alone, harmed = stops(worth_of_law(truth), 2)
    assert alone == pytest.approx(1.0 + np.log(10.0) / 0.5, rel=0.01)
    assert harmed < 3.0


def test_wear_stops_paying_at_its_threshold_or_where_its_tokens_have_faded():
    given = {
        "low": np.zeros(2),
        "high": np.ones(2),
        "told": {"a": True, "b": True},
        "why": {},
        "pooled": 1.0,
        "pooled_low": 0.0,
        "pooled_high": 2.0,
    }
    given |= {"residual": 0.1, "level": 0.9, "metrics": ("m",), "runs": 10, "repeated": np.ones(2), "most": np.ones(2)}
    for form, fitted, expected in (
        ("threshold", [2.0, 7.0], [2.0, 7.0]),
        ("fade", [1.0, 4.0], [1.0 + np.log(10.0), 1.0 + 4.0 * np.log(10.0)]),
    ):
        found = laws.FittedWear(domains=("a", "b"), form=form, fitted=np.array(fitted), power=1.0, **given)
        np.testing.assert_allclose(stops(worth_of_wear(found), 2), expected, rtol=0.02)


def test_a_study_continues_where_it_stopped(tmp_path, capsys):
    path = tmp_path / "recovered.csv"
    recovered.run(path, domains=[6], runs=[40], seeds=1)
    recovered.run(path, domains=[6], runs=[40, 60], seeds=1)
    rows = list(csv.DictReader(path.open(newline="", encoding="utf-8")))
    assert [row["runs"] for row in rows] == ["40", "60"]
    assert all(0.5 < float(row["r2"]) <= 1.0 for row in rows)
