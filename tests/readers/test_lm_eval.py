"""Files of lm-evaluation-harness, written by hand after its layout: what each number of a file becomes."""

import json
import math

import numpy as np
import pytest

from mixfast.readers import metrics as collect_metrics
from mixfast.readers.results._contents import ResultsError, Wanted
from mixfast.readers.results._formats import FORMATS
from mixfast.readers.results._source import Source

ARC = {
    "alias": "arc_easy", "name": "arc_easy", "sample_len": 2376, "acc,none": 0.5, "acc_stderr,none": "N/A", "acc_norm,none": 0.6,
    "acc_norm_stderr,none": 0.01,
}  # fmt: skip
FILE = {
    "results": {"arc_easy": ARC},
    "groups": {},
    "higher_is_better": {"arc_easy": {"acc": True, "acc_norm": True}},
    "n-shot": {"arc_easy": 0},
    "n-samples": {"arc_easy": {"original": 2376, "effective": 2376}},
    "versions": {"arc_easy": 1},
}


def read(document, *, samples=False, name="lm-eval"):
    source = Source("results.json", document=document)
    assert [form.name for form in FORMATS.values() if form.fits(source)] == [name]
    return FORMATS[name].read(source, Wanted(samples=samples))


def by_name(contents):
    return {each.metric: each for each in contents.measures}


def kept(contents):
    return {each.metric: each.value for each in contents.measures if not each.left_out}


def test_a_metric_has_its_filter_its_spread_and_its_count_and_nothing_else_is_one():
    found = by_name(read(FILE))
    assert list(found) == ["arc_easy/acc,none", "arc_easy/acc_norm,none"]
    acc, norm = found.values()
    assert (acc.value, acc.stderr, acc.n, acc.direction) == (0.5, None, 2376, "max")
    assert (norm.value, norm.stderr) == (0.6, 0.01)


def test_several_filters_of_one_metric_stay_apart():
    metrics = {
        "exact_match,strict-match": 0.1,
        "exact_match,flexible-extract": 0.2,
        "exact_match_stderr,strict-match": 0.01,
    }
    found = by_name(read({"results": {"gsm8k": metrics}, "higher_is_better": {"gsm8k": {"exact_match": True}}}))
    assert {name: (each.value, each.stderr, each.direction) for name, each in found.items()} == {
        "gsm8k/exact_match,strict-match": (0.1, 0.01, "max"),
        "gsm8k/exact_match,flexible-extract": (0.2, None, "max"),
    }


def test_a_metric_without_a_value_is_nan_and_text_is_named_apart():
    contents = read(
        {
            **FILE,
            "results": {"arc_easy": {"acc,none": "N/A", "f1,none": None, "answer,none": "yes", "pairs,none": [1, 2]}},
        }
    )
    assert all(math.isnan(value) for value in kept(contents).values())
    assert contents.text == ("arc_easy/answer,none", "arc_easy/pairs,none")


def test_nan_and_infinity_in_a_file_are_read_as_numbers(tmp_path):
    (tmp_path / "results.json").write_text(
        '{"results": {"a": {"ppl,none": Infinity, "acc,none": NaN}}, "versions": {}}'
    )
    ppl, acc = FORMATS["lm-eval"].read(Source(tmp_path / "results.json"), Wanted()).measures
    assert ppl.value == math.inf
    assert math.isnan(acc.value)


def groups(**more):
    leaf = {"acc,none": 0.25, "acc_stderr,none": 0.1}
    return {
        "results": {
            "mmlu": {"acc,none": 0.3, "alias": "mmlu"},
            "mmlu_stem": {"acc,none": 0.3, "alias": " - stem"},
            "mmlu_algebra": leaf,
            "mmlu_anatomy": leaf,
        },
        "groups": {"mmlu": {"acc,none": 0.3}, "mmlu_stem": {"acc,none": 0.3}},
        "higher_is_better": {"mmlu": {"acc": None}, "mmlu_stem": {"acc": True}, "mmlu_algebra": {"acc": True}},
        **more,
    }


PARTS = {"mmlu": ["mmlu_stem"], "mmlu_stem": ["mmlu_algebra", "mmlu_anatomy"]}


@pytest.mark.parametrize(
    "more",
    [{"group_subtasks": PARTS}, {"group_subtasks": {**PARTS, "mmlu_algebra": []}}, {}],
    ids=["nested", "with-empty-lists", "not-listed"],
)
def test_groups_that_repeat_their_tasks_are_left_out(more):
    contents = read(groups(**more))
    assert set(kept(contents)) == {"mmlu_algebra/acc,none", "mmlu_anatomy/acc,none"}
    assert by_name(contents)["mmlu/acc,none"].left_out == "aggregate of mmlu_algebra, mmlu_anatomy"
    assert by_name(contents)["mmlu/acc,none"].direction is None


