"""The kind of a file is decided by its first bytes, not by its name."""

import gzip
import io
import json
import zipfile

import numpy as np
import pytest

from mixfast._text.kinds import WORDS, described, kind_of, other_kind


def archive(*names):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as target:
        for name in names:
            target.writestr(name, b"x")
    return made.getvalue()


def npy():
    made = io.BytesIO()
    np.save(made, np.zeros((2, 2)))
    return made.getvalue()


SAFETENSORS = (2).to_bytes(8, "little") + b"{}"

CASES = {
    "csv": [b"run,web\nr0,0.5\n", b"\xef\xbb\xbfrun;web\r\nr0;0,5\r\n", b"web,code\n", b"dclm:code,wiki\n0.5,0.5\n"],
    "tsv": [b"run\tweb\nr0\t0.5\n"],
    "json": [b'{"a": 1}', b'{\n "a": {\n', b"[1, 2]"],
    "jsonl": [b'{"text": "a"}\n{"text": "b"}\n'],
    "yaml": [b"web: 0.5\ncode: 0.5\n", b"# note\ndata:\n  web: 1\n", b"{web: 0.5}\n", b"a: {b: 1, c: 2}\n"],
    "text": [b"0.5 /d/web\n0.5 /d/code\n", "größer\n".encode()],
    "html": [b"<!DOCTYPE html><p>"],
    "gzip": [gzip.compress(b"run,web\n")],
    "zstd": [b"\x28\xb5\x2f\xfd\x00"],
    "parquet": [b"PAR1\x15\x04"],
    "npy": [npy()],
    "npz": [archive("loglik.npy")],
    "fit": [archive("head.npy", "part0.npy"), json.dumps({"mixfast_fit": 2}, indent=1).encode()],
    "xlsx": [archive("[Content_Types].xml", "xl/workbook.xml")],
    "torch": [archive("archive/data.pkl")],
    "zip": [archive("readme.txt"), b"PK\x03\x04 cut short"],
    "safetensors": [SAFETENSORS],
    "gguf": [b"GGUF\x03\x00"],
    "pickle": [b"\x80\x04\x95"],
    "empty": [b"", b" \n"],
    "binary": [b"\x00\x01\x02", b"\xff\xfe\xfd"],
}


@pytest.mark.parametrize(("kind", "content"), [(kind, each) for kind, all_ in CASES.items() for each in all_])
def test_kind_is_told_from_the_first_bytes(kind, content, tmp_path):
    (tmp_path / "file").write_bytes(content)
    assert kind_of(tmp_path / "file") == kind
    assert kind in WORDS


def test_long_text_may_be_cut_inside_a_character(tmp_path):
    (tmp_path / "file").write_bytes("ä".encode() * 40_000)
    assert kind_of(tmp_path / "file") == "text"


def test_a_folder_is_a_kind(tmp_path):
    assert kind_of(tmp_path) == "folder"


def test_refusal_says_what_came_what_was_expected_and_what_to_do(tmp_path):
    runs = tmp_path / "my runs.csv"
    runs.write_text("run,web,code\nr0,1,0\n")
    said = other_kind(runs, "a table of experts")
    assert "is a csv file ('run,web,code'), expected a table of experts; " in said
    assert "mixfast fit" in said
    packed = tmp_path / "my runs.csv.gz"
    packed.write_bytes(gzip.compress(b"x"))
    assert other_kind(packed, "a csv file").endswith(f"decompress it: gunzip --keep '{packed}'")
    table = tmp_path / "runs.parquet"
    table.write_bytes(b"PAR1")
    assert "to_csv" in other_kind(table, "a csv file")
    assert other_kind(table, "a table of experts").endswith(
        f": mixfast table pack {table} --out {tmp_path / 'runs.npz'}"
    )
    (tmp_path / "runs.feather").write_bytes(b"ARROW1")
    assert "numpy.savez" in other_kind(tmp_path / "runs.feather", "a table of experts")


def test_a_first_line_is_shown_in_part(tmp_path):
    (tmp_path / "file").write_text("word " * 100)
    assert len(described(tmp_path / "file")) < 100
