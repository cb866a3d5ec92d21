"""mixfast table: a table in another form holds the same rows, and what cannot be written is refused before the work."""

import json

import numpy as np
import pytest

from mixfast import ExpertTable

RNG = np.random.default_rng(5)
LOGLIK = -6.0 * RNG.random((900, 3))
DOMAINS = ["web", "code", "books"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ExpertTable.from_loglik(
        LOGLIK, domains=DOMAINS, length=RNG.integers(1, 30, 900), group=np.repeat(["news", "talk"], 450)
    ).save("table.npz")
    return tmp_path


def there(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_table_in_parts_is_packed_again(good):
    assert "wrote big: 3 parts, 900 rows x 3 domains, float64, " in good(
        "table", "split", "table.npz", "--parts", 3, "--out", "big"
    )
    out = good("table", "pack", "big", "--out", "again.npz")
    assert out.endswith("groups: news (450 rows), talk (450 rows)\nnext: mixfast solve again.npz\n")
    assert ExpertTable.load("again.npz") == ExpertTable.load("table.npz")


def test_what_a_smaller_type_changes_is_said(good):
    out = good("table", "cast", "table.npz", "--dtype", "float16", "--out", "half.npz")
    assert "largest change of a log-likelihood by rounding: 0.00" in out
    assert "nats per unit of length\n" in out
    assert "changes" not in good("table", "cast", "half.npz", "--dtype", "float32", "--out", "float.npz")


def test_values_beyond_float16_need_an_option(good, refused, folder):
    LOGLIK[7, 1] = -1e5
    np.save("wide.npy", LOGLIK)
    LOGLIK[7, 1] = -1.0
    said = refused("table", "cast", "wide.npy", "--dtype", "float16", "--out", "half.npy")
    assert "wide.npy, row 7: domain_1 = -100000 does not fit into float16" in said
    assert "--to-minus-inf" in said
    assert there(folder) == ["table.npz", "wide.npy"]
    out = good("table", "cast", "wide.npy", "--dtype", "float16", "--to-minus-inf", "--out", "half.npy")
    assert "1 log-likelihoods below -65504 became -inf" in out


def test_tables_become_groups_of_one(good, refused):
    np.savez("a.npz", loglik=LOGLIK[:10], domains=DOMAINS)
    np.savez("b.npz", loglik=LOGLIK[:20, ::-1], domains=DOMAINS[::-1])
    out = good("table", "merge", "quiz=a.npz", "b.npz", "--group-by-file", "--out", "both")
    assert "groups: quiz (10 rows), b (20 rows)\n" in out
    assert "effect only with --group-by-file" in refused("table", "merge", "quiz=a.npz", "b.npz", "--out", "more")
    said = refused("table", "merge", "a.npz", "a.npz", "--group-by-file", "--out", "more")
    assert "several tables have the name a: write NAME=TABLE" in said


def test_verify_finds_a_changed_byte(good, refused):
    good("table", "split", "table.npz", "--parts", 3, "--out", "big")
    assert good("table", "verify", "big").endswith(": all hashes match table.json\n")
    with open("big/part-00001.npz", "r+b") as part:
        part.seek(1000)
        part.write(bytes([part.read(1)[0] ^ 1]))
    assert "1 of 3 parts of big differ from the hashes in table.json: part-00001.npz" in refused(
        "table", "verify", "big"
    )
    (folder := ExpertTable.load("big").path).joinpath("table.json").unlink()
    assert "big has no table.json" in refused("table", "verify", folder)
    assert "'table.npz' is not a folder of parts" in refused("table", "verify", "table.npz")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("pack", "table.npz", "--out", "big"), "a file ends in .npz, .npy or .parquet; for a folder give --parts N"),
        (("pack", "table.npz", "--out", "b.npz", "--parts", "2"), "--parts has no effect: --out b.npz is one file"),
        (("pack", "table.npz", "--out", "b.npz", "--format", "npy"), "--format has no effect"),
        (("pack", "table.npz", "--out", "table.npz"), "is one of the input files"),
        (("pack", "table.npz", "--out", "b.npy"), "would lose length, group, domains; write npz or parquet"),
        (("split", "table.npz", "--out", "b", "--format", "npy"), "b: npy holds log-likelihoods only and would lose length"),
        (("split", "table.npz", "--out", "b.npz"), "mixfast table split writes a folder; mixfast table pack"),
        (("split", "table.npz", "--out", "b", "--parts", "901"), "901 parts need at least as many rows"),
        (("split", "table.npz", "--out", "mine"), "a folder with other files than those of a table (notes.txt)"),
        (("split", "table.npz", "--out", "no/b"), "there is no folder"),
        (("split", "table.npz", "--out", "b", "--force"), "unrecognized arguments: --force"),
        (("pack", "table.npz", "--out", "b", "--parts", "2", "--force"), "--force has no effect on the folder --out b"),
        (("split", "table.npz", "--out", "b", "--to-minus-inf"), "--to-minus-inf has no effect without --dtype float16"),
        (("pack", "big", "--parts", "2", "--out", "big"), "--out big holds the table big, which is read"),
        (("pack", "big/part-00000.npz", "--parts", "2", "--out", "big"), "holds the table big/part-00000.npz"),
        (("merge", "table.npz", "notes.yaml", "--out", "b"), "notes.yaml is a YAML file, expected a table of experts"),
        (("pack", "none.npz", "--out", "b.npz"), "none.npz: No such file"),
        (("pack", "p.npz", "--out", "b.npz"), "p.npz holds predictions, but only log-likelihoods are converted"),
        (("pack", "table.npz", "--task", "quiz", "--out", "b.npz"), "table.npz is not a folder of experts"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_and_nothing_is_left(good, refused, folder, words, said):
    good("table", "split", "table.npz", "--parts", 3, "--out", "big")
    (folder / "mine").mkdir()
    (folder / "mine" / "notes.txt").touch()
    (folder / "notes.yaml").write_text("a: 1\n")
    np.savez("p.npz", prediction=LOGLIK, target=LOGLIK[:, 0])
    before = there(folder)
    assert said in refused("table", *words)
    assert there(folder) == before
    assert there(folder / "big") == [*(f"part-{k:05d}.npz" for k in range(3)), "table.json"]


def test_a_table_is_replaced_by_a_table_with_other_parts(good, folder):
    for parts in (5, 2):
        good("table", "split", "table.npz", "--parts", parts, "--out", "big")
    assert there(folder / "big") == ["part-00000.npz", "part-00001.npz", "table.json"]
    assert len(json.loads((folder / "big" / "table.json").read_text())["parts"]) == 2


def test_parquet_is_written(good):
    parquet = pytest.importorskip("pyarrow.parquet")
    good("table", "split", "table.npz", "--parts", 2, "--format", "parquet", "--out", "big")
    found = parquet.read_table("big/part-00001.parquet")
    assert found.num_rows == 450
    assert set(found["group"].to_pylist()) == {"talk"}