def test_a_group_that_is_a_part_of_itself_ends():
    contents = read(groups(group_subtasks={"mmlu": ["mmlu", "mmlu_stem"], "mmlu_stem": ["mmlu", "mmlu_algebra"]}))
    assert by_name(contents)["mmlu/acc,none"].left_out == "aggregate of mmlu_algebra"


def test_a_group_without_its_tasks_in_the_file_is_kept_and_said():
    contents = read({**groups(), "results": {"mmlu": {"acc,none": 0.3}}, "group_subtasks": {"mmlu": ["mmlu_stem"]}})
    assert kept(contents) == {"mmlu/acc,none": 0.3}
    assert "the parts of mmlu are not in the file" in contents.notes[0]


def test_parts_that_only_a_group_holds_are_named():
    lacking = groups(group_subtasks=PARTS)
    del lacking["results"]["mmlu_anatomy"]
    contents = read(lacking)
    assert kept(contents) == {"mmlu_algebra/acc,none": 0.25}
    assert contents.notes == ("parts of groups that are left out are not in the file: mmlu_anatomy of mmlu_stem",)


def test_which_way_is_better_is_said_without_the_filter_and_unknown_where_null_or_missing():
    results = {"a": {"perplexity,none": 9.0, "acc,none": 0.1, "own,none": 1.0}}
    found = by_name(read({"results": results, "higher_is_better": {"a": {"perplexity": False, "acc": None}}}))
    assert [each.direction for each in found.values()] == ["min", None, None]


def test_a_limit_is_said_and_the_count_is_that_of_the_measured_documents():
    contents = read({**FILE, "n-samples": {"arc_easy": {"original": 2376, "effective": 100}}})
    assert "arc_easy on 100 of 2376" in contents.notes[0]
    assert {each.n for each in contents.measures} == {100}


def test_the_name_for_other_numbers_of_examples_in_the_prompt():
    assert by_name(read({**FILE, "n-shot": {"arc_easy": 5}}))["arc_easy/acc,none"].told_apart == "arc_easy|5/acc,none"


def test_perplexities_of_different_parts_have_different_units():
    document = {
        "results": {"lambada": {"perplexity,none": 9.0}, "wiki": {"word_perplexity,none": 40.0, "byte_perplexity,none": 2.0, "bits_per_byte,none": 1.0}},
        "configs": {"lambada": {"output_type": "loglikelihood"}},
    }  # fmt: skip
    units = [each.unit for each in read(document).measures]
    assert units == ["perplexity_per_document", "perplexity_per_word", "perplexity_per_byte", "bits_per_byte"]


def test_the_placeholder_of_runs_that_only_write_answers_is_no_metric():
    assert by_name(read({**FILE, "results": {"a": {"bypass,none": 999}}}))["a/bypass,none"].left_out


def test_files_before_filters_existed_are_read():
    assert kept(
        read({"results": {"lambada": {"ppl": 9.0, "ppl_stderr": 0.5, "acc": 0.4}}, "versions": {"lambada": 0}})
    ) == {
        "lambada/ppl": 9.0,
        "lambada/acc": 0.4,
    }


def test_the_model_names_the_run_and_its_step():
    contents = read(
        {**FILE, "model_name": "runs/mix_3/checkpoint-500", "model_name_sanitized": "runs__mix_3__checkpoint-500"}
    )
    assert contents.fields["model_name"] == "runs/mix_3/checkpoint-500"
    assert {each.step for each in contents.measures} == {500}
    contents = read({**FILE, "config": {"model_args": "pretrained=org/mix,revision=step1000-tokens4B"}})
    assert contents.fields["model_name"] == "org/mix"
    assert {each.step for each in contents.measures} == {1000}
    assert {each.step for each in read({**FILE, "model_name": "step-by-step/mix"}).measures} == {None}


def test_the_date_in_the_file_sorts():
    early, late = (read({**FILE, "date": seconds}).written for seconds in (9.0e8, 1.7e9))
    assert early < late
    assert read(FILE).written == read({**FILE, "date": "yesterday"}).written == ""


def test_numbers_of_numpy_in_the_mapping_of_simple_evaluate_are_read():
    assert kept(read({**FILE, "results": {"a": {"acc,none": np.float32(0.5), "hits,none": np.int64(3)}}})) == {
        "a/acc,none": 0.5,
        "a/hits,none": 3.0,
    }


def sample(number=0, target="1", acc=1.0, lls=("-8.0", "-2.0"), choices=(" a dog", " cat"), **more):
    return {
        "doc_id": number, "doc": {}, "target": target, "filter": "none", "metrics": ["acc"], "acc": acc,
        "arguments": {f"gen_args_{at}": {"arg_0": "Q:", "arg_1": choice} for at, choice in enumerate(choices)},
        "resps": [[[ll, "False"]] for ll in lls], "filtered_resps": [[ll, "False"] for ll in lls],
        **more,
    }  # fmt: skip


