"""Mixture reuse: the published case study, the identities behind collapsed domains, and the predicted cost of freezing."""

import itertools
import json
import math
import sys

import epoch_laws
import numpy as np
import pytest
import yaml

from mixfast import Mixture, Region, Swarm, fit, propose
from mixfast.errors import AlignmentError, InfeasibleError
from mixfast.laws.log_linear import LogLinear
from mixfast.reuse import Add, Ledger, Partition, Remove, ReuseError, Revise, full, kappa, partial, swarm, together
from mixfast.swarm import SwarmError

# The published mixtures have 16 digits and were divided once.
DIGITS = 1e-12


class Law:
    """A log-linear law with given coefficients, with the interface of a fit."""

    name = "log_linear"

    def __init__(self, domains, a, gamma=None):
        self.domains, self.a = tuple(domains), np.asarray(a, dtype=float)
        self.gamma = np.full(len(self.a), -1.0) if gamma is None else np.asarray(gamma, dtype=float)
        self.metrics = tuple(f"m{j}" for j in range(len(self.a)))
        self.direction = ("min",) * len(self.a)

    def predict(self, w):
        return np.exp(self.gamma) + np.exp(np.asarray(w) @ self.a.T)


def planted(k, j, seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(j, k)) * scale, rng.dirichlet(np.ones(k) * 3)


@pytest.fixture(scope="module")
def case(shared_data):
    return json.loads((shared_data / "olmix" / "case_study.json").read_text(encoding="utf-8"))


def frozen_of(case, stage, block):
    return case["stages"][stage]["frozen_weights"][block]


# The case study (papers.md 4.10).


@pytest.fixture(scope="module")
def stages(case):
    first = {f"dclm:{name}": share for name, share in frozen_of(case, "1_add_stackedu", "dclm").items()}
    second = frozen_of(case, "2_add_more_sources", "existing")
    third = frozen_of(case, "3_revise_pdfs", "existing")
    last = frozen_of(case, "5_partition_pdfs", "existing")
    assert [len(stage) for stage in (first, second, third, last)] == [24, 39, 44, 43]
    return first, second, third, last


def test_adding_stack_edu_reproduces_the_published_mixture(stages):
    first, second, _, _ = stages
    code = [name for name in second if name.startswith("stack-edu:")]
    plan = full(first, Add(code), Region(second), virtual="dclm")
    share = math.fsum(second[name] for name in first)
    found = plan.expand({"dclm": share} | {name: second[name] for name in code})
    # The published shares sum to 1 with an error of 3e-12; those of a Mixture are exact.
    ratio = found["dclm:art_and_design"] / first["dclm:art_and_design"] * math.fsum(second.values())
    assert ratio == pytest.approx(0.6876104286691, abs=1e-13)
    assert all(found[name] == pytest.approx(second[name], abs=DIGITS) for name in second)
    assert plan.collapse(found)["dclm"] == pytest.approx(share / math.fsum(second.values()), abs=DIGITS)
    assert (plan.runs, plan.full_runs) == (3 * 17, 3 * 40)


def test_seven_languages_stand_at_their_cap_of_four_repeats(case, stages):
    first, second, _, _ = stages
    fit = case["fits"]["1_add_stackedu"]
    tokens = {name: n for name, n in fit["token_counts"].items() if name != "dclm"}
    old = case["fits"]["0_dclm"]["token_counts"]
    scale = 5e12 / sum(old.values())
    tokens |= {f"dclm:{name}": int(n * scale) for name, n in old.items()}
    region = Region.from_tokens(tokens, 10**12)
    plan = full(first, Add([name for name in second if name.startswith("stack-edu:")]), region, virtual="dclm")
    found = plan.expand({"dclm": math.fsum(second[n] for n in first)} | {n: second[n] for n in plan.part.others})
    repeats = found.epochs(tokens, 10**12)
    at_cap = {name.partition(":")[2] for name, times in repeats.items() if abs(times - 4.0) < 5e-4}
    assert at_cap == {"Cpp", "Go", "JavaScript", "Python", "Rust", "Shell", "Swift"}
    others = [repeats[name] for name in plan.part.others if name.partition(":")[2] not in at_cap]
    assert 0.65 < min(others) < 0.67
    assert 3.78 < max(others) < 3.80
    assert plan.region.contains(plan.collapse(found), atol=1e-8)


