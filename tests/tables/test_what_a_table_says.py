"""What a table says about itself survives every copy and conversion, or is refused by name."""

import copy
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from mixfast import ExpertTable, mde
from mixfast.errors import TableError
from mixfast.tables import convert, read_inputs

RNG = np.random.default_rng(5)
N, K = 24, 3
LOGLIK = np.log(RNG.uniform(0.05, 0.95, (N, K))).astype("f4")
# Everything that a file may say of a table besides its values.
SAID = {
    "domains": np.array(["assay_c", "assay_a", "assay_b"]),
    "weight": RNG.uniform(0.5, 2.0, N),
    "length": RNG.integers(1, 9, N),
    "bytes": RNG.integers(1, 99, N),
    "sequence": np.arange(N) // 2,
    "group": np.repeat([0, 1], [10, N - 10]),
    "group_names": np.array(["first", "second"]),
    "temperature": np.array([0.5, 1.25, 3.0]),
    "clipped": np.array(7),
}
TEMPERATURE = {"assay_c": 0.5, "assay_a": 1.25, "assay_b": 3.0}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def written(path="a.npz", loglik=LOGLIK, **changes):
    said = SAID | changes
    np.savez(path, loglik=loglik, **{key: value for key, value in said.items() if value is not None})
    return path


def saved(table, path="saved.npz"):
    table.save(path)
    return ExpertTable.load(path)


def converted(paths, out, **options):
    convert(read_inputs([paths] if isinstance(paths, str) else paths), out, **options)
    return ExpertTable.load(out)


def through(*steps):
    """Return the table that comes out of a chain of conversions, each given as (out, options)."""
    path = written()
    for out, options in steps:
        convert(read_inputs([path]), out, **options)
        path = out
    return ExpertTable.load(path)


def order_of_parts():
    """Make a folder without table.json whose parts have their columns in different orders."""
    Path("p").mkdir()
    for number, rows in enumerate([slice(0, 12), slice(12, N)]):
        columns = [0, 1, 2] if number == 0 else [2, 0, 1]
        vectors = {key: SAID[key][rows] for key in ("weight", "length", "bytes", "sequence", "group")}
        named = {key: SAID[key][columns] for key in ("domains", "temperature")}
        written(
            f"p/part-{number}.npz",
            np.ascontiguousarray(LOGLIK[rows][:, columns]),
            **vectors,
            **named,
            clipped=np.array([3, 4][number]),
        )
    return ExpertTable.load("p")


CONVERSIONS = {
    "load": lambda: ExpertTable.load(written()),
    "save": lambda: saved(ExpertTable.load(written())),
    "pickle": lambda: pickle.loads(pickle.dumps(ExpertTable.load(written()))),
    "deepcopy": lambda: copy.deepcopy(ExpertTable.load(written())),
    "rows": lambda: ExpertTable.load(written()).rows(slice(None)),
    "mask": lambda: ExpertTable.load(written()).rows(np.ones(N, dtype=bool)),
    "select": lambda: ExpertTable.load(written()).select(["assay_b", "assay_c", "assay_a"]),
    "to the cpu": lambda: ExpertTable.load(written()).to("cpu"),
    "file to file": lambda: through(("b.npz", {})),
    "compressed": lambda: converted(compressed(), "b.npz"),
    "folder": lambda: through(("b", {"parts": 3})),
    "folder, selected": lambda: through(("b", {"parts": 3})).select(["assay_b", "assay_c", "assay_a"]),
    "folder, pickle": lambda: pickle.loads(pickle.dumps(through(("b", {"parts": 3})))),
    "folder to file": lambda: through(("b", {"parts": 3}), ("c.npz", {})),
    "folder to folder": lambda: through(("b", {"parts": 3}), ("c", {"parts": 2})),
    "parquet": lambda: through(("b", {"parts": 3, "format": "parquet"})),
    "parquet file": lambda: through(("b.parquet", {}), ("c.npz", {})),
    "folder without table.json": order_of_parts,
    "folder without table.json to file": lambda: (order_of_parts(), converted("p", "c.npz"))[1],
    "float64": lambda: through(("b.npz", {"dtype": "float64"})),
    "float16": lambda: through(("b.npz", {"dtype": "float16"})),
    "float16 parts": lambda: through(("b", {"parts": 2, "dtype": "float16"})),
}