def bits(tmp_path, *samples, name="samples_arc_easy_2026-01-02T03-04-05.678.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(each) + "\n" for each in samples))
    assert [form.name for form in FORMATS.values() if form.fits(Source(path))] == ["lm-eval-samples"]
    return FORMATS["lm-eval-samples"].read(Source(path), Wanted(samples=True))


def test_bits_per_byte_are_those_of_the_right_choice_without_its_delimiter(tmp_path):
    contents = bits(tmp_path, sample(), sample(1, target="0", acc=0.0))
    (measure,) = contents.measures
    each = np.array([2.0 / 3, 8.0 / 5]) / math.log(2)
    assert measure.metric == "arc_easy/bits_per_byte,none"
    assert measure.value == pytest.approx(each.mean(), rel=1e-14)
    assert measure.stderr == pytest.approx(each.std(ddof=1) / math.sqrt(2), rel=1e-14)
    assert (measure.n, measure.unit, measure.direction) == (2, "bits_per_byte", "min")
    assert contents.written == "2026-01-02T03-04-05.678"
    assert contents.notes == ()


def test_samples_take_their_model_and_prompts_from_the_results_of_the_same_date(tmp_path):
    date = "2026-01-02T03-04-05.678"
    results = {**FILE, "n-shot": {"arc_easy": 5}, "model_name": "mix_3/step20", "date": 1.7e9}
    (tmp_path / "results_2026-01-01T00-00-00.000.json").write_text(json.dumps(FILE))
    (tmp_path / f"results_{date}.json").write_text(json.dumps(results))
    contents = bits(tmp_path, sample())
    (measure,) = contents.measures
    assert (measure.told_apart, measure.step) == ("arc_easy|5/bits_per_byte,none", 20)
    assert contents.fields["model_name"] == "mix_3/step20"
    assert contents.written == read(results).written
    (tmp_path / f"results_{date}.json").write_text('{"results": {')
    assert bits(tmp_path, sample()).measures[0].told_apart == ""


def test_bytes_are_those_of_utf_8(tmp_path):
    (measure,) = bits(tmp_path, sample(choices=(" a", " größe"))).measures
    assert measure.value == pytest.approx(2.0 / 7 / math.log(2))


def test_a_target_may_be_the_text_of_a_choice(tmp_path):
    (measure,) = bits(tmp_path, sample(target="cat"), sample(1, target=" cat")).measures
    assert measure.value == pytest.approx(2.0 / 3 / math.log(2))


def test_a_target_that_is_both_index_and_choice_is_settled_by_the_accuracies(tmp_path):
    numbers = {"choices": (" 1", " 0"), "target": "1"}
    (measure,) = bits(tmp_path, sample(acc=0.0, **numbers)).measures
    assert measure.value == pytest.approx(8.0 / math.log(2))
    (measure,) = bits(tmp_path, sample(acc=1.0, **numbers)).measures
    assert measure.value == pytest.approx(2.0 / math.log(2))


def test_a_target_that_is_both_index_and_choice_gives_no_metric_if_no_accuracy_decides(tmp_path):
    numbers = sample(choices=(" 1", " 0"))
    del numbers["acc"]
    contents = bits(tmp_path, numbers)
    assert contents.measures == []
    assert "no accuracies in the file decide it" in contents.notes[0]
    # A target that is no index tells that all are texts.
    (measure,) = bits(tmp_path, numbers, {**sample(1, target="cat"), "acc": None}).measures
    assert measure.value == pytest.approx((8.0 + 2.0 / 3) / 2 / math.log(2))


def test_targets_that_contradict_the_accuracies_give_no_metric(tmp_path):
    contents = bits(tmp_path, sample(), sample(1, acc=0.0))
    assert contents.measures == []
    assert "its targets contradict the accuracies" in contents.notes[0]


def test_several_right_choices_give_no_metric(tmp_path):
    contents = bits(tmp_path, sample(acc=0.7))
    assert contents.measures == []
    assert "several choices are right" in contents.notes[0]


def test_choices_without_a_question_are_not_counted_as_choices(tmp_path):
    arguments = {f"gen_args_{at}": {"arg_0": "" if at > 1 else "Q:", "arg_1": " ab"[: 2 + at % 2]} for at in range(4)}
    lls = ("-8.0", "-2.0", "-1.0", "-1.5")
    (measure,) = bits(tmp_path, sample(arguments=arguments, lls=lls, metrics=["acc", "acc_mutual_info"])).measures
    assert measure.value == pytest.approx(2.0 / 2 / math.log(2))
    # Older versions do not list the metrics.
    older = sample(arguments=arguments, lls=lls, acc_mutual_info=0.0)
    del older["metrics"]
    (measure,) = bits(tmp_path, older).measures
    assert measure.value == pytest.approx(2.0 / 2 / math.log(2))


def test_of_two_questions_with_one_answer_the_accuracy_tells_the_right_one(tmp_path):
    same = {"choices": (" end", " end"), "target": "end"}
    (measure,) = bits(tmp_path, sample(acc=1.0, **same), sample(1, acc=0.0, **same)).measures
    assert measure.value == pytest.approx((2.0 + 8.0) / 2 / 3 / math.log(2))
    three = {"choices": (" end",) * 3, "lls": ("-1.0", "-2.0", "-3.0"), "target": "end"}
    contents = bits(tmp_path, sample(acc=1.0, **three), sample(1, acc=0.0, **three))
    assert contents.measures[0].n == 1
    assert "1 of 2 documents" in contents.notes[0]


def test_each_document_counts_once_whatever_the_filters(tmp_path):
    (measure,) = bits(tmp_path, sample(), sample(filter="other"), sample(1), sample(1, filter="other")).measures
    assert measure.n == 2


def test_lines_that_disagree_about_a_document_are_said(tmp_path):
    contents = bits(tmp_path, sample(lls=("-8.0", "-4.0")), sample(1), sample(1), sample())
    assert contents.measures[0].n == 2
    assert contents.measures[0].value == pytest.approx(2.0 / 3 / math.log(2))
    assert contents.notes == ("arc_easy has several lines for 1 document with different values, and the last is used",)


def test_a_document_whose_log_probability_is_nan_is_left_out_and_said(tmp_path):
    contents = bits(tmp_path, sample(), sample(1, lls=("-8.0", "nan")))
    assert contents.measures[0].value == pytest.approx(2.0 / 3 / math.log(2))
    assert "the mean over 1 of 2 documents" in contents.notes[0]


def test_an_empty_right_choice_has_no_bits_per_byte(tmp_path):
    contents = bits(tmp_path, sample(target="0", acc=0.0, choices=(" ", " cat")))
    assert contents.measures == []
    assert "its targets name no single choice that has text" in contents.notes[0]


def test_a_single_continuation_is_the_right_one(tmp_path):
    one = {"choices": (" word",), "lls": ("-4.0",), "target": " word"}
    assert bits(tmp_path, sample(acc=0, **one)).measures[0].value == pytest.approx(1.0 / math.log(2))


def test_answers_that_were_generated_have_no_bits_per_byte(tmp_path):
    generated = sample(
        target="4", arguments={"gen_args_0": {"arg_0": "2+2", "arg_1": {"until": ["\n"]}}}, resps=[["4"]]
    )
    contents = bits(tmp_path, generated, name="samples_gsm8k_2026-01-02T03-04-05.678.jsonl")
    assert contents.measures == []
    assert contents.notes == ("gsm8k has no choices with log-probabilities, so no bits per byte are computed",)


def test_a_choice_of_probability_0_is_said(tmp_path):
    contents = bits(tmp_path, sample(lls=("-inf", "-2.0"), target="0", acc=0.0), sample(1))
    assert contents.measures[0].value == math.inf
    assert "1 of 2 right choices of arc_easy have probability 0" in contents.notes[0]


def test_a_file_that_was_not_written_to_its_end_is_refused_with_the_line(tmp_path):
    path = tmp_path / "samples_a_2026-01-02T03-04-05.jsonl"
    path.write_text(json.dumps(sample()) + "\n" + json.dumps(sample(1))[:60])
    with pytest.raises(ResultsError, match=r"line 2.*not written to its end"):
        FORMATS["lm-eval-samples"].read(Source(path), Wanted(samples=True))


def test_samples_in_the_mapping_of_simple_evaluate_are_computed_if_asked_for():
    held = sample(target=1, arguments=[("Q:", " a dog"), ("Q:", " cat")], resps=[[(-8.0, False)], [(-2.0, True)]])
    document = {**FILE, "samples": {"arc_easy": [held]}}
    assert "arc_easy/bits_per_byte,none" not in by_name(read(document))
    found = by_name(read(document, samples=True))["arc_easy/bits_per_byte,none"]
    assert found.value == pytest.approx(2.0 / 3 / math.log(2))
    assert found.told_apart == "arc_easy|0/bits_per_byte,none"


def test_a_standard_error_without_its_metric_is_no_metric():
    results = {"results": {"arc": {"acc,none": 0.5, "f1_stderr,none": 0.1}}, "versions": {"arc": 1}}
    assert collect_metrics({"a": results}).metrics == ("arc/acc,none",)