def test_the_chain_of_updates_keeps_the_published_constants(stages):
    first, second, third, last = stages
    new = [name for name in third if name not in second]
    plan = full(second, Add(new), Region(third))
    share = math.fsum(third[name] for name in second)
    expanded = plan.expand({"existing": share} | {name: third[name] for name in new})
    assert expanded["arxiv"] == pytest.approx(third["arxiv"], abs=DIGITS)
    # After two updates, the first mixture's ratios still hold, up to the product of the constants.
    product = 0.6876104286691 * 0.8106150408600834
    for name in first:
        assert expanded[name] / first[name] == pytest.approx(product, rel=1e-10)
        assert expanded[name] / second[name] == pytest.approx(0.8106150408600834, rel=1e-10)

    removed = full(third, Remove(["algebraicstack"]), Region([name for name in third if name != "algebraicstack"]))
    assert removed.runs == 0
    assert removed.safe
    assert all(removed.mixture[name] == pytest.approx(last[name], abs=DIGITS) for name in last)
    ratio = removed.mixture["arxiv"] / third["arxiv"]
    assert ratio == pytest.approx(1.0210352449684, abs=DIGITS)
    assert third["algebraicstack"] == pytest.approx(0.0206018794, abs=1e-10)


def test_the_cap_that_the_published_configuration_leaves_out(case, stages):
    """Frozen finemath is repeated 4.19 times within the frozen part, so that part may have a share of at most .955 (papers.md 4.11)."""
    last = stages[3]
    tokens = case["fits"]["full_recomputation"]["token_counts"]
    parts = [name for name in tokens if name not in last]
    assert (len(last), len(parts)) == (43, 21)
    old = {name: share * 0.98 for name, share in last.items()} | {"pdfs": 1.0 - 0.98 * math.fsum(last.values())}
    plan = full(old, Partition("pdfs", parts), Region.from_tokens(tokens, 10**12))
    cap, name = plan.part.cap
    assert name == "finemath-3plus"
    assert cap == pytest.approx(0.955, abs=5e-4)
    assert (plan.runs, plan.full_runs) == (3 * 23, 3 * 65)


def test_partial_reuse_freezes_the_published_ratios(case, stages):
    first = stages[0]
    expected = frozen_of(case, "partial_mixture_reuse", "dclm")
    plan = partial(first, Add(["code"]), Region([*first, "code"]), reopen=["dclm:software_development"], virtual="dclm")
    assert len(expected) == 23
    assert all(plan.frozen[f"dclm:{name}"] == pytest.approx(share, abs=DIGITS) for name, share in expected.items())
    ratio = plan.frozen["dclm:health"] / first["dclm:health"]
    assert ratio == pytest.approx(1.46571821279, abs=1e-11)
    assert plan.part.others == ("dclm:software_development", "code")


# Collapsed domains.


@pytest.mark.parametrize("seed", range(5))
def test_kl_collapses_exactly(seed):
    rng = np.random.default_rng(seed)
    names = [f"d{k}" for k in range(9)]
    prior, old = rng.dirichlet(np.ones(9)), rng.dirichlet(np.ones(6))
    old = dict(zip(names[:6], old, strict=True))
    plan = full(old, Add(names[6:]), Region(names, prior=prior))
    r = Mixture(plan.part.domains, rng.dirichlet(np.ones(4)))
    q = plan.expand(r)

    def kl(p, to):
        return math.fsum(share * math.log(share / to[name]) for name, share in p.items())

    whole = kl(q, dict(zip(names, prior, strict=True)))
    assert whole == pytest.approx(kl(r, plan.part.natural) + r["existing"] * plan.part.divergence, abs=1e-12)
    centre = dict(zip(plan.region.domains, plan.region.prior.tolist(), strict=True))
    assert whole == pytest.approx(kl(r, centre) + plan.part.kl_constant, abs=1e-12)
    assert sum(plan.sampling.prior) == pytest.approx(1.0)
    assert plan.sampling.prior[0] == pytest.approx(prior[:6].sum())


def test_the_collapsed_optimum_is_the_best_of_its_kind():
    """Solve with collapsed domains, their prior and cap, and solve over all domains with the ratios as constraints."""
    a, old = planted(8, 5, 1)
    names = [f"d{k}" for k in range(8)]
    old = dict(zip(names[:5], old[:5] / old[:5].sum(), strict=True))
    prior = np.random.default_rng(3).dirichlet(np.ones(8))
    region = Region(names, prior=prior, cap={"d1": 0.1, "d6": 0.3})
    plan = full(old, Add(names[5:]), region)
    law = Law(names, a)
    inside = propose(Law(plan.part.domains, a @ plan.part.matrix), plan.region, kl=0.05)
    same = {f"{x} as frozen": ({x: 1.0, "d0": -old[x] / old["d0"]}, 0.0, 0.0) for x in names[1:5]}
    held = {k: {"domains": m, "lower": lo, "upper": hi} for k, (m, lo, hi) in same.items()}
    outside = propose(law, region.replace(bounds=held), kl=0.05)
    assert inside.value + 0.05 * plan.part.kl_constant == pytest.approx(outside.value, abs=1e-8)
    assert plan.expand(inside.mixture).weights == pytest.approx(outside.mixture.weights, abs=1e-5)
    assert region.contains(plan.expand(inside.mixture))


