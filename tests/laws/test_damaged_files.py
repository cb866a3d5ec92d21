"""Files of laws with impossible contents are refused when they are read, in one line that names the file."""

import copy
import json
import zipfile

import numpy as np
import pytest

from mixfast import Swarm, fit
from mixfast.laws import Fit

DOMAINS = ["web", "code", "books"]
KINDS = ["linear", "log_linear", "autoscale", "bimix", "epochs", "gp", "lightgbm"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the documents of one fit of each kind, by kind."""
    folder = tmp_path_factory.mktemp("laws")
    rng = np.random.default_rng(0)
    ratios = rng.dirichlet(np.ones(3), 30)
    values = 1 + ratios @ rng.uniform(0.1, 1, (3, 2))
    swarm = Swarm(
        ratios,
        values,
        domains=DOMAINS,
        metric_names=["a_loss", "b_loss"],
        tokens=dict.fromkeys(DOMAINS, 1e6),
        budget=1e7,
    )
    found = {}
    for kind in KINDS:
        if kind in ("gp", "lightgbm"):
            pytest.importorskip({"gp": "scipy", "lightgbm": "lightgbm"}[kind])
        fit(swarm, kind, folds=2).save(folder / "law.json")
        found[kind] = json.loads((folder / "law.json").read_text())
    return found


def array(key, change):
    def damage(head):
        for name, one in head["arrays"].items():
            if name.endswith(key):
                change(one)

    return damage


DAMAGES = {
    "objects": array("", lambda one: one.update(dtype="O")),
    "texts": array("", lambda one: one.update(dtype="<U8")),
    "records": array("", lambda one: one.update(dtype="i4,f8")),
    "complex": array("", lambda one: one.update(dtype="<c16")),
    "another shape": array("", lambda one: one.update(shape=[*one["shape"], 2])),
    "one value less": array("", lambda one: one.update(values=one["values"][:-1], shape=[len(one["values"]) - 1])),
    "no arrays": lambda head: head.update(arrays={}),
    "arrays as a list": lambda head: head.update(arrays=[]),
    "no parts": lambda head: head.update(parts=[]),
    "columns behind the end": lambda head: head["parts"][0].update(columns=[7, 8]),
    "own columns behind the end": lambda head: head["parts"][0].update(own=[7, 8]),
    "another law": lambda head: head["parts"][0].update(name="oracle"),
    "no domains": lambda head: head.update(domains=[]),
    "a domain twice": lambda head: head.update(domains=["web", "web", "books"]),
    "a domain less": lambda head: head.update(domains=head["domains"][:2]),
    "a metric less": lambda head: head.update(metrics=head["metrics"][:1]),
    "numbers for names": lambda head: head.update(domains=[1, 2, 3]),
    "texts for numbers": lambda head: head.update(largest=["x", "y", "z"]),
    "a report of texts": lambda head: head["reports"][0].update(rmse="small"),
    "a constant of others": lambda head: head.update(constant={"films": 0.1}),
    "a spread of texts": lambda head: head.update(spread={"a_loss": "wide"}),
    "a list for the state": lambda head: head["parts"][0].update(state=[]),
    "no head": lambda head: head.clear(),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
def test_a_damaged_law_is_refused(kind, damage, saved, tmp_path):
    head = copy.deepcopy(saved[kind])
    damage(head)
    path = tmp_path / "law.json"
    path.write_text(json.dumps(head))
    with pytest.raises(ValueError, match=r"law\.json"):
        Fit.load(path)


@pytest.mark.parametrize("kind", KINDS)
def test_an_undamaged_law_is_read(kind, saved, tmp_path):
    path = tmp_path / "law.json"
    path.write_text(json.dumps(saved[kind]))
    assert Fit.load(path).domains == tuple(DOMAINS)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        (".feature", lambda values: [9] * len(values)),
        (".feature", lambda values: [-1] * len(values)),
        (".mask", lambda values: [0] * len(values)),
        (".node_start", lambda values: [-2, *values[1:]]),
        (".node_start", lambda values: [*values[:-1], values[-1] + 2**40]),
        (".leaf_start", lambda values: [*values[:1], *values[:0:-1]]),
        (".grid_start", lambda values: [0, *[10**9] * (len(values) - 2), values[-1]]),
        (".metric_start", lambda values: [0, *[10**9] * (len(values) - 1)]),
    ],
)
def test_trees_that_lead_out_of_their_arrays_are_refused(key, values, saved, tmp_path):
    head = copy.deepcopy(saved["lightgbm"])
    array(key, lambda one: one.update(values=values(one["values"])))(head)
    path = tmp_path / "law.json"
    path.write_text(json.dumps(head))
    with pytest.raises(ValueError, match=r"law\.json .*trees"):
        Fit.load(path)


def test_an_archive_of_objects_is_refused(saved, tmp_path):
    head = dict(saved["linear"])
    arrays = {key: np.array(one["values"]).reshape(one["shape"]) for key, one in head.pop("arrays").items()}
    for values in (np.array([{}], dtype=object), np.array(["x"]), np.zeros(3, "i4,f8")):
        path = tmp_path / "law.npz"
        np.savez(path, head=np.array(json.dumps(head)), **{**arrays, next(iter(arrays)): values})
        with pytest.raises(ValueError, match=r"law\.npz"):
            Fit.load(path)


def test_a_key_that_an_archive_gives_twice_is_refused(saved, tmp_path):
    head = dict(saved["linear"])
    arrays = {key: np.array(one["values"]).reshape(one["shape"]) for key, one in head.pop("arrays").items()}
    np.savez(tmp_path / "law.npz", head=np.array(json.dumps(head)), **arrays)
    Fit.load(tmp_path / "law.npz")
    with zipfile.ZipFile(tmp_path / "law.npz", "a") as archive:
        archive.writestr(next(iter(arrays)), archive.read(f"{next(iter(arrays))}.npy"))
    with pytest.raises(ValueError, match=r"law\.npz is not a fit that mixfast saved: .*given twice: part0"):
        Fit.load(tmp_path / "law.npz")