def compressed():
    with np.load(written(), allow_pickle=False) as arrays:
        np.savez_compressed("compressed.npz", **arrays)
    return "compressed.npz"


def said_by(table):
    """Return what a table of any kind says, in the order of its rows."""
    if isinstance(table, ExpertTable):
        vectors = {key: getattr(table, key) for key in ("weight", "length", "bytes", "sequence", "group")}
        return vectors | {"rows": table.n_rows}
    blocks = table.collect(_vectors)
    return {key: np.concatenate([block[key] for block in blocks]) for key in blocks[0]} | {"rows": table.n_rows}


def _vectors(block):
    found = {key: block.rows.vectors[key] for key in ("weight", "length", "bytes", "sequence")}
    return found | {"group": block.codes()}


@pytest.mark.parametrize("how", CONVERSIONS)
def test_every_conversion_keeps_everything(how):
    if "parquet" in how:
        pytest.importorskip("pyarrow", reason="pyarrow belongs to the extra io")
    table = CONVERSIONS[how]()
    found = said_by(table)
    assert found["rows"] == N
    for key in ("weight", "length", "bytes", "group"):
        np.testing.assert_array_equal(found[key], SAID[key], err_msg=key)
    # Ids may be new, but they divide the rows in the same way.
    np.testing.assert_array_equal(np.diff(found["sequence"]) != 0, np.diff(SAID["sequence"]) != 0)
    assert set(table.domains) == set(TEMPERATURE)
    assert list(table.domains) == (list(TEMPERATURE) if "select" not in how else ["assay_b", "assay_c", "assay_a"])
    assert table.group_names == ("first", "second")
    assert table.kind == "ce"
    assert table.temperature == TEMPERATURE
    assert table.clipped == 7
    assert "temperatures 0.5 to 3" in repr(table)
    assert "7 probabilities clipped" in repr(table)


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("form", ["b.npz", "b"])
def test_a_split_keeps_everything(form, side):
    whole = converted(written(), form, parts=2 if form == "b" else None)
    table = whole.split(0.5, seed=0)[side]
    assert table.temperature == TEMPERATURE
    assert table.clipped == 7
    assert table.group_names == ("first", "second")
    assert set(found := said_by(table)) > {"weight", "length", "bytes"}
    assert len(found["bytes"]) == table.n_rows


@pytest.mark.parametrize("key", [key for key in SAID if key != "group_names"])
def test_npy_is_refused_for_each_thing_that_it_would_lose(key):
    alone = {other: None for other in SAID if other != key and not (key == "group" and other == "group_names")}
    path = written(**alone)
    with pytest.raises(TableError, match=f"would lose .*{key}"):
        convert(read_inputs([path]), "b.npy")
    with pytest.raises(TableError, match=key):
        ExpertTable.load(path).save("b.npy")


def test_a_merge_of_equal_temperatures_adds_the_clipped_and_aligns_the_experts():
    order = [1, 2, 0]
    other = written("b.npz", LOGLIK[:, order], domains=SAID["domains"][order], temperature=SAID["temperature"][order])
    for out in ("both.npz", "both"):
        table = converted([written(), other], out, parts=2 if out == "both" else None)
        assert table.temperature == TEMPERATURE
        assert table.clipped == 14


@pytest.mark.parametrize("temperature", [None, np.array([0.5, 1.25, 2.0])])
def test_a_merge_of_different_temperatures_is_refused(temperature):
    other = written("b.npz", temperature=temperature)
    words = "none" if temperature is None else "0.5, 1.25, 2"
    with pytest.raises(
        TableError, match=rf"a.npz and b.npz have different temperatures \(0.5, 1.25, 3; {words}\).*held-out"
    ):
        converted([written(), other], "both")
    with pytest.raises(TableError, match="'a' and table 'b' have different temperatures"):
        mde.stack({"a": ExpertTable.load("a.npz"), "b": ExpertTable.load("b.npz")})


