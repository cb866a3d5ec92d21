"""Damaged, compressed, foreign and many files: each costs one line of the report, and the rest is collected."""

import gzip
import json
import time

import pytest

from mixfast.readers import ResultsError, metrics

STATE = json.dumps({"log_history": [{"step": 10, "eval_loss": 2.5}]})


def write(path, text=STATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def skipped(collected):
    return dict(collected.report.skipped)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (STATE[: len(STATE) // 2], "was it written or copied completely?"),
        ("", "the file is empty"),
        ('{"a": 1}', "in no known format: JSON with the keys a"),
        ("[1, 2]", "in no known format: JSON that is a list"),
        ('{"log_history": [], "log_history": []}', "given twice: log_history"),
        ('{"log_history": [5]}', ""),
        ("[" * 100_000, ""),
        (b"\x00\x01\x02", "in no known format"),
        (b"\xff" * 50, ""),
        (gzip.compress(STATE.encode())[:-6], "gzip"),
    ],
)
def test_a_damaged_file_is_named_and_the_rest_is_collected(tmp_path, damage, why):
    write(tmp_path / "a" / "trainer_state.json")
    path = write(tmp_path / "b" / "trainer_state.json", damage)
    collected = metrics(tmp_path)
    assert collected.runs == ("a",)
    assert why in skipped(collected)[str(path)]
    assert str(path) in str(collected.report)


def test_a_half_written_file_beside_a_whole_one_does_not_cost_the_run(tmp_path):
    write(tmp_path / "a" / "checkpoint-10" / "trainer_state.json")
    path = write(tmp_path / "a" / "checkpoint-20" / "trainer_state.json", STATE[:20])
    collected = metrics(tmp_path)
    assert collected.wide() == {"run": ["a"], "eval_loss": [2.5]}
    assert str(path) in skipped(collected)


def test_a_file_that_ends_inside_a_text_is_called_cut_off(tmp_path):
    write(tmp_path / "a" / "trainer_state.json")
    path = write(tmp_path / "b" / "trainer_state.json", '{"log_history": [], "best_model_checkpoint": "out/check')
    assert "was it written or copied completely?" in skipped(metrics(tmp_path))[str(path)]


def test_nothing_collected_lists_what_was_found_and_the_formats(tmp_path):
    write(tmp_path / "a" / "trainer_state.json", "{")
    with pytest.raises(
        ResultsError, match=r"no metrics were collected from 1 file.*trainer_state.json: not JSON.*lm-eval \("
    ):
        metrics(tmp_path)
    with pytest.raises(ResultsError, match=r"no metrics were collected from 0 files"):
        metrics([write(tmp_path / "c" / "notes.txt", "hello").parent])


def test_a_given_file_in_no_known_format_says_what_it_is(tmp_path):
    path = write(tmp_path / "some.json", '{"loss": {"x": 1}}')
    with pytest.raises(ResultsError, match="JSON with the keys loss"):
        metrics(path)


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(ResultsError, match=r"format 'lm_eval' \(did you mean lm-eval\?\), expected one of"):
        metrics(write(tmp_path / "a.json"), format="lm_eval")


def test_a_forced_format_reads_a_file_of_any_name(tmp_path):
    assert metrics(write(tmp_path / "state.txt"), format="trainer").wide()["eval_loss"] == [2.5]


@pytest.mark.parametrize("packed", [gzip.compress, None])
def test_compressed_files_are_read(tmp_path, packed):
    if packed is None:
        packed = pytest.importorskip("zstandard").ZstdCompressor().compress
    ending = ".gz" if packed is gzip.compress else ".zst"
    data = STATE.encode()
    # Tools that compress in parallel write several frames, one after the other.
    write(tmp_path / "a" / f"trainer_state.json{ending}", packed(data[:9]) + packed(data[9:]))
    write(tmp_path / "b" / "trainer_state.json")
    assert metrics(tmp_path).wide() == {"run": ["a", "b"], "eval_loss": [2.5, 2.5]}


def test_two_formats_in_one_folder_are_one_run(tmp_path):
    results = {"results": {"arc": {"acc,none": 0.3}}, "higher_is_better": {"arc": {"acc": True}}}
    for run in "ab":
        write(tmp_path / run / "trainer_state.json")
        write(tmp_path / run / "results.json", json.dumps(results))
    collected = metrics(tmp_path)
    assert collected.metrics == ("arc/acc,none", "eval_loss")
    assert set(collected.report.formats) == {"lm-eval", "trainer"}


def test_a_bug_of_a_format_does_not_end_the_collection(tmp_path):
    write(tmp_path / "a" / "trainer_state.json")
    write(
        tmp_path / "b" / "results.json",
        '{"results": {"arc": {"acc,none": {"x": 1}}}, "configs": 3, "higher_is_better": [1]}',
    )
    collected = metrics(tmp_path)
    assert collected.runs == ("a",)


def test_hidden_folders_are_not_read(tmp_path):
    write(tmp_path / "a" / "trainer_state.json")
    write(tmp_path / ".cache" / "trainer_state.json")
    assert metrics(tmp_path).runs == ("a",)


def test_devices_and_pipes_are_not_read(tmp_path):
    import os

    write(tmp_path / "a" / "trainer_state.json")
    (tmp_path / "b").mkdir()
    os.mkfifo(tmp_path / "b" / "trainer_state.json")
    os.mkfifo(tmp_path / "given.json")
    collected = metrics([tmp_path / "a", tmp_path / "b", tmp_path / "given.json"])
    assert collected.runs == ("a",)
    assert "neither a file nor a folder" in skipped(collected)[str(tmp_path / "given.json")]


def test_ten_thousand_other_files_are_looked_at_and_not_opened(tmp_path):
    """The limit is far above the usual second."""
    for folder in range(20):
        (tmp_path / "a" / f"cache{folder}").mkdir(parents=True)
        for at in range(500):
            (tmp_path / "a" / f"cache{folder}" / f"{at}.bin").touch()
    write(tmp_path / "a" / "trainer_state.json")
    start = time.perf_counter()
    assert metrics(tmp_path).runs == ("a",)
    assert time.perf_counter() - start < 60.0


def test_control_characters_in_names_do_not_act_on_a_terminal(tmp_path):
    write(tmp_path / "a\x1b[31m" / "trainer_state.json")
    write(tmp_path / "b\n" / "trainer_state.json", "{")
    collected = metrics(tmp_path)
    assert collected.runs == ("a\x1b[31m",)
    assert "\x1b" not in str(collected.report)
    assert "b\\n" in str(collected.report)


def test_a_cut_off_last_line_of_a_running_job_costs_that_line_and_is_said(tmp_path):
    lines = '{"step": 10, "eval/c4/loss": 3.0}\n{"step": 20, "eval/c4/loss": 2.0}\n{"step": 30, "eval/c4'
    write(tmp_path / "a" / "eval_metrics.jsonl", lines)
    collected = metrics(tmp_path)
    assert collected.wide()["eval/c4/loss"] == [2.0]
    assert any("the last line is cut off" in note for note in collected.report.notes)
