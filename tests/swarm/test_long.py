"""Long tables of metrics, with a row for each run and metric, in the place of wide ones."""

import io

import pytest

from mixfast.swarm import Swarm, SwarmError

RATIOS = "run,web,maths\na,0.2,0.8\nb,0.5,0.5\nc,0.9,0.1\n"
LONG = """run,metric,value,stderr,n,unit,direction,step,source,mark
a,mmlu,0.3,0.01,100,,max,10,x.json,
a,web_loss,2.5,,,nats_per_token,min,10,x.json,
b,mmlu,0.4,0.01,100,,max,10,y.json,
b,web_loss,2.25,,,nats_per_token,min,10,y.json,
c,web_loss,11.5,,,nats_per_token,min,10,z.json,diverged
"""


def read(metrics=LONG, **options):
    return Swarm.from_csv(io.StringIO(RATIOS), io.StringIO(metrics), **options)


def test_a_long_table_is_read_with_its_directions_and_units():
    found = read()
    assert (found.runs, found.metrics) == (("a", "b", "c"), ("mmlu", "web_loss"))
    assert found.values[:, 1].tolist() == [2.5, 2.25, 11.5]
    assert (found.values[:2, 0].tolist(), found.report.missing) == ([0.3, 0.4], {"mmlu": 1})
    assert (found.direction, found.unit) == (("max", "min"), ("nats", "nats_per_token"))
    assert found.report.assumed_directions == found.report.guessed_directions == ()
    told = str(found.report)
    assert (
        "a long table, a row for each run and metric; direction of 2 metrics from its column; unit of 1 metric" in told
    )
    assert "used although the column 'mark' says that they diverged: c" in told


def test_what_the_caller_says_wins_over_the_table():
    assert read(direction={"mmlu": "min"}).direction == ("min", "min")
    assert read(direction="max").direction == ("max", "max")
    assert read(unit={"web_loss": "bits_per_byte"}).unit == ("nats", "bits_per_byte")


def test_metrics_of_a_long_table_are_chosen_by_patterns():
    assert read(metric_names="*_loss").metrics == read(ignore="mm*").metrics == ("web_loss",)
    # No run but c lacks mmlu, and c is dropped with it.
    assert read(metric_names="mmlu").report.dropped == (("c", "no value of any metric"),)


def test_the_last_step_is_used_and_two_values_at_one_step_are_refused():
    steps = LONG + "b,mmlu,0.35,,,,max,5,y.json,\nb,web_loss,2.125,,,,min,20,y.json,\n"
    found = read(steps)
    assert (found.values[1].tolist(), "2 values of other steps left out" in str(found.report)) == ([0.4, 2.125], True)
    assert read(LONG + "a,mmlu,0.3,,,,max,10,copy.json,\n").values[0, 0] == 0.3
    with pytest.raises(SwarmError, match=r"run 'a' has two values of 'mmlu', 0.3 and 0.31, at step 10; keep one row"):
        read(LONG + "a,mmlu,0.31,,,,max,10,other.json,\n")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a,arc,0.3,,,,up,10,,", r'direction of \'arc\' must be "min" .* got \'up\''),
        ("c,mmlu,0.3,,,,min,10,,", "the direction of 'mmlu' is 'max' in one row and 'min' in another"),
        ("c,mmlu,0.3,,,percent,max,10,,\na,mmlu,0.3,,,share,max,10,,", "the unit of 'mmlu' is 'percent'"),
        ("c,mmlu,high,,,,max,10,,", "column 'value' must hold numbers, but run 'c' has 'high'"),
        ("c,,0.3,,,,max,10,,", "row 6 below the header has a value without a metric"),
        (",mmlu,0.3,,,,max,10,,", "row 6 below the header has a value without a run"),
    ],
)
def test_malformed_rows_are_named(row, said):
    with pytest.raises(SwarmError, match=said):
        read(LONG + row + "\n")


def test_missing_values_of_a_long_table_are_missing():
    found = read(LONG + "c,mmlu,N/A,,,,max,10,z.json,\n")
    assert (found.values[:2, 0].tolist(), found.report.missing) == ([0.3, 0.4], {"mmlu": 1})


def test_a_column_that_numbers_the_rows_does_not_name_the_runs():
    ratios = "index,name,web,maths\n0,a,0.2,0.8\n1,b,0.5,0.5\n"
    rows = ["0,a,arc/acc,0.3", "1,a,loss,2.5", "2,b,arc/acc,0.4", "3,b,loss,2.25"]
    found = Swarm.from_csv(io.StringIO(ratios), io.StringIO("index,name,metric,value\n" + "\n".join(rows)))
    assert (found.runs, found.values.tolist()) == (("a", "b"), [[0.3, 2.5], [0.4, 2.25]])


def test_a_long_table_in_the_place_of_mixtures_is_named():
    for metrics in (RATIOS, None):
        with pytest.raises(SwarmError, match=r"is a long table of metrics.*give the table of mixtures first"):
            Swarm.from_csv(io.StringIO(LONG), None if metrics is None else io.StringIO(metrics))


def test_a_wide_table_may_have_metrics_called_metric_and_value():
    found = read("run,metric,value\na,1,2\nb,3,4\n")
    assert (found.metrics, found.values.tolist()) == (("metric", "value"), [[1.0, 2.0], [3.0, 4.0]])


def test_a_long_frame_is_read_from_any_library():
    pandas = pytest.importorskip("pandas")
    polars = pytest.importorskip("polars")
    ratios = pandas.read_csv(io.StringIO(RATIOS))
    for metrics in (pandas.read_csv(io.StringIO(LONG)), polars.read_csv(io.StringIO(LONG))):
        found = Swarm.from_frames(ratios, metrics)
        assert (found.values[:, 1].tolist(), found.direction) == ([2.5, 2.25, 11.5], ("max", "min"))


def test_runs_that_are_called_nan_or_none_are_runs():
    ratios = io.StringIO("run,web,maths\nnan,0.2,0.8\nnone,0.5,0.5\n")
    found = Swarm.from_csv(ratios, io.StringIO("run,metric,value\nnan,mmlu,0.3\nnone,mmlu,0.4\n"))
    assert (found.runs, found.values[:, 0].tolist()) == (("nan", "none"), [0.3, 0.4])


def test_one_metric_of_several_tasks_is_refused():
    table = "run,step,task,metric,value\na,1,arc,acc,0.3\na,2,piqa,acc,0.5\nb,1,arc,acc,0.4\nb,2,piqa,acc,0.6\n"
    with pytest.raises(
        SwarmError,
        match=r"'acc' has values of 'arc' and of 'piqa' in the column 'task'; put both into .* as 'piqa/acc'",
    ):
        read(table)
    assert read(table.replace(",acc,", ",acc2,").replace("arc,acc2", "arc,acc")).metrics == ("acc", "acc2")


def test_runs_that_end_early_are_named():
    table = "run,step,metric,value\na,1,acc,0.3\na,2,acc,0.5\nb,1,acc,0.4\nc,2,acc,0.4\n"
    assert "the last step is before that of other runs: b" in str(read(table).report)
    assert "before that of other runs" not in str(read().report)


def test_higher_is_better_tells_the_direction():
    table = "run,metric,value,higher_is_better\na,quiz,0.3,True\nb,quiz,0.4,True\nc,quiz,0.5,\na,ill,1,False\n"
    assert read(table).direction == ("max", "min")