def test_the_virtual_cap_is_the_tightest_member():
    old = {"a": 0.25, "b": 0.25, "c": 0.5}
    region = Region.from_tokens({"a": 100, "b": 30, "c": 100, "n": 300}, 1000)
    plan = full(old, Add(["n"]), region)
    assert plan.part.cap == (pytest.approx(4 * 30 / 1000 / 0.25), "b")
    assert plan.region.cap[0] == pytest.approx(0.48)
    with pytest.raises(InfeasibleError, match=r"'b'.*[Rr]eopen"):
        full(old, Add(["n"]), region.replace(cap={"n": 0.5}))


def test_floors_and_groups_collapse():
    old = {"a": 0.25, "b": 0.75}
    region = Region(["a", "b", "n"], floor={"a": 0.1}, bounds={"an": (["a", "n"], None, 0.6)})
    plan = full(old, Add(["n"]), region)
    assert plan.region.floor[0] == pytest.approx(0.4)
    rng = np.random.default_rng(0)
    for share in rng.uniform(0.0, 1.0, 50):
        r = {"existing": share, "n": 1.0 - share}
        assert plan.region.contains(r, atol=1e-12) == region.contains(plan.expand(r), atol=1e-12)


def test_names_are_keys_not_pieces_of_names():
    old = {"web": 0.5, "web:a": 0.3, "web:ab": 0.2}
    plan = partial(old, Add(["we"]), Region(["we", "web:ab", "web", "web:a"]), reopen=["web:a"], virtual="eb")
    found = plan.expand({"web:a": 0.2, "we": 0.1, "eb": 0.7})
    assert found["web"] == pytest.approx(0.5)
    assert found["web:ab"] == pytest.approx(0.2)
    rows = plan.expand_rows([[0.2, 0.1, 0.7]], ["web:a", "we", "eb"])
    assert dict(zip(plan.part.full.domains, rows[0], strict=True)) == pytest.approx(dict(found))
    with pytest.raises(ReuseError, match="another name"):
        full(old, Add(["new"]), Region([*old, "new"]), virtual="web")


def test_the_old_law_gives_the_virtual_coefficient():
    a, w = planted(6, 4, 2)
    names = [f"d{k}" for k in range(6)]
    old = dict(zip(names, w, strict=True))
    plan = full(old, Add(["new"]), Region([*names, "new"]))
    slopes = plan.virtual_slopes(Law(names, a))
    assert list(slopes.values()) == pytest.approx((a @ w).tolist(), abs=1e-14)
    # Nested: the second law is over collapsed domains, whose virtual domain is frozen again.
    second = plan.expand({"existing": 0.7, "new": 0.3})
    nested = full(second, Add(["more"]), Region([*names, "new", "more"]))
    b = np.random.default_rng(5).normal(size=(4, 2))
    slopes = nested.virtual_slopes(Law(["existing", "new"], b), earlier=plan)
    assert list(slopes.values()) == pytest.approx((b @ [0.7, 0.3]).tolist(), abs=1e-12)
    with pytest.raises(ReuseError, match="earlier="):
        nested.virtual_slopes(Law(["existing", "new"], b))


def test_the_virtual_coefficient_is_what_a_fit_finds():
    a, w = planted(5, 3, 4)
    names = [f"d{k}" for k in range(5)]
    plan = full(dict(zip(names[:4], w[:4] / w[:4].sum(), strict=True)), Add(["d4"]), Region(names))
    rows = np.random.default_rng(1).dirichlet(np.ones(2), 40)
    y = Law(names, a).predict(plan.expand_rows(rows, plan.part.domains))
    found = LogLinear().fit(rows, y).a
    truth = a @ plan.part.matrix
    assert found == pytest.approx(truth, abs=1e-4)


# The predicted cost of freezing.


def two_camps():
    """Return old domains that each serve one of two tasks; the new one serves the task of d0 and d1."""
    names = [f"d{k}" for k in range(6)]
    a = np.zeros((4, 6))
    a[0, 0], a[0, 1], a[1, 1] = -2.0, -0.5, -1.5
    a[2, 3], a[3, 4], a[3, 5] = -1.5, -1.2, -0.3
    prior = np.full(6, 1 / 6)
    law = Law(names, a)
    old = propose(law, Region(names, prior=prior), kl=0.05).mixture
    truth = Law([*names, "new"], np.hstack([a, a[:, :1] * 1.5]))
    return law, truth, old, Region([*names, "new"], prior=1)


