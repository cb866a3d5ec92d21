"""Event files of TensorBoard: written by torch and by the tensorboard library, with the tags of Megatron and torchtitan."""

import math
import sys

import numpy as np
import pytest

from mixfast.readers import metrics
from mixfast.readers.results._contents import Contents, ResultsError, Wanted
from mixfast.readers.results._source import Source
from mixfast.readers.results._tags import TRAINING
from mixfast.readers.results._tensorboard import TENSORBOARD

pytest.importorskip("tensorboard")
torch_writer = pytest.importorskip("torch.utils.tensorboard")

# What Megatron writes after each evaluation, with several validation sets and without.
MEGATRON = ("lm loss validation", "lm loss validation-code")


def write(folder, scalars, **options):
    """Write scalars (tag, value, step) with torch, and return the file."""
    with torch_writer.SummaryWriter(str(folder), **options) as writer:
        for tag, value, step in scalars:
            writer.add_scalar(tag, value, step)
    return newest(folder)


def newest(folder):
    return max(folder.glob("*tfevents*"), key=lambda path: path.name)


def read(path) -> Contents:
    source = Source(path)
    assert TENSORBOARD.fits(source)
    return TENSORBOARD.read(source, Wanted())


def kept(contents):
    return {(one.metric, one.step): one.value for one in contents.measures if not one.left_out}


def test_scalars_of_torch_in_both_styles_are_read_at_every_step(tmp_path):
    with torch_writer.SummaryWriter(str(tmp_path)) as writer:
        for step in (10, 20):
            writer.add_scalar("eval/old", step / 4, step)
            writer.add_scalar("eval/new", step / 8, step, new_style=True)
            writer.add_scalar("eval/double", step / 16, step, double_precision=True)
        writer.add_text("eval/text", "3.0", 20)
        writer.add_histogram("eval/histogram", np.arange(3.0), 20)
    contents = read(newest(tmp_path))
    assert kept(contents) == {
        ("eval/old", 10): 2.5, ("eval/old", 20): 5.0, ("eval/new", 10): 1.25, ("eval/new", 20): 2.5,
        ("eval/double", 10): 0.625, ("eval/double", 20): 1.25,
    }  # fmt: skip
    assert contents.text == ("eval/text/text_summary", "eval/histogram")
    assert contents.written.startswith("20")
    assert not contents.notes


def test_megatron_writes_every_loss_twice_and_only_steps_are_kept(tmp_path):
    scalars = [
        ("lm loss", 4.0, 100),
        ("lm loss vs samples", 4.0, 25600),
        ("learning-rate", 1e-3, 100),
        ("grad-norm", 1.0, 100),
    ]
    for tag in MEGATRON:
        scalars += [(tag, 3.0, 100), (f"{tag} vs samples", 3.0, 25600)]
        scalars += [(f"{tag} ppl", math.exp(3.0), 100), (f"{tag} ppl vs samples", math.exp(3.0), 25600)]
    contents = read(write(tmp_path, scalars))
    assert kept(contents) == {(tag, 100): 3.0 for tag in MEGATRON}
    left_out = {one.metric: one for one in contents.measures if one.left_out}
    assert left_out["lm loss"].left_out == TRAINING
    assert (
        left_out["lm loss validation vs samples"].left_out
        == "repeats lm loss validation against samples instead of steps"
    )
    assert "exponential, capped at exp(20)" in left_out["lm loss validation-code ppl"].left_out
    assert left_out["lm loss validation ppl vs samples"].step is None
    assert {"learning-rate", "grad-norm"} == {*contents.bookkeeping}
    assert all((one.unit, one.direction) == ("nats_per_token", "min") for one in contents.measures if not one.left_out)


def test_the_test_set_of_megatron_has_the_tag_of_its_validation_set(tmp_path):
    contents = read(
        write(
            tmp_path,
            [("lm loss validation", 3.0, 10), ("lm loss validation", 2.5, 20), ("lm loss validation", 2.0, 20)],
        )
    )
    assert kept(contents) == {("lm loss validation", 10): 3.0, ("lm loss validation", 20): 2.0}
    (note,) = contents.notes
    assert note.startswith("lm loss validation has several values at step 20, and the last is used")


def test_validation_sets_of_nemo_have_names_and_their_mean_is_left_out(tmp_path):
    tags = ("lm loss validation web", "lm loss validation code", "lm loss validation (aggregated)")
    contents = read(write(tmp_path, [(tag, 3.0, 10) for tag in tags]))
    assert {metric for metric, _ in kept(contents)} == {*tags[:2]}
    assert [one.left_out for one in contents.measures if one.left_out] == ["mean over the validation sets"]


def test_samples_are_no_steps_if_only_they_were_written(tmp_path):
    contents = read(
        write(tmp_path, [("lm loss validation vs samples", 3.0, 256), ("lm loss validation vs samples", 2.0, 512)])
    )
    assert kept(contents) == {("lm loss validation vs samples", None): 2.0}


