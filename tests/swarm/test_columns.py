"""Tables as trackers, spreadsheets and people write them: which columns are used, how cells are read, and refusals with advice."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import zipfile

import numpy as np
import pytest

from mixfast.errors import AlignmentError, MixfastWarning
from mixfast.swarm import Swarm, SwarmError, read_mixtures, told_direction

RNG = np.random.default_rng(0)
W = RNG.dirichlet(np.ones(2), 12).round(3)
W[:, 1] = (1.0 - W[:, 0]).round(3)
LOSS = (1.0 + W[:, 0]).round(4)


def table(**columns):
    """Return the text of a csv file: a column of ids and these columns."""
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(["run", *columns]), *(",".join([f"r{i}", *map(str, row)]) for i, row in enumerate(rows))]
    return "\n".join(lines) + "\n"


def named(header, *columns):
    return table(**dict(zip(header, columns, strict=True)))


RATIOS = table(web=W[:, 0], maths=W[:, 1])
ONES = [1] * 12


def read(ratios=RATIOS, metrics=None, **options):
    metrics = table(loss=LOSS) if metrics is None else metrics
    return Swarm.from_csv(io.StringIO(ratios), io.StringIO(metrics), **options)


# Columns of trackers.

TRACKED = (
    "_runtime", "_timestamp", "_step", "_wandb", "Runtime", "Created", "User", "Sweep", "State", "Notes", "Tags", "Relative Time",
    "Relative Time (Process)", "GPU hours", "learning_rate", "seed", "train/global_step", "eval_runtime", "eval/samples_per_second",
    "arc/acc_stderr,none", "acc_norm_stderr", "loss_sd", "quiz/example_count", "n_samples", "num_instances", "arc/sample_len", "config.batch_size", "n_layers",
    "grad_norm", "train/grad_norm", "world-size", "loss-scale", "optim/LR (group 0)", "optim/total grad norm", "throughput/device/TPS", "mfu(%)",
    "time_metrics/end_to_end(s)", "memory/max_active(GiB)", "lm loss validation vs samples", "trainer_seed", "init_seed", "num_input_tokens_seen",
    "eval_model_preparation_time", "max_steps", "world_size", "config/loss_weight", "params.beta1", "hparams/lr", "CPU count", "createdAt",
    "acc_ci_low", "arc/acc_upper", "tokens", "total_params", "experiment_id",
)  # fmt: skip


@pytest.mark.parametrize("name", TRACKED)
def test_columns_of_trackers_and_by_products_are_no_metrics_unless_asked_for(name):
    quoted = f'"{name}"' if "," in name else name
    metrics = named([quoted, "eval/loss"], RNG.random(12), LOSS)
    found = read(metrics=metrics)
    assert found.metrics == ("eval/loss",)
    assert found.report.unused == {"name": (name,)}
    assert f"columns not used: {name!r} (by their names; metric_names=[NAME] takes one)" in str(found.report)
    assert read(metrics=metrics, metric_names=name).metrics == (name,)


@pytest.mark.parametrize(
    "name",
    [
        "account_loss",
        "flores_se",
        "runtime_errors_quiz/acc",
        "time_quiz",
        "state_law_bpb",
        "Steps to success/acc",
        "memory/acc",
        "tokens_loss",
        "optim_papers_bpb",
        "throughput/loss",
        "seeds_loss",
        "memory_quiz",
        "acc_max",
        "lower_sorbian",
        "precision",
        "model/loss",
        "hardware_bpb",
    ],
)
def test_metrics_are_not_taken_for_columns_of_trackers(name):
    assert read(metrics=named([name], LOSS)).metrics == (name,)


def test_languages_are_no_standard_errors_of_losses():
    assert read(metrics=named(["loss_en", "loss_se", "loss_sd"], LOSS, LOSS, LOSS)).metrics == (
        "loss_en",
        "loss_se",
        "loss_sd",
    )
    assert read(metrics=named(["loss", "loss_de", "loss_se"], LOSS, LOSS, LOSS)).metrics == (
        "loss",
        "loss_de",
        "loss_se",
    )
    assert read(metrics=named(["acc", "acc_se"], LOSS, LOSS)).metrics == ("acc",)


def test_domains_and_their_metrics_may_be_called_like_columns_of_trackers():
    half = W / 2.0
    ratios = table(web=W[:, 0] / 2.0, notes=half[:, 1], user=np.full(12, 0.5), runtime=range(100, 112))
    found = read(ratios, named(["web", "notes", "seed"], LOSS, LOSS, ONES))
    assert (found.domains, found.metrics) == (("web", "notes", "user"), ("web", "notes"))
    assert "'notes', 'user' are used as domains, because the shares sum to 1 only with them" in str(found.report)


def test_amounts_of_a_domain_that_is_called_like_a_column_of_trackers_are_not_left_out_silently():
    ratios = table(web=range(1, 13), code=[5] * 12, notes=[7] * 12, seed=ONES)
    with pytest.raises(SwarmError, match="'notes' may be a domain or a column of a tracker"):
        read(ratios, normalise=True)
    assert read(ratios, normalise=True, ignore="notes").domains == ("web", "code")
    assert read(ratios, normalise=True, domains=["web", "code", "notes"]).domains == ("web", "code", "notes")


def test_two_columns_of_ids_that_join_the_tables_differently_are_refused():
    ratios = "index,name,web,code\n0,a,.5,.5\n1,b,.2,.8\n2,c,.1,.9\n"
    metrics = "index,name,loss\n0,c,4\n1,a,2\n2,b,3\n"
    with pytest.raises(SwarmError, match=r"'index' and 'name' join the tables differently.*id='name' or id='index'"):
        read(ratios, metrics)
    found = read(ratios, metrics, id="name")
    assert (found.runs, found.values[:, 0].tolist()) == (("a", "b", "c"), [2.0, 3.0, 4.0])
    # A column called run holds the ids, even beside a numbered column.
    assert read(ratios.replace("name", "run"), metrics.replace("name", "run")).values[:, 0].tolist() == [2.0, 3.0, 4.0]


def test_percentages_of_unknown_name_are_a_doubt():
    found = read(metrics=named(["mmlu", "web"], LOSS + 24.0, LOSS))
    assert list(found.report.doubted_directions) == ["mmlu"]
    assert "values above 20" in found.report.doubted_directions["mmlu"]


def test_text_and_empty_columns_are_left_out_at_once():
    metrics = named(
        ["owner", "loss", "note", "nothing", "when"],
        ["ann"] * 12,
        LOSS,
        ["ok"] * 12,
        [""] * 12,
        ["2026-01-02T03:04:05Z"] * 12,
    )
    found = read(metrics=metrics)
    assert found.metrics == ("loss",)
    assert found.report.unused == {"text": ("owner", "note", "when"), "empty": ("nothing",)}
    assert "columns not used: text: 'owner', 'note', 'when'; empty: 'nothing'" in str(found.report)
    with pytest.raises(SwarmError, match="'owner' must hold numbers, but run 'r0' has 'ann'"):
        read(metrics=metrics, metric_names=["loss", "owner"])
    with pytest.raises(SwarmError, match="no run has a value of nothing"):
        read(metrics=metrics, metric_names=["loss", "nothing"])


def test_a_metric_without_a_value_in_the_runs_that_are_kept_is_left_out():
    found = read(metrics="run,loss,late\nr0,1,\nr1,2,nan\nx,3,4\n")
    assert (found.metrics, found.report.unused) == (("loss",), {"empty": ("late",)})


def test_malformed_columns_are_named_together_and_only_if_they_are_looked_at():
    metrics = named(["loss", "a", "b"], LOSS, ["1_0", *ONES[1:]], [*ONES[1:], "2.x"])
    with pytest.raises(
        SwarmError, match=r"2 columns must hold numbers.*'a': run 'r0' has '1_0', 'b': run 'r11' has '2.x'.*ignore='a'"
    ):
        read(metrics=metrics)
    for options in ({"metric_names": "loss"}, {"metric_names": "lo*"}, {"ignore": ["a", "b"]}, {"ignore": "[ab]"}):
        assert read(metrics=metrics, **options).metrics == ("loss",)


def test_metrics_are_asked_for_by_name_by_pattern_or_without_what_all_share():
    metrics = named(["note", "eval/web_loss", "eval/code_loss", "eval/acc"], ["ok"] * 12, LOSS, LOSS, LOSS)
    assert read(metrics=metrics, metric_names=["eval/acc", "eval/*_loss"]).metrics == (
        "eval/acc",
        "eval/web_loss",
        "eval/code_loss",
    )
    shared = named(["eval/web_loss", "eval/code_loss", "Runtime"], LOSS, LOSS, ONES)
    assert read(metrics=shared, metric_names="code").metrics == ("eval/code_loss",)
    with pytest.raises(AlignmentError, match="there is no metric 'x\\*'; the metrics are: note, eval/web_loss"):
        read(metrics=metrics, metric_names="x*")


def test_a_domain_with_the_name_of_a_tracker_is_one_if_the_shares_need_it():
    for names in (["web", "user"], ["time", "user"], ["seed", "maths"]):
        found = read(named(names, W[:, 0], W[:, 1]))
        assert found.domains == tuple(names)
        assert "because the shares sum to 1 only with " in str(found.report)
    small = np.c_[W * 0.999, np.full(12, 0.001)]
    assert read(named(["web", "maths", "user"], *small.T)).domains == ("web", "maths", "user")
    for setting in (ONES, [0.001] * 12, [0] * 12, RNG.random(12)):
        assert read(named(["web", "maths", "learning_rate"], W[:, 0], W[:, 1], setting)).domains == ("web", "maths")
    assert read(named(["web", "user"], W[:, 0], W[:, 1]), domains=["web", "user"]).domains == ("web", "user")


# Ids.


def test_the_column_of_ids_may_be_named_and_may_differ():
    ratios, metrics = RATIOS.replace("run", "Name", 1), table(loss=LOSS).replace("run", "Name", 1)
    assert read(ratios, metrics).runs == read().runs
    ratios, metrics = RATIOS.replace("run", "trial", 1), table(loss=LOSS).replace("run", "trial", 1)
    with pytest.raises(SwarmError, match=r"rows are never matched by position.*id='NAME'"):
        read(ratios, metrics)
    assert read(ratios, metrics, id="trial").runs == read(ratios, id="trial").runs == read().runs
    mixed = read(RATIOS.replace("run", "index", 1))
    assert mixed.runs == read().runs
    assert "runs joined by 'index' of ratios file and 'run' of metrics file" in str(mixed.report)
    with pytest.raises(SwarmError, match="no run in common"):
        read("index,web,maths\n1,0.5,0.5\n2,0.25,0.75\n")


def test_the_pair_of_id_columns_that_share_runs_is_taken():
    ratios = "index,Name,web,maths\n0,r0,0.5,0.5\n1,r1,0.25,0.75\n"
    assert read(ratios).runs == ("r0", "r1")


def test_labels_of_pandas_rows_hold_the_ids_whatever_they_are_called():
    pandas = pytest.importorskip("pandas")
    for name in ("Name", "experiment"):
        frame = pandas.DataFrame({"mix.web": W[:, 0], "mix.maths": W[:, 1], "eval/loss": LOSS, "User": "ann"})
        frame.index = pandas.Index([f"r{i}" for i in range(12)], name=name)
        found = Swarm.from_frames(frame.filter(like="mix."), frame.filter(like="eval/"))
        assert found.runs == tuple(frame.index)
        assert Swarm.from_frames(frame, domains="mix.*").metrics == ("eval/loss",)
    counted = frame.set_axis(pandas.RangeIndex(12, name="run"))
    assert Swarm.from_frames(counted, domains="mix.*").runs == tuple(map(str, range(12)))


def test_objects_that_people_hold_are_read():
    runs = [f"r{i}" for i in range(12)]
    shares = {run: {"web": web, "maths": maths} for run, web, maths in zip(runs, *W.T.tolist(), strict=True)}
    losses = [{"run": run, "loss": loss} for run, loss in zip(runs, LOSS.tolist(), strict=True)]
    assert same_numbers(Swarm.from_frames(shares, losses[::-1]))
    assert same_numbers(Swarm.from_frames([{"run": run, **row} for run, row in shares.items()], losses))
    together = {run: {**row, "loss": one["loss"]} for (run, row), one in zip(shares.items(), losses, strict=True)}
    assert same_numbers(Swarm.from_frames(together, domains=["web", "maths"]))
    del shares["r3"]["web"]
    with pytest.raises(SwarmError, match="shares must be finite numbers, got run 'r3': web=nan"):
        Swarm.from_frames(shares, losses)
    with pytest.raises(SwarmError, match="a mapping of run to its numbers by name, or a list of rows, got int"):
        Swarm.from_frames(shares, 3)


def test_a_named_series_of_pandas_is_one_metric():
    pandas = pytest.importorskip("pandas")
    index = pandas.Index([f"r{i}" for i in range(12)], name="run")
    ratios = pandas.DataFrame(W, index=index, columns=["web", "maths"])
    assert same_numbers(Swarm.from_frames(ratios, pandas.Series(LOSS, index=index, name="loss")))
    # The ids may be labels in one table and a column of the other.
    beside = pandas.DataFrame({"run": index[::-1], "loss": LOSS[::-1]})
    assert same_numbers(Swarm.from_frames(ratios, beside))
    assert same_numbers(Swarm.from_frames(ratios.rename_axis("trial"), beside))
    with pytest.raises(SwarmError, match="names of columns must be strings, got 0"):
        Swarm.from_frames(ratios, pandas.Series(LOSS, index=index))


# One table in both roles, and shares given as metrics.

WIDE = named(
    ["weight_web", "weight_maths", "model_size", "web_loss", "maths_loss"],
    W[:, 0],
    W[:, 1],
    [122000000] * 12,
    LOSS,
    LOSS[::-1],
)


def test_one_wide_table_is_split_by_the_columns_of_domains(tmp_path):
    path = tmp_path / "swarm.csv"
    path.write_text(WIDE)
    for metrics in (None, path, str(path)):
        found = Swarm.from_csv(path, metrics, domains="weight_*")
        assert (found.domains, found.metrics) == (("weight_web", "weight_maths"), ("web_loss", "maths_loss"))
        assert found.report.ignored == ("model_size",)
        assert Swarm.from_csv(path, metrics, domains="weight_*", metric_names="web_*").metrics == ("web_loss",)
        with pytest.raises(
            SwarmError,
            match=r"swarm.csv is given alone or twice.*domains='weight_\*'",
        ):
            Swarm.from_csv(path, metrics)
    with pytest.raises(SwarmError, match=r"domains names columns that do not exist: w_\*"):
        Swarm.from_csv(path, domains="w_*")
    path.write_text(named(["web", "maths", "web_loss"], W[:, 0], W[:, 1], LOSS))
    with pytest.raises(SwarmError, match=r"domains=\['web', 'maths'\]"):
        Swarm.from_csv(path)
    path.write_text(named(["a", "b"], LOSS, LOSS))
    with pytest.raises(SwarmError, match=r"domains='PATTERN\*'"):
        Swarm.from_csv(path)


def test_mixtures_given_for_metrics_are_refused(tmp_path):
    (tmp_path / "ratios.csv").write_text(RATIOS)
    with pytest.raises(SwarmError, match=r"holds mixtures only.*Two files are needed"):
        Swarm.from_csv(tmp_path / "ratios.csv", tmp_path / "ratios.csv")
    with pytest.raises(SwarmError, match=r"holds the mixtures of ratios file as metrics .*'web' is the share of 'web'"):
        read(metrics=RATIOS)
    with pytest.raises(SwarmError, match=r"the tables look swapped: .*give the mixtures first"):
        read(table(a=LOSS, b=LOSS), RATIOS)
    with pytest.raises(SwarmError, match="'a' is the share of 'maths'"):
        read(metrics=table(a=W[:, 1], loss=LOSS))
    with pytest.raises(SwarmError, match="holds mixtures as metrics: web, maths sum to 1"):
        read(metrics=table(web=W[::-1, 0], maths=W[::-1, 1]))
    # A rate and one minus the rate are metrics.
    assert read(metrics=named(["quiz/acc", "quiz/error"], W[::-1, 0], W[::-1, 1])).metrics == ("quiz/acc", "quiz/error")


def test_phases_are_named_and_one_can_be_taken():
    header = ["phase_0_web", "phase_0_maths", "phase_1_web", "phase_1_maths"]
    two = named(header, W[:, 0], W[:, 1], W[::-1, 0], W[::-1, 1])
    with pytest.raises(
        SwarmError,
        match=r"'r0' sums to 2.*and 9 more.*2 mixtures for each run, phase_0_\*, phase_1_\*.*domains='phase_1_\*'",
    ):
        read(two)
    assert read(two, domains="phase_1_*").domains == ("phase_1_web", "phase_1_maths")
    wide = named([*header, "loss"], W[:, 0], W[:, 1], W[::-1, 0], W[::-1, 1], LOSS)
    with pytest.raises(
        SwarmError, match=r"phase_0_web, phase_0_maths sum to 1 in every run.*ignore=\['phase_0_web', ...\]"
    ):
        Swarm.from_csv(io.StringIO(wide), domains="phase_1_*")
    assert Swarm.from_csv(io.StringIO(wide), domains="phase_1_*", ignore="phase_0_*").metrics == ("loss",)
    behind = named([name[8:] + "_" + name[:7] for name in header], W[:, 0], W[:, 1], W[::-1, 0], W[::-1, 1])
    with pytest.raises(SwarmError, match=r"2 mixtures for each run, \*_phase_0, \*_phase_1"):
        read(behind)
    setting = named(["w_web", "w_maths", "fleet"], W[:, 0], W[:, 1], RNG.random(12))
    with pytest.raises(SwarmError, match=r"the columns w_\* alone sum to 1: name them, domains='w_\*'"):
        read(setting)


# Cells.


def same_numbers(found):
    np.testing.assert_allclose(found.ratios, W, rtol=0, atol=1e-15)
    np.testing.assert_allclose(found.values[:, 0], LOSS, rtol=1e-15)
    return True


def test_percent_cells_are_percents():
    percent = [[f"{100 * share:.1f}%" for share in column] for column in W.T]
    found = read(named(["web", "maths"], *percent))
    assert same_numbers(found)
    assert "percent signs read, their cells divided by 100: 2 columns: web, maths" in str(found.report)
    percent[0][3] = W[3, 0]
    with pytest.raises(
        SwarmError, match=r"'web' must hold numbers, but run 'r0' has '.*%' beside cells without a percent sign"
    ):
        read(named(["web", "maths"], *percent))


def test_decimal_commas_are_read_where_they_cannot_be_thousands():
    commas = [[f'"{share:.3f}"'.replace(".", ",") for share in column] for column in (*W.T, LOSS)]
    found = read(named(["web", "maths"], *commas[:2]), named(["loss"], [f'"{x:.4f}"'.replace(".", ",") for x in LOSS]))
    assert same_numbers(found)
    assert "decimal commas read as points: 2 columns: web, maths" in str(found.report)
    with pytest.raises(SwarmError, match=r"'loss'.*has '1,[0-9]{3}', and its comma may be"):
        read(metrics=named(["loss"], commas[2]))
    with pytest.raises(SwarmError, match=r"has '.*,.*' beside cells with a decimal point"):
        read(metrics=named(["loss"], [*commas[2][:11], "1.5"]))


def test_a_german_spreadsheet_is_read(tmp_path):
    for name, text in (("r", RATIOS), ("m", table(loss=LOSS))):
        (tmp_path / name).write_text(text.replace(",", ";").replace(".", ","))
    assert same_numbers(Swarm.from_csv(tmp_path / "r", tmp_path / "m"))


def test_a_comma_in_the_header_does_not_split_a_spreadsheet():
    ratios = "run;law, tax;web\n" + "".join(f"{run};0,{run + 1};0,{9 - run}\n" for run in range(8))
    found = read(ratios, "run;loss\n" + "".join(f"{run};2,{run + 10}\n" for run in range(8)))
    assert found.domains == ("law, tax", "web")
    assert found.ratios[0].tolist() == [0.1, 0.9]
    assert found.values[:, 0].tolist() == [2.0 + (run + 10) / 100 for run in range(8)]


def test_counts_with_suffixes_are_refused_with_how_they_are_written():
    with pytest.raises(
        SwarmError, match=r"run '0' has '39.5B'.*K, M, B and T are for files of token counts: 39.5B is 39500000000 here"
    ):
        read("run,web,maths\n0,39.5B,1B\n1,2B,2B\n", "run,loss\n0,1\n1,2\n", normalise=True)
    with pytest.raises(SwarmError) as refused:
        read("run,web,maths\n0,0.5x,1\n1,0.2,0.8\n", "run,loss\n0,1\n1,2\n")
    assert "token counts" not in str(refused.value)


COUNTS = [(column * 1e6).astype(int) for column in W.T]


def test_counts_and_percentages_are_understood_if_the_whole_table_agrees_and_it_is_said():
    found = read(named(["web", "maths"], *COUNTS))
    assert same_numbers(found)
    assert (
        "ratios file: shares read as counts of tokens, because all are whole numbers of 100 and more: every run divided by its sum, 1,000,000"
        in str(found.report)
    )
    found = read(named(["web", "maths"], *(100 * W.T)))
    assert same_numbers(found)
    assert "shares read as percentages, because they sum to 100 in every run: divided by 100" in str(found.report)
    wide = named(["w_web", "w_maths", "loss"], *COUNTS, LOSS)
    assert same_numbers(Swarm.from_csv(io.StringIO(wide), domains="w_*"))
    # Counts of runs with other budgets, and a run without tokens of a domain.
    other = "run,web,maths\nr0,1000000,3000000\nr1,2000,2000\nr2,0,5000\n"
    assert read(other).ratios.tolist() == [[0.25, 0.75], [0.5, 0.5], [0.0, 1.0]]


def test_amounts_stay_refused_if_only_some_rows_look_like_them():
    web, maths = (list(column) for column in COUNTS)
    for row, said in (((0.25, 0.75), "like shares"), ((25, 75), "like percentages"), ((2500.5, 7500), "like neither")):
        web[7], maths[7] = row
        with pytest.raises(
            SwarmError, match=rf"(?=.*11 runs look like counts of tokens)(?=.*{said}).*use one unit for all runs"
        ):
            read(named(["web", "maths"], web, maths))
        assert read(named(["web", "maths"], web, maths), normalise=True).ratios[7, 0] == pytest.approx(0.25, abs=1e-4)
    # Also in a run that has no metrics.
    with pytest.raises(SwarmError, match="these look like counts of tokens: normalise=True"):
        read(named(["web", "maths"], *COUNTS) + "late,0.5,0.5\n")
    for cells in ("3,5", "0,0"):
        with pytest.raises(SwarmError, match="must sum to 1"):
            read(f"run,web,maths\nr0,2000,8000\nr1,{cells}\n")


@pytest.mark.parametrize(
    ("names", "columns", "said"),
    [
        (["fleet"], [[8192] * 12], "'fleet' is 8192 in every run, as a setting of the runs is"),
        (["everything"], [COUNTS[0] + COUNTS[1]], "'everything' is the sum of the other columns"),
        (["user"], [[2000 + i for i in range(12)]], "'user' may be a domain or a column of a tracker"),
        (["trainer/global_step"], [[1000 + i * i for i in range(12)]], "'trainer/global_step' may be a domain"),
        (["fleet"], [[1000 + i for i in range(12)]], "'fleet' numbers the runs"),
        (["noise"], [[1000 + 997 * i * i % 4111 for i in range(12)]], "without 'noise' all runs have the same sum"),
        (["planned"], [(COUNTS[0] + COUNTS[1]) * 1003 // 1000], "'planned' is the sum of the other columns"),
        (
            ["code", "of_web_and_maths", "everything"],
            [
                COUNTS[0] * 0 + 7000 + np.arange(12) ** 2,
                COUNTS[0] + COUNTS[1],
                COUNTS[0] + COUNTS[1] + 7000 + np.arange(12) ** 2,
            ],
            "'everything' is the sum",
        ),
    ],
)
def test_a_column_beside_counts_that_may_be_no_domain_is_named(names, columns, said):
    beside = named(["web", "maths", *names], *COUNTS, *columns)
    with pytest.raises(SwarmError, match=said):
        read(beside)
    assert same_numbers(read(beside, ignore=names))
    assert same_numbers(read(beside, domains=["web", "maths"]))


def test_counts_in_different_units_are_not_one_mixture():
    millions = np.array([3000 + i * i for i in range(12)])
    with pytest.raises(
        SwarmError, match=r"'maths' is below 0\.001% in every run, as a setting or a count in another unit"
    ):
        read(named(["web", "maths"], 10_000 * COUNTS[0] + 10**10, millions))
    both = named(["web_docs", "maths_docs", "web_tokens", "maths_tokens"], 500 + millions, 2 * millions, *COUNTS)
    with pytest.raises(SwarmError, match=r"the names have docs, tokens for the same domains|alone have the same sum"):
        read(both)
    assert same_numbers(read(both, domains=["web_tokens", "maths_tokens"]))
    with pytest.raises(SwarmError, match="their names say that they count docs"):
        read(named(["web_docs", "maths_docs"], *COUNTS))
    phases = named(["p1_web", "p1_maths", "p2_web", "p2_maths"], millions, *COUNTS, millions**2)
    with pytest.raises(SwarmError, match="the names have p1, p2 for the same domains"):
        read(phases)


def test_a_total_is_found_although_one_run_has_a_single_domain():
    alone = [np.concatenate([[7000], COUNTS[0]])[:12], np.concatenate([[0], COUNTS[1]])[:12]]
    with pytest.raises(SwarmError, match="'everything' is the sum of the other columns"):
        read(named(["web", "maths", "everything"], *alone, alone[0] + alone[1]))


@pytest.mark.parametrize("options", [{"normalise": True}, {"domains": "*_tokens"}])
def test_totals_are_no_domain_even_if_a_pattern_names_them(options):
    totals = named(["web_tokens", "maths_tokens", "all_tokens"], *COUNTS, COUNTS[0] + COUNTS[1])
    with pytest.raises(SwarmError, match="'all_tokens' is the sum of the other columns in every run, not a domain"):
        read(totals, **options)
    assert same_numbers(read(totals, ignore="all_tokens"))
    half = named(["web_tokens", "maths_tokens", "code_tokens"], *COUNTS, COUNTS[0] + COUNTS[1])
    assert "'code_tokens' is the sum of the other columns in every run" in str(read(half, **options).report)


@pytest.mark.parametrize("options", [{}, {"normalise": True}])
def test_percent_signs_in_some_columns_only_are_refused(options):
    signs = [f"{share / 10:.4f}%" for share in W[:, 1]]
    rest = [100.0 * one - one_more / 10 for one, one_more in zip(W[:, 0] + W[:, 1], W[:, 1], strict=True)]
    with pytest.raises(SwarmError, match="'maths' has percent signs and 'web' has none; write all shares in one unit"):
        read(named(["web", "maths"], rest, signs), **options)


def test_a_varying_setting_that_is_lost_in_the_tolerance_of_sums_is_no_domain():
    shares = RNG.dirichlet(np.ones(3), 12)
    scale = 1e-4 * (1 + np.arange(12))
    for unit in (1.0, 100.0):
        with pytest.raises(SwarmError, match="without 'init_scale' all rows sum to 1, and with it none"):
            read(named(["web", "maths", "code", "init_scale"], *(unit * shares.T), scale))


def test_a_tiny_setting_beside_rounded_percentages_is_no_domain():
    rounded = named(["web", "maths", "peak"], *(100.0 * W.T).round(1), 1e-4 * (1 + np.arange(12) % 5))
    with pytest.raises(
        SwarmError, match=r"'peak' is below 0.001% in every run, and the percentages sum to 100 without it"
    ):
        read(rounded)
    assert read(rounded, ignore="peak").ratios == pytest.approx(W, abs=1e-12)
    assert read(rounded, domains=["web", "maths", "peak"]).domains == ("web", "maths", "peak")


def test_shares_beside_a_setting_of_99_are_no_percentages():
    with pytest.raises(SwarmError, match="'fleet' is 99 in every run, and without it all rows sum to 1"):
        read(named(["web", "maths", "fleet"], *W.T, [99] * 12))


def test_a_file_of_mixtures_alone_warns_of_its_conversion():
    for amounts, said in ((COUNTS, "read as counts of tokens"), (100 * W.T, "read as percentages")):
        with pytest.warns(MixfastWarning, match=said):
            found = read_mixtures(io.StringIO(named(["web", "maths"], *amounts)))[2]
        np.testing.assert_allclose(found, W, atol=1e-15)


def test_two_phases_of_counts_are_not_taken_for_one_mixture():
    header = ["phase_0_web", "phase_0_maths", "phase_1_web", "phase_1_maths"]
    columns = [*COUNTS, *(2 * column[::-1] for column in COUNTS)]
    with pytest.raises(SwarmError, match=r"the columns phase_0_\* alone have the same sum in every run"):
        read(named(header, *columns))
    assert read(named(header, *columns), domains="phase_0_*").ratios.tolist() == pytest.approx(W, abs=1e-6)
    wide = named([*header, "loss"], *columns, LOSS)
    with pytest.raises(SwarmError, match="phase_0_web, phase_0_maths are counts of tokens in every run"):
        Swarm.from_csv(io.StringIO(wide), domains="phase_1_*")


def test_shares_given_as_metrics_are_found_in_any_unit():
    for metrics in (named(["web", "maths"], *COUNTS), RATIOS):
        with pytest.raises(SwarmError, match="'web' is the share of 'web'"):
            read(named(["web", "maths"], *COUNTS), metrics)


def test_amounts_are_divided_when_asked():
    found = read(named(["web", "maths"], range(1, 13), [6] * 12), normalise=True)
    assert found.ratios[5].tolist() == [0.5, 0.5]
    assert "every run was divided by its sum, 7 to 18" in str(found.report)
    with pytest.raises(SwarmError, match="only rows of a positive sum can be divided by it, but run 'r0' sums to 0"):
        read("run,web,maths\nr0,0,0\nr1,3,5\n", normalise=True)


# Formats.


def test_gzip_zstd_tabs_utf16_and_parquet_are_read(tmp_path):
    metrics = table(loss=LOSS)
    (tmp_path / "r.csv.gz").write_bytes(gzip.compress(RATIOS.encode()))
    (tmp_path / "m.tsv").write_text(metrics.replace(",", "\t"))
    assert same_numbers(Swarm.from_csv(tmp_path / "r.csv.gz", tmp_path / "m.tsv"))
    (tmp_path / "unicode.txt").write_bytes(RATIOS.replace(",", "\t").encode("utf-16"))
    assert same_numbers(Swarm.from_csv(tmp_path / "unicode.txt", tmp_path / "m.tsv"))
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"run": [f"r{i}" for i in range(12)], "web": W[:, 0], "maths": W[:, 1]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "r.parquet")
    assert same_numbers(Swarm.from_csv(tmp_path / "r.parquet", tmp_path / "m.tsv"))
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(RATIOS.encode())[:-9])
    with pytest.raises(SwarmError, match=r"cut\.csv\.gz is a damaged gzip file"):
        Swarm.from_csv(tmp_path / "cut.csv.gz", tmp_path / "m.tsv")
    zstandard = pytest.importorskip("zstandard")
    packed = zstandard.compress(RATIOS.encode())
    (tmp_path / "r.csv.zst").write_bytes(packed)
    assert same_numbers(Swarm.from_csv(tmp_path / "r.csv.zst", tmp_path / "m.tsv"))
    (tmp_path / "cut.csv.zst").write_bytes(packed[:-9])
    with pytest.raises(SwarmError, match=r"cut\.csv\.zst is a damaged zstd file"):
        Swarm.from_csv(tmp_path / "cut.csv.zst", tmp_path / "m.tsv")


def test_other_kinds_of_files_are_named_with_what_to_do(tmp_path):
    with zipfile.ZipFile(tmp_path / "xlsx.csv", "w") as archive:
        archive.writestr("[Content_Types].xml", "<x/>")
        archive.writestr("xl/workbook.xml", "<x/>" * 999)
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as archive:
        archive.writestr("metrics.csv", "run,loss\n")
    (tmp_path / "table.csv.bz2").write_bytes(bz2.compress(b"run,loss\n"))
    (tmp_path / "results.csv").write_text(json.dumps({"results": {"arc": {"acc,none": 0.5}}, "versions": {}}))
    (tmp_path / "list.csv").write_text(json.dumps([{"run": "a"}]))
    (tmp_path / "page.csv").write_text("<!doctype html><html></html>")
    (tmp_path / "latin.csv").write_bytes("run,café\n".encode("latin-1"))
    (tmp_path / "folder").mkdir()
    for name, said in (
        (
            "xlsx.csv",
            r"is a spreadsheet .*save its sheet as csv.*with pandas and openpyxl: python -c 'import pandas; pandas.read_excel\(.*xlsx.csv\"\)"
            r".to_csv\(.*xlsx-sheet.csv\", index=False\)'",
        ),
        ("pack.zip", r"is a zip archive.*unpack it: unzip .*pack\.zip"),
        ("table.csv.bz2", r"is a bzip2 file.*bunzip2 --keep .*table\.csv\.bz2"),
        (
            "results.csv",
            "is a JSON file.*a row for each run; results of evaluations and trackers become a csv file by: mixfast collect RUNS",
        ),
        ("list.csv", "is a JSON file, expected a csv file"),
        ("page.csv", "is an HTML page"),
        ("latin.csv", "not UTF-8 text: byte 0xe9 in line 1; save it as csv in UTF-8"),
        ("folder", "is a folder"),
    ):
        with pytest.raises(SwarmError, match=f"metrics file .*{name}.*{said}"):
            Swarm.from_csv(io.StringIO(RATIOS), tmp_path / name)


# Many runs.


def test_messages_show_three_runs_and_a_count():
    ratios = table(web=2 * W[:, 0], maths=W[:, 1] * 2.5)
    with pytest.raises(SwarmError) as problem:
        read(ratios)
    assert "and 9 more (12 in all)" in str(problem.value)
    assert str(problem.value).count("sums to") == 3


def test_a_run_with_another_name_among_its_numbers_is_refused():
    losses = {"r0": {"loss": 1.0}, "r1": {"loss": 2.0}}
    with pytest.raises(SwarmError, match="the numbers of 'r0' have another name under 'run'"):
        Swarm.from_frames(
            {"r0": {"run": "r1", "web": 0.2, "code": 0.8}, "r1": {"run": "r0", "web": 0.5, "code": 0.5}}, losses
        )
    rows = {0: {"run": "r1", "web": 0.2, "code": 0.8}, 1: {"run": "r0", "web": 0.5, "code": 0.5}}
    assert Swarm.from_frames(rows, losses).values.tolist() == [[2.0], [1.0]]


@pytest.mark.parametrize(
    "name", ["attack_success_rate", "harm_score", "memorization_score", "accuracy_drop", "acc_gap", "1-acc", "nll_gain"]
)
def test_unwanted_scores_and_changes_have_no_direction_by_name(name):
    assert told_direction(name) is None
    assert [told_direction(one) for one in ("drop/f1", "harmful/accuracy", "success_rate", "arc_score")] == ["max"] * 4


def test_more_metrics_than_laws_can_be_fitted_to_are_refused_at_once(tmp_path):
    names = [f"m{j}" for j in range(10_001)]
    ratios = {"run": ["a", "b"], "web": [0.2, 0.5], "code": [0.8, 0.5]}
    metrics = {"run": ["a", "b"], **{name: [2.0, 3.0] for name in names}}
    with pytest.raises(
        SwarmError,
        match=r"there are 10001 columns that may be metrics, expected at most 10000.*metric_names=.*m0, m1, m2",
    ):
        Swarm.from_frames(ratios, metrics)
    # The names decide: cells that could not be read are not looked at.
    with pytest.raises(SwarmError, match="there are 10001 columns that may be metrics"):
        Swarm.from_frames(ratios, metrics | {name: ["1,2.3", "4%5"] for name in names})
    with pytest.raises(SwarmError, match="there are 10001 metrics"):
        Swarm([[0.2, 0.8]], np.full((1, 10_001), 2.0), domains=["web", "code"], metric_names=names)
    assert Swarm.from_frames(ratios, metrics, metric_names="m1*").metrics[:2] == ("m1", "m10")
