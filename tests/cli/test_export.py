"""mixfast export: a mixture as input, the file of a loader as output, notes on stderr."""

import json
from functools import partial

import pytest
import yaml

from mixfast import Mixture, MixtureSchedule, exporters
from mixfast.cli import _reading


@pytest.fixture
def run(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Mixture(["web", "code", "books", "none"], [0.62, 0.3, 0.08, 0.0]).save("mixture.yaml")
    (tmp_path / "tokens.yaml").write_text("web: 10K\ncode: 2_000\nbooks: 500\nnone: 0\n")
    (tmp_path / "documents.json").write_text('{"web": 100, "code": 5, "books": 1, "none": 0}')
    (tmp_path / "paths.yaml").write_text(
        "# where they lie\nweb:\n  - gs://b/web/*.npy\n  - '/more.npy'\ncode: \"/c#1.npy\"\n'books': b.npy # old\n"
    )

    return partial(run, "export")


def test_stdout_is_the_file_and_notes_are_on_stderr(run):
    status, out, err = run("mixture.yaml", "--to", "megatron", "--paths", "/data/{domain}_text")
    assert status == 0
    assert out == "0.62 /data/web_text\n0.3 /data/code_text\n0.08 /data/books_text\n"
    assert err == "mixfast: note: left out, with a share of 0: none\n"


def test_a_file_is_what_the_library_writes(run, tmp_path):
    given = ("--tokens", "tokens.yaml", "--budget", "12.5K")
    status, out, err = run("mixture.yaml", "--to", "olmo-core", "--paths", "paths.yaml", *given, "--out", "mix.yaml")
    assert (status, out) == (0, "wrote mix.yaml: 3 domains for olmo-core\n")
    assert "mixfast: note: domains read more than once, in epochs: code 1.875, books 2\n" in err
    expected = exporters.olmo_core(
        Mixture.load(tmp_path / "mixture.yaml"),
        paths={"web": ["gs://b/web/*.npy", "/more.npy"], "code": "/c#1.npy", "books": "b.npy"},
        tokens={"web": 10_000, "code": 2_000, "books": 500},
        budget=12_500,
    )
    assert (tmp_path / "mix.yaml").read_text() == expected.text
    assert not list(tmp_path.glob(".*"))


def test_counts_of_documents_convert(run):
    status, out, err = run(
        "mixture.yaml", "--to", "maxtext", "--paths", "/{domain}*",
        "--tokens", "tokens.yaml", "--documents", "documents.json",
    )  # fmt: skip
    assert status == 0
    assert json.loads(out)["web"]["weight"] == pytest.approx(0.0062 / (0.0062 + 0.3 / 400 + 0.08 / 500))
    assert "the largest change: web from 0.62 to 0.872" in err


def test_a_schedule_is_read_from_json(run, tmp_path):
    parts = Mixture(["web", "code"], [0.75, 0.25]), Mixture(["web", "code"], [0.5, 0.5])
    schedule = MixtureSchedule(parts[0]).then(parts[1], at=4096)
    (tmp_path / "schedule.json").write_text(schedule.to_json())
    given = ("--to", "levanter", "--batch-size", "64", "--block-size", "1024")
    status, out, _ = run("schedule.json", *given)
    assert (status, out) == (0, exporters.levanter(schedule, batch_size=64, block_size=1024).text)
    assert "train_weights:\n    - - 0\n      - web: 0.75\n        code: 0.25\n    - - 64\n" in out
    status, _, err = run("schedule.json", "--to", "doremi")
    assert status == 2
    assert "doremi takes one mixture for the whole run" in err
    (tmp_path / "schedule.json").write_text('{"format": "mixfast-schedule-1", "changes": [{"start": 0}]}')
    status, _, err = run("schedule.json", *given)
    assert status == 2
    assert (
        "schedule.json is not a schedule that MixtureSchedule.to_json wrote: a change of a schedule has a start" in err
    )


def test_help_lists_the_formats_and_their_options(run):
    status, out, _ = run("--help")
    assert status == 0
    for to in exporters.FORMATS:
        assert f"\n  {to} " in out
    assert "--tokens --documents --budget" in out


PATHS = """\
---
# comment
web: s3://bucket/web # here
dclm:code: /a b/c#d
"with: colon": "/q #r"
'it''s':   # several
  - 'x y' # first
  - /z:0
c: ./d:e
"""


def test_paths_files_are_read_as_yaml_reads_them(tmp_path):
    (tmp_path / "paths.yaml").write_text(PATHS)
    found = _reading.document(str(tmp_path / "paths.yaml"), "name: path")
    assert found == yaml.safe_load(PATHS)
    assert found["it's"] == ["x y", "/z:0"]


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_paths_in_both_kinds_of_file(run, tmp_path, suffix):
    text = {"yaml": "web: w\ncode: c\nbooks: b\n", "json": '{"web": "w", "code": ["c"], "books": "b"}'}[suffix]
    (tmp_path / f"p.{suffix}").write_text(text)
    status, out, _ = run("mixture.yaml", "--to", "megatron", "--paths", f"p.{suffix}")
    assert (status, out) == (0, "0.62 w\n0.3 c\n0.08 b\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "nope"], "'nope' is not known; known formats: axolotl, doremi, energon, grain"),
        (["--to", "megatron"], "give --paths, a file of domain to path or a pattern such as /data/{domain}"),
        (["--to", "megatron", "--tokens", "tokens.yaml"], "--to megatron takes --paths; it does not use --tokens"),
        (["--to", "doremi", "--unit", "sequences"], "--to doremi takes no options; it does not use --unit"),
        (["--to", "megatron", "--paths", "absent.yaml"], "--paths absent.yaml: no such file of name: path exists"),
        (["--to", "megatron", "--paths", "bad.yaml"], "bad.yaml: line 3 is not YAML"),
        (["--to", "megatron", "--paths", "twice.yaml"], "twice.yaml: line 2: 'web' is given twice"),
        (["--to", "megatron", "--paths", "list.yaml"], "list.yaml: expected lines of 'name: path'"),
        (["--to", "megatron", "--paths", "empty.yaml"], "empty.yaml: it is empty"),
        (["--to", "megatron", "--paths", "bad.json"], "bad.json: expected lines of 'name: path'"),
        (["--to", "megatron", "--paths", "typo.yaml"], "Only in paths: cdoe"),
        (["--to", "megatron", "--paths", "paths.yaml"], "got several for: web (2)"),
        (["--to", "seqio"], "seqio needs --tokens"),
        (["--to", "seqio", "--tokens", "minus.yaml"], "minus.yaml: web: '-1' is no number of tokens"),
        (["--to", "seqio", "--tokens", "tokens.yaml"], "seqio needs --documents"),
        (["--to", "olmix", "--tokens", "tokens.yaml"], "olmix needs budget"),
        (["--to", "olmix", "--budget", "-1"], "--budget: '-1' is no number of tokens"),
        (["--to", "levanter", "--block-size", "0"], "--block-size: got '0', expected a whole number of at least 1"),
        (["--to", "doremi", "--out", "no/where.json"], "there is no folder no"),
    ],
)
def test_refusals_are_one_line(run, tmp_path, arguments, message):
    (tmp_path / "bad.yaml").write_text("web: w\n[c]\n")
    (tmp_path / "twice.yaml").write_text("web: w\nweb: x\n")
    (tmp_path / "list.yaml").write_text("- w\n")
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    (tmp_path / "bad.json").write_text("[1]")
    (tmp_path / "typo.yaml").write_text("web: w\ncdoe: c\nbooks: b\n")
    (tmp_path / "minus.yaml").write_text("web: -1\ncode: 1\nbooks: 1\n")
    status, out, err = run("mixture.yaml", *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("mixfast: error: ")
    assert err.count("\n") == 1
    assert message in err


def test_nothing_is_written_when_the_mixture_is_bad(run, tmp_path):
    (tmp_path / "half.yaml").write_text("web: 0.5\n")
    status, _, err = run("half.yaml", "--to", "doremi", "--out", "out.json")
    assert status == 2
    assert "half.yaml: shares must sum to 1" in err
    assert not (tmp_path / "out.json").exists()