def test_torchtitan_has_one_validation_loss_beside_its_meters(tmp_path):
    tags = (
        "loss_metrics/global_avg_loss", "loss_metrics/global_max_loss", "grad_norm", "lr", "throughput(tps)", "tflops", "mfu(%)",
        "time_metrics/end_to_end(s)", "memory/max_active(GiB)", "n_tokens_seen", "validation_metrics/loss",
        "validation_metrics/throughput(tps)", "validation_metrics/memory/max_active(GiB)",
    )  # fmt: skip
    contents = read(write(tmp_path, [(tag, 2.0, 5) for tag in tags]))
    (loss,) = [one for one in contents.measures if not one.left_out]
    assert (loss.metric, loss.unit, loss.direction) == ("validation_metrics/loss", "nats_per_token", "min")
    assert {one.metric for one in contents.measures if one.left_out} == {*tags[:2]}
    assert {*contents.bookkeeping} == {*tags[2:]} - {"validation_metrics/loss"}


def test_scalars_of_one_chart_keep_their_own_names(tmp_path):
    with torch_writer.SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalars("eval/loss", {"web": 1.0, "code": 2.0}, 5)
    found = {}
    for path in tmp_path.rglob("*/*tfevents*"):
        found |= kept(read(path))
    assert found == {("eval/loss/web", 5): 1.0, ("eval/loss/code", 5): 2.0}


def test_steps_after_a_restart_replace_those_written_before(tmp_path):
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    def add(value, step):
        event = Event(step=step, wall_time=1.7e9)
        event.summary.value.add(tag="eval/loss", simple_value=value)
        writer.add_event(event)

    writer = EventFileWriter(str(tmp_path))
    add(3.0, 10)
    add(2.0, 20)
    writer.add_event(Event(step=15, wall_time=1.7e9, session_log=SessionLog(status=SessionLog.START)))
    add(2.5, 15)
    writer.close()
    assert kept(read(newest(tmp_path))) == {("eval/loss", 10): 3.0, ("eval/loss", 15): 2.5}


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_damaged_file_is_used_up_to_its_last_whole_event(tmp_path, damage):
    path = write(tmp_path, [("eval/loss", 3.0, 10), ("eval/loss", 2.0, 20)])
    whole = path.read_bytes()
    path.write_bytes(whole[:-5] if damage == "cut" else whole[:-8] + b"\0\0\0\0" + whole[-4:])
    contents = read(path)
    assert kept(contents) == {("eval/loss", 10): 3.0}
    (note,) = contents.notes
    assert "still being written or is damaged" in note


def test_an_empty_file_has_no_measures(tmp_path):
    path = tmp_path / "events.out.tfevents.1.host"
    path.write_bytes(b"")
    assert not read(path).measures


def test_a_missing_library_is_named_with_its_extra(tmp_path, monkeypatch):
    path = write(tmp_path, [("eval/loss", 3.0, 10)])
    monkeypatch.setitem(sys.modules, "tensorboard.backend.event_processing.event_file_loader", None)
    with pytest.raises(ResultsError, match=r"pip install 'mixfast\[tensorboard\]'"):
        read(path)


def test_files_of_one_folder_are_starts_of_one_run_even_if_they_repeat_steps_with_other_values(tmp_path):
    for run, last in (("a", 0.25), ("b", 0.75)):
        for start, steps in enumerate(([(10, 4.0), (20, 3.0)], [(20, 2.0), (30, last)])):
            with torch_writer.SummaryWriter(str(tmp_path / run), filename_suffix=f".{start}") as writer:
                for step, value in steps:
                    writer.add_scalar("eval/loss", value, step)
    collected = metrics(tmp_path)
    assert collected.wide() == {"run": ["a", "b"], "eval/loss": [0.25, 0.75]}
    assert not collected.report.skipped


def test_steps_beyond_a_restart_in_another_file_are_void(tmp_path):
    for start, steps in enumerate(([(10, 4.0), (20, 3.0), (30, 2.5), (40, 2.0)], [(20, 3.5), (30, 2.75)])):
        path = tmp_path / "a" / f"events.out.tfevents.{1764000000 + start}.host.{start}.0"
        path.parent.mkdir(exist_ok=True)
        with torch_writer.SummaryWriter(str(tmp_path / f"start{start}")) as writer:
            for step, value in steps:
                writer.add_scalar("eval/loss", value, step)
        newest(tmp_path / f"start{start}").rename(path)
    collected = metrics({"a": tmp_path / "a"})
    assert (collected.value.tolist(), collected.step) == ([2.75], (30,))
    assert [(one.kept, one.dropped) for one in collected.report.conflicts] == [(2.75, 2.0)]
