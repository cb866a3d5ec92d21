"""Files that lm-evaluation-harness itself writes, offline, for a tiny random model."""

import json
import os
import pickle
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from mixfast import readers
from mixfast.readers.results._contents import Wanted
from mixfast.readers.results._formats import FORMATS
from mixfast.readers.results._source import Source

SCRIPT = Path(__file__).resolve().parents[1] / "lm_eval_run.py"
pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        not all(map(find_spec, ("lm_eval", "torch", "transformers"))),
        reason="lm_eval, torch and transformers are not all installed",
    ),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Run the harness; return the folder with what it wrote."""
    folder = tmp_path_factory.mktemp("harness")
    offline = {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(folder / "cache"),
        "DISABLE_MULTIPROC": "1",
        "OMP_NUM_THREADS": "1",
    }
    # With -P the folder of the script is not searched: transformers would take tests/kernels for a package.
    command = [sys.executable, "-P", str(SCRIPT), str(folder)]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | offline, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def contents(path, document=None, name=None):
    source = Source(path, document=document)
    (form,) = (form for form in FORMATS.values() if form.fits(source))
    assert name in (None, form.name)
    return form.read(source, Wanted(samples=True))


@pytest.fixture(scope="module")
def first(written):
    """The results file of the first evaluation."""
    return contents(min(written.glob("out/*/results_*.json")), name="lm-eval")


def values(found):
    return {each.metric: each.value for each in found.measures if not each.left_out}


def of_samples(written, task):
    return contents(min(written.glob(f"out/*/samples_{task}_*.jsonl")), name="lm-eval-samples")


def test_every_metric_of_every_task_is_found_and_nothing_else(first):
    assert list(values(first)) == [
        "zoo_cats/acc,none", "zoo_cats/acc_norm,none", "zoo_dogs/acc,none", "zoo_dogs/acc_mutual_info,none", "sides/acc,none",
        "last_word/perplexity,none", "last_word/acc,none", "prose/bits_per_byte,none", "sums/exact_match,strict", "sums/exact_match,flexible",
    ]  # fmt: skip
    assert [(each.metric, each.left_out) for each in first.measures if each.left_out] == [
        ("zoo/acc,none", "aggregate of zoo_cats, zoo_dogs")
    ]
    assert first.text == ()


def test_directions_counts_units_and_the_step_are_those_of_the_run(first):
    found = {each.metric: each for each in first.measures}
    assert [name for name, each in found.items() if each.direction == "min"] == [
        "last_word/perplexity,none",
        "prose/bits_per_byte,none",
    ]
    assert all(each.direction for each in found.values())
    assert {each.n for each in found.values() if not each.left_out} == {9}
    assert {each.step for each in found.values()} == {20}
    assert found["zoo_cats/acc,none"].stderr > 0.0
    assert found["prose/bits_per_byte,none"].stderr is None
    assert (found["prose/bits_per_byte,none"].unit, found["last_word/perplexity,none"].unit) == (
        "bits_per_byte",
        "perplexity_per_document",
    )
    assert "zoo_cats on 9 of 10" in first.notes[0]
    assert first.fields["model_name"].endswith("models/mix_3/checkpoint-20")


def test_two_evaluations_of_a_model_are_two_files_whose_dates_sort(written):
    early, late = map(contents, sorted(written.glob("out/*/results_*.json")))
    # In whole seconds; the names of the files have microseconds.
    assert "" < early.written <= late.written
    assert [each.told_apart for each in late.measures] == ["zoo_cats|2/acc,none", "zoo_cats|2/acc_norm,none"]
    assert early.measures[0].told_apart == "zoo_cats|0/acc,none"


def test_bits_per_byte_of_choices_are_those_that_torch_computes(written):
    (measure,) = of_samples(written, "zoo_cats").measures
    expected = json.loads((written / "bits.json").read_text())
    assert measure.value == pytest.approx(sum(expected) / len(expected), rel=1e-5)
    assert measure.n == len(expected)


def test_targets_as_text_and_choices_without_questions_give_the_same_bits(written):
    cats, dogs = (of_samples(written, task).measures[0].value for task in ("zoo_cats", "zoo_dogs"))
    assert dogs == pytest.approx(cats, rel=1e-6)


def test_questions_as_choices_are_settled_by_the_accuracies(written):
    found = of_samples(written, "sides")
    lines = [json.loads(line) for line in min(written.glob("out/*/samples_sides_*.jsonl")).read_text().splitlines()]
    logs = [float(line["resps"][line["doc"]["side"]][0][0]) for line in lines]
    assert {line["arguments"]["gen_args_0"]["arg_1"] for line in lines} == {"  the end."}
    size = len("the end.")
    assert found.measures[0].value == pytest.approx(-sum(logs) / len(logs) / size / 0.6931471805599453, rel=1e-12)


def test_a_last_word_has_bits_per_byte_and_generated_text_has_none(written):
    assert of_samples(written, "last_word").measures[0].metric == "last_word/bits_per_byte,none"
    assert of_samples(written, "sums").measures == of_samples(written, "prose").measures == []
    assert of_samples(written, "sums").notes == (
        "sums has no choices with log-probabilities, so no bits per byte are computed",
    )
    assert of_samples(written, "prose").notes == ()


def test_the_mapping_that_simple_evaluate_returns_gives_what_the_files_give(written, first):
    returned = pickle.loads((written / "returned.pickle").read_bytes())
    held = values(contents("results", document=returned, name="lm-eval"))
    files = values(first) | {
        name: value for task in ("zoo_cats", "zoo_dogs", "sides", "last_word") for name, value in values(of_samples(written, task)).items()
    }  # fmt: skip
    assert held == files


def test_collecting_the_folder_tells_the_two_numbers_of_examples_apart(written):
    collected = readers.metrics(written / "out", samples=True)
    names = {name for name in collected.metrics if name.startswith("zoo_cats")}
    assert names == {
        f"zoo_cats|{shots}/{metric},none" for shots in (0, 2) for metric in ("acc", "acc_norm", "bits_per_byte")
    }
    assert "zoo_dogs/acc,none" in collected.metrics
    assert set(collected.step) == {20}
    assert "zoo_cats on 9 of 10" in str(collected.report)


def test_collecting_what_simple_evaluate_returned_needs_no_file(written):
    returned = pickle.loads((written / "returned.pickle").read_bytes())
    collected = readers.metrics({"mix_3": returned}, ignore="*acc*")
    assert (collected.runs, collected.metrics[0]) == (("mix_3",), "last_word/perplexity,none")
    assert collected.directions["prose/bits_per_byte,none"] == "min"


def test_asking_for_the_format_of_samples_reads_them(written):
    collected = readers.metrics(written / "out", format="lm-eval-samples", metric="sides/*")
    assert collected.metrics == ("sides/bits_per_byte,none",)
