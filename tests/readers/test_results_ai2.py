"""Formats of results of AI2 and marin: every trap of their layouts."""

import json
import math

import pytest

from mixfast.readers.results._contents import Wanted
from mixfast.readers.results._formats import FORMATS
from mixfast.readers.results._source import Source


def read(path, format, **wanted):
    """Return the contents of a file that only this format recognises."""
    assert [form.name for form in FORMATS.values() if form.fits(Source(path)) and form.name != "table"] == [format]
    return FORMATS[format].read(Source(path), Wanted(**wanted))


def kept(contents):
    return {measure.metric: measure.value for measure in contents.measures if not measure.left_out}


def left(contents):
    return {measure.metric: measure.left_out for measure in contents.measures if measure.left_out}


def one(contents, metric):
    return next(measure for measure in contents.measures if measure.metric == metric)


def written(folder, name, document):
    path = folder / name
    lines = document if isinstance(document, list) else [document]
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    return path


def olmes_task(alias, metrics, primary="acc_per_char", **more):
    config = {"task_name": alias.partition(":")[0], "primary_metric": primary, "metadata": {"alias": alias}}
    return {
        "task_name": config["task_name"],
        "task_config": config,
        "model_config": {"model": "proxy-3"},
        "current_date": "2026-02-01 10:00:00 UTC",
        "num_instances": 500,
        "metrics": metrics,
        **more,
    }


OLMES_TASK = olmes_task(
    "arc_easy:rc::olmes",
    {
        "acc_raw": 0.4,
        "acc_per_char": 0.41,
        "bits_per_byte_corr": 0.9,
        "logits_per_byte_corr": -0.62,
        "primary_score": 0.41,
    }
    | {"correct_choice": 1.5, "predicted_index_raw": 1.4, "no_answer": 0, "extra_metrics": {"num_tokens": 812.0}},
)


class TestOlmes:
    def test_metrics_are_named_by_the_alias_of_the_task(self, tmp_path):
        found = read(
            written(tmp_path, "metrics-all.jsonl", [OLMES_TASK, olmes_task("piqa", {"acc_raw": 0.6})]), "olmes"
        )
        assert kept(found)["arc_easy:rc::olmes/acc_raw"] == 0.4
        assert kept(found)["piqa/acc_raw"] == 0.6
        assert one(found, "piqa/acc_raw").n == 500
        assert found.fields["model"] == "proxy-3"
        assert found.written == "2026-02-01 10:00:00 UTC"

    @pytest.mark.parametrize("primary", ["macro", "micro"])
    def test_averages_of_tasks_are_left_out(self, tmp_path, primary):
        mean = olmes_task("core::olmes", {"primary_score": 0.5, "acc_raw": 0.5}, primary=primary)
        found = read(written(tmp_path, "metrics-all.jsonl", [mean, OLMES_TASK]), "olmes")
        assert left(found)["core::olmes/acc_raw"] == f"{primary} average of other tasks"
        assert not [name for name in kept(found) if name.startswith("core")]

    def test_averages_are_known_by_their_metrics_where_the_config_is_short(self, tmp_path):
        mean = {"alias": "core::olmes", "metrics": {"acc_raw_macro": 0.5, "acc_raw_micro": 0.5, "primary_score": 0.5}}
        leaf = {"alias": "piqa", "metrics": {"acc_raw": 0.5}, "num_instances": 10, "task_config": {}}
        document = {"all_primary_scores": ["piqa: 0.5"], "tasks": [mean, leaf], "model_config": {"model": "proxy-3"}}
        found = read(written(tmp_path, "metrics.json", document), "olmes")
        assert kept(found) == {"piqa/acc_raw": 0.5}
        assert found.fields["model"] == "proxy-3"

    def test_the_primary_score_repeats_another_metric(self, tmp_path):
        found = read(written(tmp_path, "metrics-all.jsonl", [OLMES_TASK]), "olmes")
        assert left(found)["arc_easy:rc::olmes/primary_score"] == "repeats acc_per_char"

    def test_a_primary_score_of_bits_per_byte_is_lower_better(self, tmp_path):
        task = olmes_task("mbpp:bpb", {"primary_score": 0.8}, primary="bits_per_byte_corr")
        found = one(read(written(tmp_path, "metrics-all.jsonl", [task, OLMES_TASK]), "olmes"), "mbpp:bpb/primary_score")
        assert (found.direction, found.unit, found.left_out) == ("min", "bits_per_byte", "")

    @pytest.mark.parametrize(("value", "direction", "unit"), [(-0.62, "max", "logprob"), (0.9, "min", "bits_per_byte")])
    def test_the_sign_of_logits_per_byte_decides_its_direction(self, tmp_path, value, direction, unit):
        task = olmes_task("piqa", {"acc_raw": 0.6, "logits_per_byte_corr": value})
        contents = read(written(tmp_path, "metrics-all.jsonl", [task]), "olmes")
        found = one(contents, "piqa/logits_per_byte_corr")
        assert (found.direction, found.unit) == (direction, unit)
        assert any("logits_per_byte_corr is positive" in note for note in contents.notes) == (value > 0)

    def test_log_likelihoods_are_higher_better(self, tmp_path):
        task = olmes_task("piqa", {"sum_logits_corr": -20.0, "logits_per_token_corr": -2.0, "bits_per_byte_corr": 0.7})
        contents = read(written(tmp_path, "metrics-all.jsonl", [task]), "olmes")
        assert [one(contents, f"piqa/{name}").direction for name in task["metrics"]] == ["max", "max", "min"]

    def test_numbers_of_choices_and_extra_metrics_are_no_metrics(self, tmp_path):
        found = read(written(tmp_path, "metrics-all.jsonl", [OLMES_TASK]), "olmes")
        assert set(found.bookkeeping) == {"arc_easy:rc::olmes/correct_choice", "arc_easy:rc::olmes/predicted_index_raw"}
        assert left(found)["arc_easy:rc::olmes/extra_metrics/num_tokens"].startswith("secondary measurement")

    def test_the_file_of_one_task_gives_the_same_values(self, tmp_path):
        every = read(written(tmp_path, "metrics-all.jsonl", [OLMES_TASK]), "olmes")
        single = read(written(tmp_path, "task-000-arc_easy-metrics.json", OLMES_TASK), "olmes")
        assert kept(every) == kept(single)
        assert left(every) == left(single)