def test_a_stack_keeps_temperatures():
    table = ExpertTable.load(written())
    stacked = mde.stack({"a": table, "b": table.select(list(TEMPERATURE)[::-1])})
    assert stacked.temperature == TEMPERATURE
    assert stacked.clipped == 14


ODD = {
    "temperature": [1.5, [1.0, 2.0], [1.0, 2.0, -1.0], ["a", "b", "c"], [[1.0], [2.0, 3.0]]],
    "clipped": [-1, 1.5, [1]],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in ODD for value in ODD[field]])
def test_a_table_json_with_other_values_is_refused(field, value):
    converted(written(), "b", parts=2)
    path = Path("b/table.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(TableError, match=rf"table.json: {field} "):
        ExpertTable.load("b")


def test_probabilities_are_not_converted_and_the_error_says_what_to_do():
    np.savez("p.npz", proba=np.exp(LOGLIK), label=np.zeros(N, dtype=int))
    with pytest.raises(TableError, match=r"p.npz holds probabilities.*ExpertTable.load\('p.npz'\).save"):
        convert(read_inputs(["p.npz"]), "b.npz")


PREDICTION = RNG.normal(size=(N, K, 2))


@pytest.mark.parametrize("how", ["save", "pickle", "deepcopy", "rows", "select", "split"])
def test_predictions_keep_outputs_targets_and_facts(how):
    table = ExpertTable.from_predictions(
        PREDICTION,
        PREDICTION[:, 0] + 1.0,
        domains=list(TEMPERATURE),
        **{key: SAID[key] for key in ("weight", "group", "sequence")},
        group_names=["first", "second"],
    )
    found = {
        "save": lambda: saved(table),
        "pickle": lambda: pickle.loads(pickle.dumps(table)),
        "deepcopy": lambda: copy.deepcopy(table),
        "rows": lambda: table.rows(slice(None)),
        "select": lambda: table.select(list(TEMPERATURE)[::-1]).select(list(TEMPERATURE)),
        "split": lambda: table.split(0.5, seed=0)[0],
    }[how]()
    assert (found.kind, found.n_outputs, found.unit) == ("mse", 2, table.unit)
    assert found.domains == table.domains
    assert found.group_names == ("first", "second")
    assert found.weight is not None
    assert found.sequence is not None
    if how != "split":
        assert found == table


@pytest.mark.parametrize("how", ["load", "folder, whole"])
def test_a_reweighted_table_says_what_the_table_does(how):
    table = ExpertTable.load(written()) if how == "load" else through(("b", {"parts": 3}), ("c.npz", {}))
    factors = RNG.uniform(0.0, 2.0, N)
    factors[3] = 0.0
    found = table.reweighted(factors)
    np.testing.assert_allclose(found.row_weight, factors * table.row_weight, rtol=1e-14)
    for key in ("length", "bytes", "sequence", "group"):
        np.testing.assert_array_equal(getattr(found, key), getattr(table, key), err_msg=key)
    assert (found.domains, found.group_names, found.kind) == (table.domains, table.group_names, table.kind)
    assert (found.temperature, found.clipped) == (TEMPERATURE, 7)
    assert table.reweighted(np.ones(N)) == table


@pytest.mark.parametrize(
    "left_out", [{"weight"}, {"length"}, {"weight", "length"}, {"weight", "length", "group", "group_names"}]
)
def test_factors_multiply_the_weights_that_a_table_gives_its_rows(left_out):
    table = ExpertTable.load(written(**dict.fromkeys(left_out)))
    factors = RNG.uniform(0.0, 2.0, N)
    np.testing.assert_allclose(table.reweighted(factors).row_weight, factors * table.row_weight, rtol=1e-14)


def test_factors_of_a_reweighted_table_are_checked():
    table = ExpertTable.load(written())
    for factors, told in (
        (np.ones(N - 1), "factors"),
        (-np.ones(N), "negative or not finite"),
        (np.full(N, np.nan), "negative or not finite"),
        (np.repeat([0.0, 1.0], [10, N - 10]), "first"),
        (np.zeros(N), "weight"),
    ):
        with pytest.raises(TableError, match=told):
            table.reweighted(factors)