def test_partial_reuse_reopens_what_the_change_couples_with():
    law, _, old, region = two_camps()
    plan = partial(old, Add(["new"]), region, law=law, kl=0.05, like={"new": "d0"})
    assert "d0" in plan.reopened
    assert len(plan.reopened) < 4
    assert not {"d3", "d4"} & set(plan.reopened)
    assert plan.loss <= 0.02 * plan.coupling.gain
    assert plan.coupling.loss_full > plan.loss
    assert plan.safe
    frozen = full(old, Add(["new"]), region, law=law, kl=0.05, like={"new": "d0"})
    assert frozen.loss == pytest.approx(plan.coupling.loss_full, abs=1e-9)
    assert plan.runs > frozen.runs


def test_the_predicted_loss_is_the_true_one_for_a_true_law():
    _, truth, old, region = two_camps()
    best = propose(truth, region, kl=0.05)
    for plan in (
        full(old, Add(["new"]), region, law=truth, kl=0.05),
        partial(old, Add(["new"]), region, law=truth, kl=0.05),
        partial(old, Add(["new"]), region, law=truth, kl=0.05, reopen=["d3"]),
    ):
        mixture = plan.expand(propose(Law(plan.part.domains, truth.a @ plan.part.matrix), plan.region, kl=0.05).mixture)
        w = mixture.align(region.domains).weights
        value = truth.predict(w).mean() + 0.05 * float(w @ np.log(w / region.prior))
        assert plan.loss == pytest.approx(value - best.value, abs=1e-7)


def test_all_open_loses_nothing_and_more_open_never_more():
    _, truth, old, region = two_camps()
    losses = [
        partial(old, Add(["new"]), region, law=truth, kl=0.05, reopen=[f"d{k}" for k in range(n)]).loss
        for n in range(6)
    ]
    assert losses == sorted(losses, reverse=True)
    # A single frozen domain has no ratios that could be wrong.
    assert losses[-1] == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize("seed", range(4))
def test_no_smaller_set_would_do(seed):
    """Compare with all sets of domains to reopen: the result has at most one more than the smallest."""
    a, _ = planted(7, 5, seed)
    names = [f"d{k}" for k in range(6)]
    old = propose(Law(names, a[:, :6]), Region(names, prior=1), kl=0.2).mixture
    truth, region = Law([*names, "new"], a), Region([*names, "new"], prior=1)
    plan = partial(old, Add(["new"]), region, law=truth, kl=0.2, allowed=0.005)

    def enough(reopen):
        return partial(old, Add(["new"]), region, law=truth, kl=0.2, reopen=reopen).loss <= 0.005 * plan.coupling.gain

    assert enough(plan.reopened)
    least = next(size for size in range(7) if any(enough(some) for some in itertools.combinations(names, size)))
    assert len(plan.reopened) <= least + 1


def test_a_fitted_law_serves_as_the_old_one():
    a, w = planted(4, 3, 8)
    names = [f"d{k}" for k in range(4)]
    rows = np.random.default_rng(2).dirichlet(np.ones(4), 40)
    runs = Swarm(rows, Law(names, a).predict(rows), domains=names, metric_names=["x", "y", "z"])
    law = fit(runs, "log_linear", folds=0)
    old = dict(zip(reversed(names), w, strict=True))
    plan = partial(old, Add(["new"]), Region(["new", *names], prior=1), law=law, kl=0.1, like={"new": "d1"})
    exact = partial(old, Add(["new"]), Region(["new", *names], prior=1), law=Law(names, a), kl=0.1, like={"new": "d1"})
    assert plan.reopened == exact.reopened
    assert plan.loss == pytest.approx(exact.loss, abs=1e-4)
    point = np.array([plan.frozen.get(n, 0.0) for n in names])
    assert list(plan.virtual_slopes(law).values()) == pytest.approx((a @ point).tolist(), abs=1e-3)
    with pytest.raises(ReuseError, match="not log_linear"):
        plan.virtual_slopes(fit(runs, "linear", folds=0))
    with pytest.raises(ReuseError, match="linear laws"):
        partial(old, Add(["new"]), Region(["new", *names]), law=fit(runs, "gp", folds=0))
    with pytest.raises(ReuseError, match="like must map"):
        full(old, Add(["new"]), Region(["new", *names]), law=law, like={"new": "d9"})


def test_a_sparse_old_mixture():
    law, truth, _, region = two_camps()
    old = dict.fromkeys(law.domains, 0.0) | {"d0": 0.6, "d3": 0.4}
    plan = full(old, Add(["new"]), region, law=truth)
    assert plan.frozen["d5"] == 0.0
    assert plan.expand({"existing": 0.5, "new": 0.5})["d1"] == 0.0
    with pytest.raises(ReuseError, match="nothing is left"):
        partial(old, Add(["new"]), region, reopen=["d0", "d3"])