OLMO_EVAL_FILE = {
    "timestamp": "2026-06-01T10:00:00",
    "config": {"model": "proxy-3", "provider": "vllm"},
    "tasks": [
        {
            "task": "arc_easy:bpb",
            "metrics": {"bits_per_byte": {"bpb_scorer": 0.9}, "accuracy": {"exact": 0.4}},
            "num_instances": 500,
            "primary_metric": "bits_per_byte:bpb_scorer",
        }
    ],
    "summary": {
        "arc_easy:bpb": {"metric": "bits_per_byte:bpb_scorer", "score": 0.9},
        "olmo3:easy": {"metric": "bits_per_byte:bpb_scorer", "score": 0.9},
    },
    "errors": [],
}


class TestOlmoEval:
    def test_tasks_are_leaves_and_suites_are_named(self, tmp_path):
        found = read(written(tmp_path, "metrics.json", OLMO_EVAL_FILE), "olmo-eval")
        assert kept(found) == {"arc_easy:bpb/bits_per_byte:bpb_scorer": 0.9, "arc_easy:bpb/accuracy:exact": 0.4}
        assert found.notes == ("means of suites are left out, because their tasks are in the file: olmo3:easy",)
        assert (found.written, found.fields["model"]) == ("2026-06-01T10:00:00", "proxy-3")
        measure = found.measures[0]
        assert (measure.direction, measure.unit, measure.n, measure.run) == ("min", "bits_per_byte", 500, "")

    def test_several_models_in_one_file_are_several_runs(self, tmp_path):
        task = OLMO_EVAL_FILE["tasks"][0]
        document = {**OLMO_EVAL_FILE, "tasks": [{**task, "model": "a"}, {**task, "model": "b"}], "summary": {}}
        found = read(written(tmp_path, "metrics.json", document), "olmo-eval")
        assert {measure.run for measure in found.measures} == {"a", "b"}

    def test_metrics_without_scorers_are_read_too(self, tmp_path):
        document = {**OLMO_EVAL_FILE, "tasks": [{"task": "piqa", "metrics": {"accuracy": 0.6}, "num_instances": 3}]}
        assert kept(read(written(tmp_path, "metrics.json", document), "olmo-eval")) == {"piqa/accuracy": 0.6}

    def test_failed_tasks_are_counted(self, tmp_path):
        document = {**OLMO_EVAL_FILE, "errors": [{"task": "gsm8k", "error": "out of memory"}]}
        assert any(
            note.startswith("1 task failed")
            for note in read(written(tmp_path, "metrics.json", document), "olmo-eval").notes
        )


