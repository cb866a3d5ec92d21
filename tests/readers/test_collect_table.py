"""Tables of several runs: wide and long, with shares, standard errors and steps among the columns."""

import math

import numpy as np
import pytest

from mixfast.readers import ResultsError, metrics

WIDE = """\
run,w_web,w_code,seed,arc_acc,arc_acc_stderr,loss,comment
a,0.2,0.8,1,0.31,0.01,2.5,good
b,0.7,0.3,1,0.35,0.02,2.4,bad
c,0.5,0.5,2,,,2.6,fine
"""


def table(tmp_path, text, name="table.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_a_wide_table_brings_runs_metrics_errors_and_mixtures(tmp_path):
    collected = metrics(table(tmp_path, WIDE), domains="w_*")
    assert collected.runs == ("a", "b", "c")
    assert collected.metrics == ("arc_acc", "loss")
    assert dict(collected.mixtures)["b"] == {"w_web": 0.7, "w_code": 0.3}
    assert collected.stderr[:1].tolist() == [0.01]
    assert collected.report.missing == {"arc_acc": ("c",)}
    assert collected.report.left_out["text"] == ("comment",)
    assert set(collected.report.left_out["bookkeeping"]) == {"seed", "arc_acc_stderr"}
    assert collected.swarm().domains == ("w_web", "w_code")


def test_collected_swarms_keep_repeated_mixtures_and_take_the_tokens_of_their_pools(tmp_path):
    text = "run,w_web,w_code,loss\na,0.2,0.8,2.5\nb,0.2,0.8,2.3\nc,0.5,0.5,2.6\n"
    collected = metrics(table(tmp_path, text), domains="w_*")
    assert collected.report.repeats == (("a", "b"),)
    swarm = collected.swarm()
    assert (swarm.runs, swarm.noise.repeats) == (("a", "b", "c"), (("a", "b"),))
    counts = table(tmp_path, "w_web: 2M\nw_code: 1M\n", "counts.yaml")
    rows = table(tmp_path, "run,w_code,w_web\nc,1e6,2e6\nb,1e6,2e6\na,1e6,2e6\n", "pools.csv")
    for tokens in (counts, rows, {"w_web": 2e6, "w_code": 1e6}):
        known = collected.swarm(tokens=tokens, budget=5e6)
        assert known.epochs[0].tolist() == [0.5, 4.0]
        assert known.noise.repeats == (("a", "b"),)


def test_domain_in_a_pattern_is_the_name_without_the_prefix(tmp_path):
    collected = metrics(table(tmp_path, WIDE), domains="w_{domain}")
    assert dict(collected.mixtures)["b"] == {"web": 0.7, "code": 0.3}
    assert not [note for note in collected.report.notes if "the domains are named" in note]
    plain = metrics(table(tmp_path, WIDE), domains="w_*")
    assert any("domains='w_{domain}' names them web, code" in note for note in plain.report.notes)
    with pytest.raises(ResultsError, match="one name to several of the columns w_web, x_web"):
        metrics(
            table(tmp_path, "run,w_web,x_web,loss\na,0.2,0.8,1\nb,0.3,0.7,2\n"), domains=["w_{domain}", "x_{domain}"]
        )


def test_a_pattern_of_ids_names_the_runs_of_a_table(tmp_path):
    path = table(tmp_path, "run,loss\nproxy-a,1\nproxy-b,2\nbase,3\n")
    assert metrics(path, id="proxy-{run}").runs == ("a", "b", "base")
    with pytest.raises(ResultsError, match="fits none of the 3 runs of the table, such as 'proxy-a'"):
        metrics(path, id="x{run}")
    with pytest.raises(ResultsError, match="gives one name to several runs"):
        metrics(table(tmp_path, "run,loss\na-b,1\na-c,2\n"), id="{run}-*")


def test_metrics_that_are_equal_in_all_runs_are_named_with_the_option_that_leaves_them_out(tmp_path):
    path = table(tmp_path, "run,arc/acc,arc/acc_norm,piqa/acc\na,0.1,0.1,0.5\nb,0.2,0.2,0.6\nc,0.3,0.3,0.5\n")
    (note,) = [note for note in metrics(path).report.notes if "equal in all runs" in note]
    assert "1 metric: arc/acc_norm repeats arc/acc; ignore=['arc/acc_norm']" in note
    assert metrics(path, ignore="arc/acc_norm").metrics == ("arc/acc", "piqa/acc")


def test_a_metric_in_float32_repeats_the_same_one_in_float64(tmp_path):
    cells = "".join(
        f"{run},{value!r},{float(np.float32(value))!r}\n" for run, value in (("a", 1.1), ("b", 1.2), ("c", 1.3))
    )
    notes = metrics(table(tmp_path, f"run,eval_loss,eval/loss\n{cells}")).report.notes
    assert any("eval/loss repeats eval_loss" in note for note in notes)


def test_columns_that_sum_to_1_are_no_metrics(tmp_path):
    collected = metrics(table(tmp_path, WIDE))
    assert collected.metrics == ("arc_acc", "loss")
    assert any("taken as the mixture" in note for note in collected.report.notes)


def test_mixtures_of_several_phases_are_no_metrics(tmp_path):
    text = "run,p0_web,p0_code,p1_web,p1_code,loss\na,0.2,0.8,0.5,0.5,2\nb,0.3,0.7,0.1,0.9,2.1\nc,0.6,0.4,0.2,0.8,2.2\n"
    collected = metrics(table(tmp_path, text))
    assert collected.metrics == ("loss",)
    assert not collected.mixtures
    assert any("2 mixtures for each run" in note for note in collected.report.notes)


def test_the_last_step_of_a_history_counts(tmp_path):
    text = "run,step,loss\na,10,3\na,20,2\nb,10,3.5\nb,20,2.5\n"
    assert metrics(table(tmp_path, text)).wide() == {"run": ["a", "b"], "loss": [2.0, 2.5]}
    assert metrics(table(tmp_path, text), step=10).wide()["loss"] == [3.0, 3.5]


def test_rows_of_one_run_without_a_step_are_refused(tmp_path):
    with pytest.raises(ResultsError, match="more than one row of one run"):
        metrics(table(tmp_path, "run,loss\na,3\na,2\n"))


def test_a_long_table_is_read(tmp_path):
    text = "run,metric,value,direction,unit\na,x,1,max,score\na,y,2,,\nb,x,3,max,score\n"
    collected = metrics(table(tmp_path, text))
    assert collected.directions == {"x": "max"}
    assert collected.units["x"] == "score"
    assert collected.wide()["x"] == [1.0, 3.0]
    assert math.isnan(collected.wide()["y"][1])
    with pytest.raises(ResultsError, match="must hold min or max, got up"):
        metrics(table(tmp_path, "run,metric,value,direction\na,x,1,up\n"))


def test_two_tables_that_contradict_each_other_are_not_merged(tmp_path):
    """Runs of two swarms are often numbered from 0."""
    one = table(tmp_path, "run,loss\n0,3\n1,2\n", "one.csv")
    two = table(tmp_path, "run,loss\n0,3.5\n1,2.5\n", "two.csv")
    with pytest.raises(ResultsError, match=r"one.csv.* and .*two.csv differ in loss \(3 and 3.5\)"):
        metrics([one, two])


def test_two_tables_with_other_metrics_are_joined(tmp_path):
    one = table(tmp_path, "run,loss\na,3\nb,2\n", "one.csv")
    two = table(tmp_path, "run,acc\nb,0.5\na,0.6\n", "two.csv")
    assert metrics([one, two]).wide() == {"run": ["a", "b"], "loss": [3.0, 2.0], "acc": [0.6, 0.5]}


def test_the_column_of_ids_can_be_named(tmp_path):
    path = table(tmp_path, "model,loss\nx,3\ny,2\n")
    assert metrics(path, id="model").runs == ("x", "y")
    with pytest.raises(ResultsError, match=r"no column of the ids of runs, such as run.*its columns are: model, loss"):
        metrics(path)


def test_numbers_that_are_no_numbers_are_refused_by_name(tmp_path):
    with pytest.raises(ResultsError, match=r"column 'loss' must hold numbers, but run 'b' has '2,5.1'"):
        metrics(table(tmp_path, 'run,loss\na,3\nb,"2,5.1"\n'))


def test_a_metric_with_different_units_in_different_runs_is_left_out(tmp_path):
    text = "run,metric,value,unit\na,x,1,bits_per_byte\na,y,1,\nb,x,3,nats_per_token\nb,y,2,\n"
    collected = metrics(table(tmp_path, text))
    assert collected.metrics == ("y",)
    assert collected.report.left_out["its unit differs between files"] == ("x",)


def test_parquet_tables_are_read(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "table.parquet"
    parquet.write_table(pyarrow.table({"run": ["a", "b"], "loss": [3.0, None], "acc": [1, 2]}), path)
    collected = metrics(path)
    assert collected.wide()["loss"][0] == 3.0
    assert math.isnan(collected.wide()["loss"][1])
    assert collected.report.missing == {"loss": ("b",)}


def test_commas_between_thousands_are_refused(tmp_path):
    with pytest.raises(
        ResultsError,
        match="column 'acc': run 'a' has '1,234', and its comma may be a decimal comma or separate thousands",
    ):
        metrics(table(tmp_path, 'run,acc\na,"1,234"\nb,"2,345"\n'))


def test_decimal_commas_are_read_and_said(tmp_path):
    semicolons = metrics(table(tmp_path, "run;loss\na;1,234\nb;2,345\n"))
    assert semicolons.wide()["loss"] == [1.234, 2.345]
    assert "decimal commas read as points: loss" in str(semicolons.report)
    beside = metrics(table(tmp_path, 'run,loss,acc\na,"1,234","0,12"\nb,"2,345","0,5"\n'))
    assert beside.wide()["loss"] == [1.234, 2.345]


def test_percent_signs_are_said(tmp_path):
    collected = metrics(table(tmp_path, "run,acc\na,45%\nb,46%\n"))
    assert collected.wide()["acc"] == [0.45, 0.46]
    assert "percent signs read, their cells divided by 100: acc" in str(collected.report)


@pytest.mark.parametrize("domains", [None, "w_*"])
def test_percentages_without_sign_are_the_mixture_and_no_metrics(tmp_path, domains):
    path = table(tmp_path, "run,w_a,w_b,loss\na,40,60,3\nb,30,70,2\nc,55,45,1\n")
    collected = metrics(path, domains=domains)
    assert collected.metrics == ("loss",)
    assert dict(collected.mixtures["a"]) == {"w_a": 0.4, "w_b": 0.6}
    assert "100" in str(collected.report)


def test_counts_of_domains_that_were_asked_for_are_divided_by_their_sum(tmp_path):
    path = table(tmp_path, "run,w_a,w_b,loss\na,1000,3000,3\nb,2000,2000,2\n")
    assert dict(metrics(path, domains="w_*").mixtures["a"]) == {"w_a": 0.25, "w_b": 0.75}


@pytest.mark.parametrize(
    "text",
    [
        "run;arc/acc,none\na;0,25\nb;0,5\n",
        "run\tarc/acc,none\tloss\na,1\t0.25\t2\nb,1\t0.5\t3\n",
        'run,"arc/acc,none"\na;1,0.25\nb;1,0.5\n',
    ],
)
def test_commas_in_names_and_numbers_do_not_separate_columns(tmp_path, text):
    assert metrics(table(tmp_path, text)).wide()["arc/acc,none"] == [0.25, 0.5]