def test_the_user_overrules_and_is_told():
    law, _, old, region = two_camps()
    plan = partial(old, Add(["new"]), region, law=law, kl=0.05, like={"new": "d0"}, reopen=["d5"], allowed=1e-4)
    assert plan.reopened == ("d5",)
    assert not plan.safe
    assert "reopen d" in plan.report
    assert "d0" in plan.coupling.reopen
    with pytest.raises(ReuseError, match="the old law is needed to choose"):
        partial(old, Add(["new"]), region)


def test_nothing_known_is_the_worst_case_and_said():
    law, _, old, region = two_camps()
    unknown = full(old, Add(["new"]), region, law=law, kl=0.05)
    known = [full(old, Add(["new"]), region, law=law, kl=0.05, like={"new": d}).loss for d in law.domains]
    assert unknown.loss == pytest.approx(max(known), abs=1e-9)
    assert "nothing is known about new" in " ".join(unknown.warnings)
    assert not full(old, Add(["new"]), region).safe


def test_kappa_by_hand():
    slopes = np.array([[3.0, 4.0, 0.5], [1.0, 0.0, 2.0]])
    assert kappa(slopes, [0, 1], [2]) == pytest.approx(math.hypot((1 + 5 + 0.5) * 5, (1 + 1 + 2) * 1))
    assert kappa(slopes, [2], [0, 1]) == pytest.approx(math.hypot((1 + 0.5 + 5) * 0.5, (1 + 2 + 1) * 2))


def test_parts_and_revisions_act_like_what_they_come_from():
    law, _, old, _ = two_camps()
    names = [n for n in law.domains if n not in ("d0", "d4")]
    region = Region([*names, "p", "q", "d4b"], prior=1)
    plan = partial(old, [Partition("d0", ["p", "q"]), Revise({"d4": "d4b"})], region, law=law, kl=0.05)
    assert plan.coupling.like == {"p": "d0", "q": "d0", "d4b": "d4"}
    assert not plan.coupling.assumed
    assert plan.update.gone == ("d0", "d4")


# Removal, and invalid input.


def test_remove_reopens_what_breaks_a_cap():
    old = {"a": 0.3, "b": 0.3, "c": 0.2, "d": 0.2}
    plan = full(old, Remove(["d"]), Region(["a", "b", "c"], cap={"a": 0.35}))
    assert plan.reopened == ("a",)
    assert plan.runs == 9
    assert "a" in plan.notes[0]
    assert dict(plan.frozen) == pytest.approx({"b": 0.6, "c": 0.4})
    with pytest.raises(ReuseError, match="open"):
        _ = plan.mixture


def test_a_share_above_its_new_cap_is_named():
    plan = full({"a": 0.5, "b": 0.5}, Add(["n"]), Region(["a", "b", "n"], cap={"a": 0.2}))
    assert not plan.safe
    assert "a (0.5 > 0.2)" in plan.report
    assert plan.region.cap[0] == pytest.approx(0.4)


def test_changes_that_do_not_fit():
    old = {"a": 0.5, "b": 0.5}
    with pytest.raises(ReuseError, match="z cannot be removed, split or revised"):
        full(old, Revise(["z"]), Region(["a", "b"]))
    with pytest.raises(ReuseError, match="exist already"):
        full(old, Add(["a"]), Region(["a", "b"]))
    with pytest.raises(ReuseError, match="two parts"):
        Partition("a", ["a1"])
    with pytest.raises(ReuseError, match="more than one change"):
        full(old, [Remove(["a"]), Revise(["a"])], Region(["a", "b"]))
    with pytest.raises(AlignmentError, match="a2"):
        full(old, Partition("a", ["a1", "a2"]), Region(["b", "a1", "a3"]))
    with pytest.raises(ReuseError, match="nothing is left"):
        full(old, Revise(["a", "b"]), Region(["a", "b"]))
    with pytest.raises(ReuseError, match="cannot be reopened"):
        partial(old, Add(["n"]), Region(["a", "b", "n"]), reopen=["n"])
    plan = full(old, Add(["n"]), Region(["a", "b", "n"]))
    with pytest.raises(ReuseError, match="ratios"):
        plan.collapse({"a": 0.5, "b": 0.3, "n": 0.2})
    with pytest.raises(AlignmentError):
        plan.expand({"existing": 0.5, "m": 0.5})


# The ledger.


@pytest.fixture
def life():
    """Return three successive updates of a mixture with unusual names."""
    first = {"web": 0.1 + 0.2, "1e5": 0.3, "na: me #\u2028": 0.4}
    ledger = Ledger.start(first, why='the "first"\nswarm: 64 runs # c=3', when="2026-01-31")
    plan = full(ledger.mixture, Add(["code"]), Region([*first, "code"]))
    ledger = ledger.record(plan, {"existing": 1 / 3, "code": 2 / 3}, why="code came", when="2026-02-01")
    old = ledger.mixture
    plan = partial(old, Partition("code", ["c", "no"]), Region([*first, "c", "no"]), reopen=["web"], virtual="rest")
    result = {"rest": 0.7, "web": 1e-5, "c": 0.2, "no": 0.1 - 1e-5}
    ledger = ledger.record(plan, result, why="by language", when="2026-02-02")
    plan = full(ledger.mixture, Remove(["no"]), Region([*first, "c"]))
    return ledger.record(plan, plan.mixture, why="not wanted", when="2026-02-03")