OLMO_CORE_FILE = {
    "train/CE loss": 2.9,
    "train/PPL": 18.1,
    "optim/total grad norm": 0.3,
    "throughput/device/TPS": 1e5,
    "eval/lm/pile-validation/CE loss": 3.1,
    "eval/lm/pile-validation/PPL": 22.2,
    "eval/lm/c4_en-validation/CE loss": math.nan,
    "eval/downstream/arc_easy (BPB v2)": 0.98,
    "eval/downstream/arc_easy (BPB)": 1.02,
    "eval/downstream/arc_easy (CE loss v2)": 0.7,
    "eval/downstream/arc_easy (accuracy v2)": 0.4,
    "eval/downstream/arc_easy (soft loss v2)": 0.3,
    "eval/downstream/arc_easy (log soft loss v2)": -1.2,
    "eval/downstream/old (accuracy)": 0.3,
    "eval/merged/lm/pile-validation/CE loss": 3.0,
}


class TestOlmoCore:
    def test_evaluations_are_kept_and_the_state_of_the_trainer_is_not(self, tmp_path):
        found = read(written(tmp_path, "metrics.json", OLMO_CORE_FILE), "olmo-core")
        assert "eval/downstream/arc_easy (BPB v2)" in kept(found)
        assert set(found.bookkeeping) == {"optim/total grad norm", "throughput/device/TPS"}

    def test_the_loss_on_own_data_cannot_compare_mixtures(self, tmp_path):
        found = left(read(written(tmp_path, "metrics.json", OLMO_CORE_FILE), "olmo-core"))
        assert {found["train/CE loss"], found["train/PPL"]} == {"loss on the run's own training data"}

    def test_the_first_version_is_left_out_only_if_the_second_is_there(self, tmp_path):
        found = read(written(tmp_path, "metrics.json", OLMO_CORE_FILE), "olmo-core")
        assert (
            left(found)["eval/downstream/arc_easy (BPB)"]
            == "first version of a metric whose second version is in the file"
        )
        assert kept(found)["eval/downstream/old (accuracy)"] == 0.3

    def test_the_merged_model_is_another_model(self, tmp_path):
        found = read(written(tmp_path, "metrics.json", OLMO_CORE_FILE), "olmo-core")
        assert left(found)["eval/merged/lm/pile-validation/CE loss"] == "model of merged weights"

    def test_labels_that_were_not_reached_are_missing_values(self, tmp_path):
        found = read(written(tmp_path, "metrics.json", OLMO_CORE_FILE), "olmo-core")
        assert math.isnan(kept(found)["eval/lm/c4_en-validation/CE loss"])
        assert any(note.startswith("NaN marks") for note in found.notes)

    @pytest.mark.parametrize(
        ("metric", "direction", "unit"),
        [
            ("eval/lm/pile-validation/CE loss", "min", "nats_per_token"),
            ("eval/lm/pile-validation/PPL", "min", "perplexity"),
            ("eval/downstream/arc_easy (BPB v2)", "min", "bits_per_byte"),
            ("eval/downstream/arc_easy (CE loss v2)", "min", "nats_per_character"),
            ("eval/downstream/arc_easy (accuracy v2)", "max", "score"),
            # A probability, in spite of its name.
            ("eval/downstream/arc_easy (soft loss v2)", "max", "score"),
            ("eval/downstream/arc_easy (log soft loss v2)", "max", "logprob"),
        ],
    )
    def test_the_format_defines_direction_and_unit(self, tmp_path, metric, direction, unit):
        found = one(read(written(tmp_path, "metrics.json", OLMO_CORE_FILE), "olmo-core"), metric)
        assert (found.direction, found.unit) == (direction, unit)

    def test_the_step_is_in_the_name_of_the_file(self, tmp_path):
        found = read(written(tmp_path, "metrics_step1200.json", OLMO_CORE_FILE), "olmo-core")
        assert {measure.step for measure in found.measures} == {1200}
        found = read(written(tmp_path, "metrics.json", OLMO_CORE_FILE), "olmo-core")
        assert {measure.step for measure in found.measures} == {None}
        assert any("may be from different steps" in note for note in found.notes)


