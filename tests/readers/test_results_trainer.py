"""Files of the Trainer of transformers: written by it, and by hand for the traps."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from mixfast.readers.results._contents import Contents, ResultsError, Wanted
from mixfast.readers.results._source import Source
from mixfast.readers.results._tags import TRAINING
from mixfast.readers.results._trainer import TRAINER


def read(path: Path, document: object = None) -> Contents:
    if document is not None:
        path.write_text(json.dumps(document))
    source = Source(path)
    assert TRAINER.fits(source)
    return TRAINER.read(source, Wanted())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the folder of a run of four steps with two validation sets and a checkpoint at step 2."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    folder = tmp_path_factory.mktemp("trainer")
    with pytest.MonkeyPatch.context() as patch:
        # transformers takes the folder `kernels` of this project for the package of that name.
        patch.setattr(sys, "path", [one for one in sys.path if not Path(one, "kernels/__init__.py").exists()])
        train(torch, transformers, folder)
    return folder


def train(torch, transformers, folder):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=16,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
    )
    tokens = torch.randint(0, 16, (16, 8))
    data = [{"input_ids": row, "labels": row} for row in tokens]
    arguments = transformers.TrainingArguments(
        str(folder), max_steps=4, per_device_train_batch_size=4, per_device_eval_batch_size=8, eval_strategy="steps", eval_steps=2,
        logging_steps=2, save_steps=2, report_to=[], use_cpu=True, disable_tqdm=True, metric_for_best_model="eval_web_loss",
    )  # fmt: skip
    trainer = transformers.Trainer(
        transformers.LlamaForCausalLM(config),
        arguments,
        train_dataset=data,
        eval_dataset={"web": data[:8], "code": data[8:]},
    )
    trainer.train()
    trainer.save_state()
    trainer.save_metrics("eval", trainer.evaluate(data[:8]))


def test_the_trainer_writes_one_loss_for_each_validation_set(trained):
    contents = read(trained / "trainer_state.json")
    kept = [one for one in contents.measures if not one.left_out]
    assert [(one.metric, one.step) for one in kept] == [
        ("eval_web_loss", 2),
        ("eval_web_loss", 4),
        ("eval_code_loss", 2),
        ("eval_code_loss", 4),
    ]
    assert all((one.unit, one.direction) == ("nats_per_token", "min") and 2.0 < one.value < 3.5 for one in kept)
    assert not contents.notes


def test_a_run_that_stopped_early_is_named_and_an_earlier_checkpoint_is_not(trained, tmp_path):
    contents = read(trained / "checkpoint-2/trainer_state.json")
    assert {one.step for one in contents.measures} == {2}
    assert not contents.notes
    shutil.copytree(
        trained / "checkpoint-2", tmp_path / "checkpoint-2", ignore=shutil.ignore_patterns("*.safetensors", "*.pt")
    )
    assert read(tmp_path / "checkpoint-2/trainer_state.json").notes == ("training has reached step 2 of 4",)


def test_the_results_of_evaluate_are_read_with_their_number_of_examples(trained):
    (trained / "eval_results.json").write_text(
        json.dumps(json.loads((trained / "eval_results.json").read_text()) | {"eval_samples": 8, "perplexity": 12.0})
    )
    contents = read(trained / "eval_results.json")
    assert [(one.metric, one.n, one.step) for one in contents.measures] == [
        ("eval_loss", 8, None),
        ("perplexity", 8, None),
    ]
    assert "eval_samples_per_second" in contents.bookkeeping


def test_the_loss_of_training_is_left_out(trained):
    contents = read(trained / "trainer_state.json")
    assert {one.metric: one.left_out for one in contents.measures if one.left_out} == {
        "loss": TRAINING,
        "train_loss": TRAINING,
    }
    assert {"learning_rate", "grad_norm", "epoch", "eval_web_runtime", "train_samples_per_second"} <= {
        *contents.bookkeeping
    }


def test_the_last_evaluation_is_not_the_best(tmp_path):
    state = {
        "best_metric": 2.0,
        "best_global_step": 100,
        "log_history": [
            {"loss": 2.5, "step": 100},
            {"eval_loss": 2.0, "eval_runtime": 1.0, "step": 100},
            {"eval_loss": 2.5, "eval_runtime": 1.0, "step": 200},
        ],
    }
    contents = read(tmp_path / "trainer_state.json", state)
    assert [(one.value, one.step) for one in contents.measures if not one.left_out] == [(2.0, 100), (2.5, 200)]
    assert contents.notes == (
        "the best eval_loss, 2, is from step 100; the last, from step 200, is used: --step 100 takes the best",
    )


def test_an_evaluation_repeated_after_a_restart_counts_once(tmp_path):
    history = [{"eval_loss": 3.0, "step": 10}, {"eval_loss": 2.0, "step": 10}, {"eval_loss": None, "step": 20}]
    contents = read(tmp_path / "trainer_state.json", {"log_history": history})
    assert [(one.value, one.step) for one in contents.measures][:1] == [(2.0, 10)]
    assert contents.measures[1].value != contents.measures[1].value


def test_text_in_a_history_is_named(tmp_path):
    contents = read(tmp_path / "trainer_state.json", {"log_history": [{"eval_loss": 1.0, "phase": "warm", "ok": True}]})
    assert contents.text == ("phase", "ok")


def test_a_history_that_is_not_a_list_of_mappings_is_refused(tmp_path):
    with pytest.raises(ResultsError, match="entry 2 is float"):
        read(tmp_path / "trainer_state.json", {"log_history": [{"eval_loss": 1.0}, 2.0]})
