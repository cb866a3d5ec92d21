"""Proposals from laws in epochs: exact ones against a conic solver and their own certificate."""

import numpy as np
import pytest
from epoch_laws import Epochs, solve_cvxpy

from mixfast import Region
from mixfast.proposers import propose

REGIONS = {
    "free": {},
    "caps": {"cap": {"d0": 0.0, "d1": 0.05, "d2": 0.3}},
    "floors": {"floor": {"d0": 0.1, "d3": 1e-3}},
    "groups": {"bounds": {"g": (["d1", "d2", "d3"], 0.3, 0.5), "h": (["d0", "d4"], None, 0.1)}},
}


@pytest.mark.parametrize("kl", [0.0, 0.05])
@pytest.mark.parametrize("limits", REGIONS)
@pytest.mark.parametrize("how", ["sum", "worst", "tolerance"])
@pytest.mark.parametrize("p", [0.25, 0.9, 1.0])
def test_exact_proposals_against_a_conic_solver(p, how, limits, kl):
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(5)
    law = Epochs.random(rng, 4, 8, p=p)
    region = Region(law.domains, prior=rng.dirichlet(np.ones(8)), **REGIONS[limits])
    most, options = None, {"objective": "worst"} if how == "worst" else {}
    if how == "tolerance":
        options = {"tolerance": 0.02, "reference": dict(zip(law.domains, region.project(region.prior), strict=True))}
        most = law.predict(region.project(region.prior)[None])[0] * law.sign + 0.02
    found = propose(law, region, kl=kl, method="exact", **options)
    best = solve_cvxpy(cp, law, region, np.full(4, 0.25), kl=kl, worst=how == "worst", most=most).value
    assert found.status == "optimal"
    assert found.gap <= 1e-9 * max(1.0, abs(found.value))
    assert found.value == pytest.approx(best, abs=2e-6)