LEVANTER_LINE = {
    "step": 3813,
    "eval/loss": 3.1,
    "eval/bpb": 0.98,
    "eval/macro_loss": 3.2,
    "eval/macro_bpb": 0.99,
    "eval/paloma/micro_loss": 3.0,
    "eval/paloma/bpb": 0.97,
    "eval/paloma/macro_bpb": 0.96,
    "eval/paloma/c4_en/loss": 3.3,
    "eval/paloma/c4_en/bpb": 0.95,
    "eval/code/loss": 1.2,
    "eval/code/bpb": 0.5,
    "eval/ema/loss": 3.05,
    "eval/ema/code/bpb": 0.49,
    "eval/loading_time": 2.0,
    "eval/total_time": 60.0,
}


class TestLevanter:
    def test_only_leaves_are_kept(self, tmp_path):
        found = read(written(tmp_path, "eval_metrics.jsonl", [LEVANTER_LINE]), "levanter")
        assert set(kept(found)) == {
            "eval/paloma/c4_en/loss", "eval/paloma/c4_en/bpb", "eval/code/loss", "eval/code/bpb"
        }  # fmt: skip
        assert left(found)["eval/paloma/bpb"] == "mean over the sets of eval/paloma"
        assert left(found)["eval/ema/code/bpb"] == "moving average of the weights"
        assert set(found.bookkeeping) == {"step", "eval/loading_time", "eval/total_time"}

    def test_a_single_validation_set_is_a_leaf(self, tmp_path):
        found = read(
            written(tmp_path, "eval_metrics.jsonl", [{"step": 1, "eval/loss": 3.1, "eval/ema/loss": 3.0}]), "levanter"
        )
        assert kept(found) == {"eval/loss": 3.1}

    def test_units_are_nats_per_token_and_bits_per_byte(self, tmp_path):
        found = read(written(tmp_path, "eval_metrics.jsonl", [LEVANTER_LINE]), "levanter")
        assert [
            (one(found, f"eval/code/{name}").unit, one(found, f"eval/code/{name}").direction)
            for name in ("loss", "bpb")
        ] == [
            ("nats_per_token", "min"),
            ("bits_per_byte", "min"),
        ]
        assert any("means over batches" in note for note in found.notes)

    def test_of_a_step_that_was_repeated_after_a_restart_the_later_line_holds(self, tmp_path):
        lines = [{"step": 10, "eval/loss": 3.0}, {"step": 20, "eval/loss": 2.9}, {"step": 10, "eval/loss": 3.2}]
        found = read(written(tmp_path, "eval_metrics.jsonl", lines), "levanter")
        # The value of step 20 is of the training that the restart threw away.
        assert {measure.step: measure.value for measure in found.measures} == {10: 3.2}
        assert any(note.startswith("1 step is in the file twice") for note in found.notes)
        assert any(note.startswith("training was restarted before step 20") for note in found.notes)

    def test_steps_that_are_reached_again_after_a_restart_have_the_later_values(self, tmp_path):
        lines = [{"step": step, "eval/loss": loss} for step, loss in ((10, 3.0), (20, 2.9), (10, 3.1), (20, 2.8))]
        found = read(written(tmp_path, "eval_metrics.jsonl", lines), "levanter")
        assert {measure.step: measure.value for measure in found.measures} == {10: 3.1, 20: 2.8}
        assert not any(note.startswith("training was restarted") for note in found.notes)

    def test_the_summary_of_the_tracker_is_read(self, tmp_path):
        summary = {
            "_step": 7,
            "eval/code/bpb": 0.5,
            "train/loss": 2.0,
            "lm_eval/arc/acc": 0.4,
            "lm_eval/arc/acc_stderr": 0.01,
        }
        summary |= {"lm_eval/averages/macro_avg_acc": 0.4}
        found = read(
            written(tmp_path, "tracker_metrics.jsonl", [{"config": {"seed": 1}, "summary": summary}]), "levanter"
        )
        assert kept(found) == {"eval/code/bpb": 0.5, "lm_eval/arc/acc": 0.4}
        assert one(found, "lm_eval/arc/acc").stderr == 0.01
        assert "lm_eval/averages/macro_avg_acc" in left(found)
        assert "train/loss" in found.bookkeeping


