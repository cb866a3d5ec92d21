"""Runs of earlier updates, converted to the present domains by the changes in a ledger."""

import numpy as np
import pytest

from mixfast import Region, Swarm
from mixfast.errors import AlignmentError
from mixfast.reuse import Add, Ledger, Partition, Remove, ReuseError, Revise, carry, full


def lived(*changes, mixture=None, tokens=None):
    """Return a ledger with these changes, one update each, and the last one's plan."""
    counts = dict.fromkeys(("web", "code"), 3 * 10**9) if tokens is None else tokens
    ledger = Ledger.start(mixture or {"web": 0.5, "code": 0.5}, why="start", tokens=counts or None)
    for change in changes:
        names = [name for name in ledger.mixture if name not in change.gone] + list(change.new)
        size = {"c": 10**9, "java": 2 * 10**9}
        region = (
            Region.from_tokens({name: size.get(name, 3 * 10**9) for name in names}, 10**9) if counts else Region(names)
        )
        plan = full(ledger.mixture, change, region)
        share = 1 / len(plan.part.domains)
        ledger = ledger.record(plan, dict.fromkeys(plan.part.domains, share), why=type(change).__name__)
    return ledger


def runs(ratios, domains, ids=None):
    ratios = np.atleast_2d(np.array(ratios, dtype=float))
    return Swarm(ratios, ratios[:, :1] + 1.0, domains=domains, metric_names=["loss"], runs=ids)


def test_domains_that_came_later_had_no_share():
    carried = carry(runs([[0.5, 0.5], [0.2, 0.8]], ["web", "code"]), lived(Add(["maths"]), Add(["law"])))
    assert carried.swarm.domains == ("web", "code", "maths", "law")
    assert carried.swarm.ratios.tolist() == [[0.5, 0.5, 0, 0], [0.2, 0.8, 0, 0]]
    assert carried.unseen == ("maths", "law")


def test_a_split_of_long_ago_gave_its_parts_their_natural_proportions():
    ledger = lived(Partition("code", ["c", "java"]), Add(["maths"]))
    carried = carry(runs([[0.4, 0.6], [1.0, 0.0]], ["web", "code"]), ledger)
    assert carried.swarm.align(["web", "c", "java", "maths"]).ratios == pytest.approx(
        np.array([[0.4, 0.2, 0.4, 0], [1, 0, 0, 0]])
    )


def test_a_split_without_token_counts_is_refused():
    with pytest.raises(ReuseError, match="has no tokens of c, java"):
        carry(runs([[0.4, 0.6]], ["web", "code"]), lived(Partition("code", ["c", "java"]), tokens={}))


def test_runs_of_what_changed_are_left_out_or_kept_beside_it():
    ledger = lived(Add(["maths"]), Revise(["code"]), Revise(["code"]), Remove(["maths"]))
    old = runs([[1.0, 0.0], [0.5, 0.5]], ["web", "code"])
    carried = carry(old, ledger)
    assert (carried.swarm.domains, carried.dropped) == (("web", "code"), ("1",))
    whole = carry(old, ledger, keep_gone=True)
    assert whole.dropped == ()
    assert set(whole.gone) == {"code (old)", "code (old) (old)", "maths"}
    assert whole.swarm.align(["web", "code", "code (old)", "code (old) (old)", "maths"]).ratios.tolist() == [
        [1, 0, 0, 0, 0],
        [0.5, 0, 0, 0.5, 0],
    ]
    assert whole.region.by_name(whole.region.cap)["code (old)"] == 0.0


def test_ids_say_of_which_update_runs_are():
    """Names alone do not show the update: a revised domain may keep its name."""
    ledger = lived(Revise(["code"]), Revise(["code"]))
    names = ["web", "code"]
    assert carry(runs([0.5, 0.5], names, ["u2-0"]), ledger).dropped == ()
    for ids in (["u1-0"], ["mine"]):
        with pytest.raises(ReuseError, match="no run can be kept"):
            carry(runs([0.5, 0.5], names, ids), ledger)


def test_a_domain_that_comes_back_is_the_same():
    ledger = lived(Add(["maths"]), Remove(["code"]), Add(["code"]))
    carried = carry(runs([0.5, 0.5], ["web", "code"]), ledger)
    assert carried.swarm.align(["web", "code", "maths"]).ratios.tolist() == [[0.5, 0.5, 0.0]]


def test_runs_of_unknown_domains_are_refused():
    with pytest.raises(AlignmentError, match="pdfs"):
        carry(runs([0.5, 0.5], ["web", "pdfs"]), lived(Add(["maths"])))
