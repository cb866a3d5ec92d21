"""Which files may be written and replaced: other endings and files of other kinds are refused."""

from __future__ import annotations

import os

import numpy as np
import pytest

from mixfast._text.kinds import content_of
from mixfast._text.outputs import COUNTS, FIT, MIXTURE, PAGE, RUNS, TABLE, check_output, loader_file

CONTENTS = {
    "empty": b"",
    "text": b"old words\n" * 3,
    "mixture": b"format: mixfast-mixture-1\nmixture:\n  web: 1.0\n",
    "shares": b"web: 0.7\ncode: 0.3\n",
    "ledger": b'{"format": "mixfast-reuse-1", "updates": []}',
    "schedule": b'{"format": "mixfast-schedule-1"}',
    "yaml": b"web: 9B\ncode: 2B\n",
    "json": b'{"web": [1, 2]}',
    "fit": b'{\n "mixfast_fit": 2,\n "domains": []\n}\n',
    "csv": b"run,web,code\nr0,0.5,0.5\nr1,0.4,0.6\n",
    "html": b"<!doctype html><title>page</title>",
    "export": b"# mixture for olmix, written by mixfast\nname: x\n",
    "binary": b"\x00\x01\x02",
    "gzip": b"\x1f\x8b\x08",
}
EXPORT = loader_file("olmix", ".yaml", "# mixture for olmix, written by mixfast\nsources:\n  - web\n")
# The kinds that each may replace, in addition to an empty file and plain text.
REPLACES = {
    MIXTURE: {"mixture", "shares"},
    FIT: {"fit"},
    TABLE: {"table", "npy"},
    RUNS: {"csv"},
    PAGE: {"html"},
    COUNTS: {"yaml"},
    EXPORT: {"yaml", "shares", "export"},
}


@pytest.fixture(params=[*CONTENTS, "table", "npz", "npy"])
def existing(request, tmp_path):
    """Return a file of some kind, and the kind."""
    kind, path = request.param, tmp_path / "old"
    if kind in CONTENTS:
        path.write_bytes(CONTENTS[kind])
    else:
        with path.open("wb") as handle:
            if kind == "npy":
                np.save(handle, np.zeros(3))
            else:
                np.savez(handle, **{"loglik" if kind == "table" else "weights": np.zeros(3)})
    return path, kind


def test_contents_are_told_apart(existing):
    path, kind = existing
    assert content_of(path) == kind


@pytest.mark.parametrize("output", REPLACES, ids=lambda output: output.what)
def test_a_file_of_another_kind_is_never_replaced_without_force(existing, output):
    path, kind = existing
    target = path.with_suffix(output.endings[0])
    path.rename(target)
    if kind in REPLACES[output] | {"empty", "text"}:
        check_output(target, output, ValueError)
    else:
        with pytest.raises(ValueError, match="choose another name, or pass force=True to lose it"):
            check_output(target, output, ValueError)
    check_output(target, output, ValueError, force=True)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("output", REPLACES, ids=lambda output: output.what)
@pytest.mark.parametrize("ending", [".npz", ".yaml", ".json", ".csv", ".html", ".py", ".parquet", ".pt", ".gz"])
def test_an_ending_of_another_kind_is_refused(tmp_path, output, ending, force):
    path = tmp_path / f"new{ending}"
    if ending in output.endings:
        check_output(path, output, ValueError, force=force)
    else:
        with pytest.raises(ValueError, match=f"ends in .*; name it new{output.endings[0]}"):
            check_output(path, output, ValueError, force=force)


def test_names_without_an_ending_hold_texts_only(tmp_path):
    for output in (RUNS, PAGE, EXPORT):
        check_output(tmp_path / "blend", output, ValueError)
        check_output(tmp_path / "blend.sh", output, ValueError)
    for output in (MIXTURE, FIT, TABLE):
        with pytest.raises(ValueError, match="name it blend"):
            check_output(tmp_path / "blend", output, ValueError)


def test_streams_hold_anything(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/null", "/dev/stdout", tmp_path / "pipe"):
        check_output(path, MIXTURE, ValueError)


def test_comments_above_the_format_change_nothing(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text("# ours\nformat: mixfast-reuse-1\nupdates: []\n")
    assert content_of(path) == "ledger"