class TestMarin:
    cells = ("web", "code")

    @pytest.fixture
    def swarm(self, tmp_path):
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")

        def write(phases, *, budgets=None, maps=False, **columns):
            rows = []
            for place, each in enumerate(phases):
                row = {
                    "observation_id": f"s:run-{place}",
                    "swarm_id": "s",
                    "run_name": f"run-{place}",
                    "group": "proportional_baseline",
                }
                row |= {
                    f"phase{number}_weights": dict(zip(self.cells, shares, strict=True))
                    for number, shares in enumerate(each)
                }
                row |= {
                    "grouped_bpb": {
                        "piqa_0shot": 1.0 + place,
                        "belebele_deu": 1.0,
                        "belebele_fra": 3.0,
                        "belebele_mean": 2.0,
                    }
                }
                row |= {"training_eval_metrics": {"eval/bpb": 0.9, "eval/paloma/c4/bpb": 0.8, "eval/total_time": 3.0}}
                rows.append(row | {name: values[place] for name, values in columns.items()})
            table = pa.Table.from_pylist(rows)
            if maps:
                for name in ("phase0_weights", "phase1_weights", "grouped_bpb"):
                    values = pa.array([list(row[name].items()) for row in rows], pa.map_(pa.string(), pa.float64()))
                    table = table.set_column(table.schema.get_field_index(name), name, values)
            pq.write_table(table, tmp_path / "observations.parquet", compression="zstd")
            if budgets:
                pq.write_table(
                    pa.Table.from_pylist([{"swarm_id": "s", "phase_budgets": budgets}]), tmp_path / "swarm.parquet"
                )
            return tmp_path / "observations.parquet"

        return write

    two = (((0.5, 0.5), (0.5, 0.5)), ((0.8, 0.2), (0.2, 0.8)))
    same = (((0.5, 0.5), (0.5, 0.5)), ((0.8, 0.2), (0.8, 0.2)))

    def test_a_parquet_file_may_be_compressed_as_a_whole(self, swarm):
        zstandard = pytest.importorskip("zstandard")
        path = swarm(self.same)
        whole = path.with_name("observations.parquet.zst")
        whole.write_bytes(zstandard.ZstdCompressor().compress(path.read_bytes()))
        assert kept(read(whole, "marin")) == kept(read(path, "marin"))

    @pytest.mark.parametrize("maps", [False, True])
    def test_rows_are_runs_and_leaves_are_kept(self, swarm, maps):
        found = read(swarm(self.same, maps=maps), "marin")
        assert {measure.run for measure in found.measures} == {"run-0", "run-1"}
        assert set(kept(found)) == {"piqa_0shot", "belebele_deu", "belebele_fra", "eval/paloma/c4/bpb"}
        assert left(found) == {
            "belebele_mean": "mean of 2 metrics that start with belebele_",
            "eval/bpb": "mean over the sets of eval",
        }
        assert {(measure.unit, measure.direction) for measure in found.measures} == {("bits_per_byte", "min")}
        assert "groups of runs: proportional_baseline (2)" in found.notes

    def test_phases_of_one_mixture_are_one_mixture(self, swarm):
        found = read(swarm(self.same), "marin")
        assert found.mixtures == {"run-0": {"web": 0.5, "code": 0.5}, "run-1": {"web": 0.8, "code": 0.2}}

    def test_phases_are_weighted_by_their_tokens(self, swarm):
        found = read(swarm(self.two, budgets=[3e9, 1e9]), "marin")
        assert found.mixtures["run-1"] == pytest.approx({"web": 0.65, "code": 0.35}, abs=1e-15)
        assert any("weighted by their tokens (75.0% and 25.0%)" in note for note in found.notes)

    def test_without_the_tokens_of_phases_no_mean_is_guessed(self, swarm):
        found = read(swarm(self.two), "marin")
        assert found.mixtures == {}
        assert any("--domains 'phase_1_*'" in note for note in found.notes)

    def test_one_phase_may_be_chosen(self, swarm):
        found = read(swarm(self.two), "marin", domains=("phase_1_*",))
        assert found.mixtures["run-1"] == {"web": 0.2, "code": 0.8}

    def test_both_phases_may_be_domains_of_their_own(self, swarm):
        found = read(swarm(self.two, budgets=[3e9, 1e9]), "marin", domains=("phase_*",))
        assert found.mixtures["run-1"] == pytest.approx(
            {"phase_0_web": 0.6, "phase_0_code": 0.15, "phase_1_web": 0.05, "phase_1_code": 0.2}
        )

    def test_a_run_whose_weights_lack_a_domain_has_no_mixture(self, swarm):
        phases = (*self.same, ((0.5, None), (0.5, None)))
        found = read(swarm(phases), "marin")
        assert set(found.mixtures) == {"run-0", "run-1"}
        assert any(note.endswith("lack a domain in a phase: run-2") for note in found.notes)

    def test_equal_names_of_runs_fall_back_to_their_ids(self, swarm):
        found = read(swarm(self.same, run_name=["a", "a"]), "marin")
        assert set(found.mixtures) == {"s:run-0", "s:run-1"}