def test_ledgers_come_back_to_the_last_bit(life, tmp_path):
    assert Ledger.from_yaml(life.to_yaml()) == life
    assert Ledger.from_json(life.to_json()) == life
    for name in ("ledger.yaml", "ledger.json"):
        life.save(tmp_path / name)
        assert Ledger.load(tmp_path / name) == life
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ledger.json", "ledger.yaml"]
    assert [entry.kind for entry in life.entries] == ["start", "full", "partial", "full"]
    assert life.entries[2].reopened == ("web",)
    assert life.entries[3].runs == 0
    commented = "# kept by hand\n" + life.to_yaml().replace("updates:", "\n  # the life\nupdates:")
    assert Ledger.from_yaml(commented) == life


def test_any_yaml_reader_reads_the_same(life):
    assert yaml.safe_load(life.to_yaml()) == json.loads(life.to_json())


def test_frozen_ratios_hold_through_a_whole_life(life):
    start, end = life.entries[0].mixture, life.mixture
    assert end["1e5"] / end["na: me #\u2028"] == pytest.approx(start["1e5"] / start["na: me #\u2028"], rel=1e-12)


def test_a_ledger_that_was_edited_or_is_of_another_version(life, tmp_path):
    text = life.to_yaml()
    with pytest.raises(ReuseError, match="checksum"):
        Ledger.from_yaml(text.replace("code came", "code went"))
    with pytest.raises(ReuseError, match="mixfast-reuse-2"):
        Ledger.from_json(life.to_json().replace("mixfast-reuse-1", "mixfast-reuse-2"))
    for broken in ("", "a", "format: [", text.replace("updates:", "updates"), text + "   stray: 1\n", "- a: 1\n b: 2"):
        with pytest.raises(ReuseError):
            Ledger.from_yaml(broken)
    with pytest.raises(ReuseError, match="not JSON"):
        Ledger.from_json("{")
    path = tmp_path / "cut.yaml"
    path.write_text(text[: len(text) // 2], encoding="utf-8")
    with pytest.raises(ReuseError, match=r"cut\.yaml"):
        Ledger.load(path)


def test_a_ledger_refuses_what_does_not_follow(life):
    domains = [*life.mixture, "new"]
    other = dict(zip(life.mixture, [0.4, 0.3, 0.2, 0.1], strict=True))
    with pytest.raises(ReuseError, match="not made from the ledger's last mixture"):
        life.record(full(other, Add(["new"]), Region(domains)), {"existing": 0.5, "new": 0.5}, why="x")
    plan = full(life.mixture, Add(["new"]), Region(domains))
    with pytest.raises(ReuseError, match="ratios"):
        life.record(plan, Mixture(domains, [0.2] * 5), why="x")
    with pytest.raises(ReuseError, match="why"):
        life.record(plan, {"existing": 0.5, "new": 0.5}, why=" ")
    with pytest.raises(AlignmentError):
        life.record(full({"a": 0.5, "b": 0.5}, Remove(["b"]), Region(["a"])), {"a": 1.0}, why="x")


# Swarm reuse.


def old_swarm():
    ratios = [[0.5, 0.5, 0.0], [0.2, 0.3, 0.5], [0.0, 0.9, 0.1], [1.0, 0.0, 0.0]]
    return Swarm(
        ratios, [1.0, 2.0, 3.0, 4.0], domains=["a", "b", "c"], metric_names=["m"], runs=list("wxyz"), chosen=["x"]
    )


def test_old_runs_are_carried_by_name():
    region = Region.from_tokens({"new": 50, "b2": 300, "a": 100, "b1": 100, "c": 100}, 100)
    found = swarm(old_swarm(), [Add(["new"]), Partition("b", ["b1", "b2"])], region)
    assert found.swarm.domains == region.domains
    row = dict(zip(found.swarm.domains, found.swarm.ratios[1].tolist(), strict=True))
    assert row == pytest.approx({"new": 0.0, "b2": 0.225, "a": 0.2, "b1": 0.075, "c": 0.5})
    assert found.unseen == ("new",)
    assert found.dropped == ()
    assert found.swarm.chosen.tolist() == [False, True, False, False]


def test_runs_on_data_that_is_no_more_are_dropped():
    for change, region in ((Remove(["c"]), Region(["b", "a"])), (Revise(["c"]), Region(["a", "b", "c"]))):
        found = swarm(old_swarm(), change, region)
        assert found.swarm.runs == ("w", "z")
        assert found.dropped == ("x", "y")
    near = swarm(old_swarm(), Remove(["c"]), Region(["b", "a"]), tolerance=0.2)
    assert near.swarm.runs == ("w", "y", "z")
    assert near.swarm.ratios[1].tolist() == [1.0, 0.0]
    with pytest.raises(ReuseError, match="no run can be kept"):
        swarm(old_swarm().subset([1]), Remove(["c"]), Region(["a", "b"]))


def test_runs_on_data_that_is_no_more_can_be_kept():
    region = Region.from_tokens({"a": 100, "c": 50, "b1": 75, "b2": 25}, 100, cap={"a": 0.9})
    found = swarm(old_swarm(), [Partition("b", ["b1", "b2"]), Revise(["c"])], region, keep_gone=True)
    assert found.dropped == ()
    assert (found.swarm.domains, found.gone, found.unseen) == (("a", "c", "b1", "b2", "c (old)"), ("c (old)",), ("c",))
    assert found.swarm.ratios[1] == pytest.approx([0.2, 0.0, 0.225, 0.075, 0.5])
    assert found.region.cap.tolist() == [0.9, 1.0, 1.0, 1.0, 0.0]
    assert found.region.prior == pytest.approx([0.4, 0.2, 0.3, 0.1, 0.0])
    # At the next update, domains that were removed before are listed beside those removed now.
    later = Region(["n", "c", "b1", "b2"], bounds={("b1", "b2"): (0.1, None)})
    again = swarm(found.swarm, [Remove(["a"]), Add(["n"])], later, keep_gone=True)
    assert again.gone == ("c (old)", "a")
    row = dict(zip(again.swarm.domains, again.swarm.ratios[1].tolist(), strict=True))
    assert row == pytest.approx({"n": 0.0, "c": 0.0, "b1": 0.225, "b2": 0.075, "a": 0.2, "c (old)": 0.5})
    assert again.region.project([0.0, 0.0, 0.0, 0.0, 1.0, 0.0])[-2:].tolist() == [0.0, 0.0]
    with pytest.raises(ReuseError, match=r"'c' cannot be kept as 'c \(old\)'"):
        swarm(old_swarm(), [Revise(["c"]), Add(["c (old)"])], Region(["a", "b", "c", "c (old)"]), keep_gone=True)


def test_old_and_new_runs_are_put_together_by_name():
    new = Swarm([[0.1, 0.2, 0.7]], [9.0], domains=["c", "b", "a"], metric_names=["m"], runs=["new"])
    both = together(old_swarm(), new)
    assert (both.runs, both.domains) == (("w", "x", "y", "z", "new"), ("a", "b", "c"))
    assert both.ratios[-1].tolist() == [0.7, 0.2, 0.1]
    assert both.values[:, 0].tolist() == [1.0, 2.0, 3.0, 4.0, 9.0]
    with pytest.raises(AlignmentError, match="Only in"):
        together(old_swarm(), Swarm([[0.1, 0.9]], [9.0], domains=["c", "b"], metric_names=["m"], runs=["new"]))
    with pytest.raises(AlignmentError, match="the first runs' metrics"):
        together(
            old_swarm(), Swarm([[0.1, 0.2, 0.7]], [9.0], domains=["c", "b", "a"], metric_names=["n"], runs=["new"])
        )
    with pytest.raises(SwarmError, match="x"):
        together(old_swarm(), old_swarm())


def test_collapsed_runs_are_expanded_as_they_were_trained():
    plan = full({"a": 0.25, "b": 0.75}, Add(["n"]), Region(["n", "a", "b"]))
    runs = Swarm([[0.4, 0.6]], [1.0], domains=["n", "existing"], metric_names=["m"])
    assert plan.expand_swarm(runs).ratios[0] == pytest.approx([0.4, 0.15, 0.45])


def test_changes_of_every_kind_are_in_the_ledger():
    ledger = Ledger.start({"a": 0.5, "b": 0.2, "c": 0.2, "d": 0.1}, why="first", when="2026-01-31")
    changes = [Revise({"b": "b2"}), Partition("c", ["c1", "c2"]), Add(["e"]), Remove(["d"])]
    plan = full(ledger.mixture, changes, Region(["a", "b2", "c1", "c2", "e"]))
    result = dict.fromkeys(plan.part.domains, 0.2)
    ledger = ledger.record(plan, result, why="all at once", when="2026-02-01")
    assert Ledger.from_yaml(ledger.to_yaml()) == ledger
    assert ledger.entries[1].changes == (
        {"change": "revise", "domains": {"b": "b2"}},
        {"change": "partition", "parent": "c", "parts": ["c1", "c2"]},
        {"change": "add", "domains": ["e"]},
        {"change": "remove", "domains": ["d"]},
    )


def test_a_ledger_is_saved_without_locks_where_the_system_has_none(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    ledger = Ledger.start({"a": 0.5, "b": 0.5}, why="first", when="2026-01-31")
    ledger.save(tmp_path / "life.yaml")
    assert Ledger.load(tmp_path / "life.yaml") == ledger


def test_laws_in_epochs_predict_collapsed_mixtures_but_not_the_loss_of_freezing():
    swarm = epoch_laws.runs(budget=np.linspace(5e8, 1e9, 60))
    law, old = fit(swarm, "epochs", folds=0), Mixture(swarm.domains, [0.4, 0.3, 0.2, 0.1])
    tokens = dict.fromkeys(swarm.domains, 10**9)
    region = Region.from_tokens(tokens | {"new": 10**9}, 10**9)
    with pytest.raises(
        ReuseError, match=r"needs log-linear or linear laws; those of x_loss, y_loss are laws in epochs"
    ):
        full(old, Add(["new"]), region, law=law.for_run(tokens, 1e9), like={"new": "a"})
    plan = partial(old, Revise(["a"]), Region.from_tokens(tokens, 10**9), reopen=["b"])
    collapsed = plan.collapse_law(law)
    whole = law.for_run(tokens, 1e9)
    w = plan.region.project(plan.region.prior)
    np.testing.assert_allclose(
        collapsed.predict(w[None]), whole.predict(plan.expand(dict(zip(plan.region.domains, w, strict=True))))
    )
    assert propose(collapsed, plan.region).status == "searched"


def test_laws_in_epochs_over_a_frozen_block_predict_the_target_run():
    # The tokens of the frozen domains are in their natural ratio, so the block is read as often as each of them.
    swarm = epoch_laws.runs(budget=np.linspace(5e8, 1e9, 60))
    natural = {"b": 1e8, "c": 3e8}
    old = Mixture(swarm.domains, [0.4, 0.1, 0.3, 0.2])
    tokens = {"a": 2e8, **natural, "d": 1e8}
    region = Region.from_tokens({name: int(count) for name, count in tokens.items()}, 10**9, max_epochs=50)
    plan = partial(old, Revise(["a"]), region, reopen=["d"])
    assert plan.frozen.as_dict() == pytest.approx({"b": 0.25, "c": 0.75})
    rows = np.random.default_rng(0).dirichlet(np.ones(3), 60)
    ratios = plan.expand_rows(rows, plan.part.domains)
    pools = {name: count / 4.0 for name, count in tokens.items()}
    values = 2.0 + np.exp(-(ratios @ np.array([[0.5], [1.0], [0.3], [0.8]])))
    runs = Swarm(
        ratios, values, domains=region.domains, metric_names=["loss"], tokens=pools, budget=np.linspace(1e8, 2e8, 60)
    )
    block = plan.collapse_swarm(runs)
    np.testing.assert_allclose(block.tokens[0], [1e8, 5e7, 2.5e7])
    members = [region.domains.index(name) for name in natural]
    np.testing.assert_allclose(block.epochs[:, 0], runs.epochs[:, members].mean(axis=1))
    law = fit(block, "epochs", folds=0)
    assert law.rate is None
    there = plan.in_target_run(law)
    np.testing.assert_allclose(there.rate, 1e9 / np.array([4e8, 2e8, 1e8]))
    assert propose(there, plan.region).status == "optimal"
    bare = partial(old, Revise(["a"]), Region(swarm.domains), reopen=["d"])
    with pytest.raises(
        ReuseError, match=r"the epochs of the target run are unknown; plan with a region of Region\.from_tokens"
    ):
        bare.in_target_run(law)
    shares = fit(block, "linear", folds=0)
    assert bare.in_target_run(shares) is shares


def test_the_epochs_of_a_block_in_other_ratios_are_the_mean_of_its_members():
    swarm = epoch_laws.runs()
    plan = partial(Mixture(swarm.domains, [0.4, 0.3, 0.2, 0.1]), Revise(["a"]), Region(swarm.domains), reopen=["d"])
    ratios = plan.expand_rows([[0.5, 0.3, 0.2]], plan.part.domains)
    tokens = dict(zip(swarm.domains, [100.0, 200.0, 50.0, 10.0], strict=True))
    runs = Swarm(ratios, [[1.0]], domains=swarm.domains, metric_names=["loss"], tokens=tokens, budget=1000)
    block = plan.collapse_swarm(runs)
    b, c = (runs.epochs[0, swarm.domains.index(name)] for name in "bc")
    assert block.epochs[0, 0] == pytest.approx(0.6 * b + 0.4 * c)
