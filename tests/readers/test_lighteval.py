"""Files of lighteval, written by hand after its layout: what each number of a file becomes."""

import math

import pytest

from mixfast.readers.results._contents import Wanted
from mixfast.readers.results._formats import FORMATS
from mixfast.readers.results._source import Source

FILE = {
    "config_general": {"lighteval_sha": "?", "max_samples": None, "model_name": "org/mix_3", "start_time": 12.5},
    "results": {
        "mmlu:algebra|5": {"acc": 0.2, "acc_stderr": 0.02},
        "mmlu:anatomy|5": {"acc": 0.4, "acc_stderr": 0.04},
        "mmlu:_average|5": {"acc": 0.3, "acc_stderr": 0.03},
        "gsm8k|0": {"extractive_match": 0.1, "pass@k:k=1&n=1": 0.05},
        "all": {"acc": 0.3, "acc_stderr": 0.03, "extractive_match": 0.1},
    },
    "versions": {"mmlu:algebra|5": 0},
    "config_tasks": {
        "mmlu:algebra|5": {
            "effective_num_docs": 100,
            "metrics": [
                {"metric_name": "acc", "higher_is_better": True},
                {"metric_name": ["nll", "odds"], "higher_is_better": {"nll": False, "odds": True}},
            ],
        },
        "mmlu:anatomy|5": {"effective_num_docs": -1, "metrics": ["acc"]},
    },
}


def read(document):
    source = Source("results.json", document=document)
    assert [form.name for form in FORMATS.values() if form.fits(source)] == ["lighteval"]
    return FORMATS["lighteval"].read(source, Wanted())


def by_name(contents):
    return {each.metric: each for each in contents.measures}


def test_averages_over_parts_and_over_all_tasks_are_left_out():
    contents = read(FILE)
    assert [each.metric for each in contents.measures if not each.left_out] == [
        "mmlu:algebra|5/acc",
        "mmlu:anatomy|5/acc",
        "gsm8k|0/extractive_match",
        "gsm8k|0/pass@k:k=1&n=1",
    ]
    found = by_name(contents)
    assert found["mmlu:_average|5/acc"].left_out == "aggregate of mmlu"
    assert found["all/acc"].left_out == "mean over all tasks"
    assert contents.fields == {"model_name": "org/mix_3"}


def test_standard_errors_belong_to_their_metric():
    found = by_name(read(FILE))
    assert not [name for name in found if "stderr" in name]
    assert (found["mmlu:algebra|5/acc"].stderr, found["gsm8k|0/extractive_match"].stderr) == (0.02, None)


def test_which_way_is_better_comes_from_the_definitions_of_metrics_if_the_file_has_them():
    document = {**FILE, "results": {"mmlu:algebra|5": {"acc": 0.2, "nll": 1.0, "odds": 2.0, "new": 1.0}}}
    assert [each.direction for each in read(document).measures] == ["max", "min", "max", None]
    assert by_name(read(FILE))["mmlu:anatomy|5/acc"].direction is None


def test_a_count_that_was_not_made_is_unknown():
    found = by_name(read(FILE))
    assert (found["mmlu:algebra|5/acc"].n, found["mmlu:anatomy|5/acc"].n) == (100, None)


def test_the_configuration_of_older_files_has_no_number_of_shots():
    document = {
        "results": {"leaderboard|arc:challenge|25": {"acc": None}},
        "config_tasks": {"leaderboard|arc:challenge": {"effective_num_docs": 7}},
    }
    (measure,) = read(document).measures
    assert math.isnan(measure.value)
    assert measure.n == 7


def test_text_is_named_apart_and_a_limit_is_said():
    contents = read({**FILE, "results": {"a|0": {"acc": 0.5, "kind": "x"}}, "config_general": {"max_samples": 10}})
    assert contents.text == ("a|0/kind",)
    assert contents.notes == ("measured on at most 10 documents of each task (--max-samples)",)


@pytest.mark.parametrize("document", [{"results": {"a": {"acc": 0.1}}}, {"results": []}, {"results": {"a|0": 0.5}}, []])
def test_other_documents_are_not_taken(document):
    assert not FORMATS["lighteval"].fits(Source("results.json", document=document))
