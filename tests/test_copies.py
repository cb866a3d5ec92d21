"""Immutable objects stay unchanged and equal through pickle, copy, deepcopy and another process."""

import copy
import multiprocessing
import pickle

import numpy as np
import pytest

from mixfast import (
    ExpertTable,
    Mixture,
    MixtureSampler,
    MixtureSchedule,
    Region,
    Swarm,
    design,
    exporters,
    fit,
    laws,
    propose,
    solve,
)
from mixfast.reuse import Ledger
from mixfast.solver import bootstrap, holdout

DOMAINS = ["a", "b", "c"]


def nouns():
    """Return one object of each kind, by name."""
    rng = np.random.default_rng(0)
    mixture = Mixture(DOMAINS, [0.5, 0.3, 0.2])
    region = Region(DOMAINS, cap={"a": 0.6}, bounds={("a", "b"): (0.1, 0.9)})
    table = ExpertTable.from_loglik(-rng.random((20, 3)), domains=DOMAINS, group=[0, 1] * 10, weight=np.ones(20))
    ratios = rng.dirichlet(np.ones(3), 30)
    swarm = Swarm(ratios, ratios @ [1.0, 2.0, 3.0] + 0.01 * rng.random(30), domains=DOMAINS, metric_names=["m"])
    law = fit(swarm, law="linear")
    schedule = MixtureSchedule(mixture).then(Mixture(DOMAINS, [0.2, 0.3, 0.5]), at=9)
    region.group_limits, region.reachable  # noqa: B018  # kept once they were asked for
    return {
        "mixture": mixture,
        "region": region,
        "region of tokens": Region.from_tokens({"a": 100, "b": 300, "c": 90}, 200),
        "table": table,
        "predictions": ExpertTable.from_predictions(rng.random((6, 3)), rng.random(6)),
        "solution": solve(table, region),
        "swarm": swarm,
        "design": design(region, 4, seed=0),
        "law": law,
        "proposal": propose(law),
        "schedule": schedule,
        "sampler": MixtureSampler(schedule, [10, 20, 30], seed=0, length=50),
        "ledger": Ledger.start(mixture, why="first swarm", when="2026-01-31"),
        "export": exporters.export(mixture, "doremi"),
        "comparison": laws.compare(swarm, ["linear"], folds=2),
        "bootstrap": bootstrap(table, replicates=3),
        "hold-out": holdout(table),
    }


# Listed, so that nothing is fitted while pytest collects the tests of other files.
NAMES = (
    "mixture", "region", "region of tokens", "table", "predictions", "solution", "swarm", "design", "law", "proposal", "schedule", "sampler",
    "ledger", "export", "comparison", "bootstrap", "hold-out",
)  # fmt: skip


@pytest.fixture(scope="module")
def made():
    found = nouns()
    assert tuple(found) == NAMES
    return found


def arrays(noun):
    """Return the arrays among an object's public attributes."""
    names = [name for name in dir(noun) if not name.startswith("_") and name not in ("prediction", "target", "loglik")]
    found = {name: getattr(noun, name) for name in names}
    return {name: value for name, value in found.items() if isinstance(value, np.ndarray)}


KEPT = {
    "mixture": ["weights"],
    "region": ["bound_lower", "bound_rows", "bound_upper", "cap", "floor", "prior", "reachable"],
    "region of tokens": ["available", "cap", "max_epochs"],
    "table": ["values", "weight", "group_offsets"],
    "predictions": ["values"],
    "swarm": ["ratios", "values", "chosen"],
    "design": ["ratios"],
    "law": ["largest"],
    "sampler": ["sizes"],
    "bootstrap": ["shares"],
}
# They hold mappings.
UNHASHED = ("ledger", "export", "comparison")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda noun: pickle.loads(pickle.dumps(noun))])
def test_copies_are_equal_and_cannot_be_written_to(name, how, made):
    noun = made[name]
    again = how(how(noun))
    assert again == noun
    if name not in UNHASHED:
        assert hash(again) == hash(noun)
        assert len({again, noun}) == 1
    for kept in KEPT.get(name, []):
        for array in (arrays(noun)[kept], arrays(again)[kept]):
            with pytest.raises(ValueError, match="read-only"):
                array.flat[0] = array.flat[0]
    if name.startswith("region") and noun.group_limits is not None:
        assert not any(array.flags.writeable for array in (*noun.group_limits, *again.group_limits))


def _back(noun):
    return noun


@pytest.mark.process
def test_another_process_gives_back_what_it_was_given(made):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        for noun in pool.map(_back, [made["mixture"], made["region"], made["table"], made["sampler"]]):
            assert noun in made.values()


def test_others_are_not_equal(made):
    other = {
        "mixture": Mixture(DOMAINS, [0.5, 0.2, 0.3]),
        "region": Region(DOMAINS, cap={"a": 0.6}, bounds={("a", "b"): (0.1, 0.8)}),
        "region of tokens": Region.from_tokens({"a": 100, "b": 300, "c": 90}, 201),
        "table": made["table"].rows(np.arange(19)),
        "predictions": ExpertTable.from_predictions(np.ones((6, 3)), np.ones(6)),
        "solution": solve(made["table"]),
        "swarm": made["swarm"].better(more="m"),
        "design": design(made["region"], 4, seed=1),
        "law": fit(made["swarm"].without("3"), law="linear"),
        "proposal": propose(made["law"], kl=0.1),
        "schedule": made["schedule"].until(9),
        "sampler": MixtureSampler(made["schedule"], [10, 20, 30], seed=1, length=50),
        "ledger": Ledger.start(Mixture(DOMAINS, [0.5, 0.2, 0.3]), why="first swarm", when="2026-01-31"),
        "export": exporters.export(Mixture(DOMAINS, [0.5, 0.2, 0.3]), "doremi"),
        "comparison": laws.compare(made["swarm"], ["linear"], folds=3),
        "bootstrap": bootstrap(made["table"], replicates=3, seed=1),
        "hold-out": holdout(made["table"], seed=1),
    }
    assert set(other) == set(made)
    for name, noun in made.items():
        assert noun != other[name], name
        assert all(noun != each for kind, each in made.items() if kind != name), name
    # The domains of a region are ordered, because its arrays have that order.
    assert made["region"] != made["region"].align(["c", "b", "a"])
    assert made["region"] == made["region"].align(["c", "b", "a"]).align(DOMAINS)
    assert made["region"] != "region"


def test_a_table_that_is_read_again_is_the_table_that_was_saved(made, tmp_path):
    made["table"].save(tmp_path / "table.npz")
    assert ExpertTable.load(tmp_path / "table.npz") == made["table"]
