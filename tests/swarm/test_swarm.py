"""Swarm: tables of runs joined by id, never by position; refusals, notes, and round trips."""

from __future__ import annotations

import contextlib
import csv
import io
import pickle
import re

import numpy as np
import pytest

from mixfast.errors import AlignmentError, MixfastError
from mixfast.swarm import Swarm, SwarmError, doubts_of_directions, told_direction

hypothesis = pytest.importorskip("hypothesis")
given, st = hypothesis.given, pytest.importorskip("hypothesis.strategies")

RATIOS = "run,web,code,books\na,0.5,0.25,0.25\nb,0.2,0.3,0.5\nc,1,0,0\nd,0.1,0.1,0.8\n"
METRICS = "run,c4_loss,arc_accuracy\na,2.5,0.5\nb,2.25,0.25\nc,3,0.75\nd,2.75,\n"


def read(ratios=RATIOS, metrics=METRICS, **options):
    return Swarm.from_csv(io.StringIO(ratios, newline=""), io.StringIO(metrics, newline=""), **options)


def small(runs=12, seed=0, **options):
    rng = np.random.default_rng(seed)
    return Swarm(
        rng.dirichlet(np.ones(3), runs), rng.normal(size=(runs, 2)), domains=["web", "code", "books"],
        metric_names=["c4", "arc_accuracy"], **options,
    )  # fmt: skip


def same(one, other):
    return (
        one.domains == other.domains
        and one.metrics == other.metrics
        and one.runs == other.runs
        and one.ratios.tobytes() == other.ratios.tobytes()
        and one.values.tobytes() == other.values.tobytes()
        and one.chosen.tobytes() == other.chosen.tobytes()
    )


# Reading.


def test_two_files_become_one_swarm():
    swarm = read()
    assert swarm.domains == ("web", "code", "books")
    assert swarm.metrics == ("c4_loss", "arc_accuracy")
    assert swarm.runs == ("a", "b", "c", "d")
    assert swarm.ratios.tolist() == [[0.5, 0.25, 0.25], [0.2, 0.3, 0.5], [1, 0, 0], [0.1, 0.1, 0.8]]
    np.testing.assert_array_equal(swarm.values, [[2.5, 0.5], [2.25, 0.25], [3, 0.75], [2.75, np.nan]])
    assert swarm.direction == ("min", "max")
    assert not swarm.chosen.any()
    assert len(swarm) == 4
    assert swarm.report.missing == {"arc_accuracy": 1}
    assert "arc_accuracy (1)" in str(swarm.report)
    assert "more is better: arc_accuracy (told from the names); less is better: the other" in str(swarm.report)


def test_arrays_are_read_only_and_copied():
    ratios, values = np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[1.0], [2.0]])
    swarm = Swarm(ratios, values, domains=["x", "y"], metric_names=["m"])
    ratios[0] = values[0] = 7.0
    assert swarm.ratios[0, 0] == 0.5
    assert swarm.values[0, 0] == 1.0
    for array in (swarm.ratios, swarm.values, swarm.chosen, swarm.select("m").values, swarm.subset([0]).ratios):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    with pytest.raises(AttributeError):
        swarm.runs = ()
    assert same(pickle.loads(pickle.dumps(swarm)), swarm)


@st.composite
def tables(draw):
    """Draw two shuffled tables of overlapping runs, and the values of each id."""
    ids = draw(st.lists(st.from_regex(r"[a-z0-9_,\"' ]*[a-z_]", fullmatch=True), min_size=1, max_size=12, unique=True))
    left = draw(st.permutations(ids))[: draw(st.integers(1, len(ids)))]
    right = draw(st.permutations(ids))[: draw(st.integers(1, len(ids)))]
    hypothesis.assume(set(left) & set(right))
    share = {name: draw(st.integers(0, 8)) / 8 for name in ids}
    loss = {name: draw(st.floats(-1e6, 1e6)) for name in ids}
    return left, right, share, loss


def written(header, rows):
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *rows])
    return text.getvalue()


@hypothesis.settings(max_examples=50)
@given(tables())
def test_runs_are_joined_by_id_whatever_the_order(drawn):
    left, right, share, loss = drawn
    swarm = read(
        written(["x", "run", "y"], [[share[name], name, 1 - share[name]] for name in left]),
        written(["loss", "run"], [[loss[name], name] for name in right]),
    )
    stripped = {name.strip(): name for name in left}
    hypothesis.assume(len(stripped) == len(left))
    assert list(swarm.runs) == [name.strip() for name in left if name in set(right)]
    assert swarm.ratios[:, 0].tolist() == [share[stripped[run]] for run in swarm.runs]
    assert swarm.values[:, 0].tolist() == [loss[stripped[run]] for run in swarm.runs]
    gone = set(left) ^ set(right)
    assert {run for run, _ in swarm.report.dropped} == {name.strip() for name in gone}
    for run, reason in swarm.report.dropped:
        assert reason == ("no row of metrics" if stripped.get(run) in set(left) else "no row of ratios")


tables.__test__ = False


@given(st.integers(1, 30), st.integers(1, 6), st.integers(0, 1000), st.booleans())
def test_files_give_back_every_bit(runs, domains, seed, marked):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(runs, 2)) * 10.0 ** rng.integers(-30, 30, size=(runs, 2))
    values[rng.random((runs, 2)) < 0.2] = np.nan
    values[0] = 1.0
    values[np.isnan(values).all(axis=1), 0] = 0.5
    swarm = Swarm(
        rng.dirichlet(np.full(domains, 0.3), runs), values, domains=[f"d, {k}" for k in range(domains)],
        metric_names=['m "1"', "m2"], runs=[f"run {r}\nx" for r in range(runs)], chosen=rng.random(runs) < 0.5 * marked,
    )  # fmt: skip
    files = io.StringIO(newline=""), io.BytesIO()
    swarm.to_csv(*files)
    for file in files:
        file.seek(0)
    assert same(Swarm.from_csv(*files), swarm)


def test_files_on_disk(tmp_path):
    swarm = small(chosen=["3", "5"])
    swarm.to_csv(tmp_path / "ratios.csv", str(tmp_path / "metrics.csv"))
    assert same(Swarm.from_csv(str(tmp_path / "ratios.csv"), tmp_path / "metrics.csv"), swarm)
    assert np.flatnonzero(swarm.chosen).tolist() == [3, 5]
    with pytest.raises(FileNotFoundError):
        Swarm.from_csv(tmp_path / "ratios.csv", tmp_path / "absent.csv")
    with pytest.raises(SwarmError, match="'index'"):
        Swarm([[1.0]], [1.0], domains=["index"], metric_names=["m"]).to_csv(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: text.rstrip("\n"),
        lambda text: text + "\n\n",
        lambda text: text.replace(",", " , "),
        lambda text: text.replace("a,", '"a",'),
        lambda text: text.replace("0.25", "2.5e-1"),
    ],
    ids=["bom", "crlf", "cr", "no last newline", "blank lines", "spaces", "quotes", "exponent"],
)
def test_dialects_make_no_difference(change, tmp_path):
    for name, text in (("ratios", RATIOS), ("metrics", METRICS)):
        (tmp_path / name).write_bytes(change(text).encode())
    assert same(Swarm.from_csv(tmp_path / "ratios", tmp_path / "metrics"), read())


@pytest.mark.parametrize("word", ["nan", "NaN", "NA", " ", "null", "None", "#N/A", "n/a", "<NA>"])
def test_missing_values_in_any_spelling(word):
    swarm = read(metrics=METRICS.replace("2.75,", f"2.75,{word}"))
    assert same(swarm, read())


@pytest.mark.parametrize("name", ["run", "run_id", "index", "model"])
def test_id_columns(name):
    options = {"id": "model"} if name == "model" else {}
    ratios, metrics = (text.replace("run,", f"{name},", 1) for text in (RATIOS, METRICS))
    assert same(read(ratios, metrics, **options), read())


def test_the_first_id_that_both_have_is_used_and_bookkeeping_is_not():
    swarm = read(
        "run,name,index,x,y\nr1,first try,0,0.5,0.5\nr2,again,1,0.25,0.75\n",
        "name,index,step,loss\nbig one,1,30000,2\nother,0,30000,1\n",
    )
    assert swarm.domains == ("x", "y")
    assert swarm.metrics == ("loss",)
    assert swarm.runs == ("0", "1")
    assert swarm.values[:, 0].tolist() == [1.0, 2.0]
    assert swarm.report.ignored == ("run", "name", "step")
    assert "columns not used: 'run', 'name', 'step'" in str(swarm.report)


def test_ids_are_text_of_any_length_and_whole_numbers_need_no_point():
    long = "1" * 40
    swarm = read(f"run,x\n{long},1\n{long}2,1\n7.0,1\n", f"run,m\n{long}2,2\n{long},1\n7,3\n")
    assert swarm.runs == (long, long + "2", "7")
    assert swarm.values[:, 0].tolist() == [1, 2, 3]


def test_columns_to_leave_out():
    ratios = RATIOS.replace("run,", "run,owner,tokens,").replace("\n", ",", 0)
    ratios = ratios.replace("a,", "a,me,100,", 1).replace("\nb,", "\nb,me,100,").replace("\nc,", "\nc,you,100,")
    ratios = ratios.replace("\nd,", "\nd,you,100,").replace("tokens", "fleet")
    with pytest.raises(SwarmError, match="'fleet' is 100 in every run, and without it all rows sum to 1"):
        read(ratios, ignore="owner")
    with pytest.raises(SwarmError, match="without 'fleet' all sum to 1: leave it out, ignore='fleet'"):
        read(ratios.replace("100", "200", 1), ignore="owner")
    swarm = read(ratios, ignore=["owner", "fl*"])
    assert same(swarm, read())
    assert swarm.report.unused == {"ignored": ("owner", "fleet")}
    assert read(ratios, ignore="fleet").report.unused == {"ignored": ("fleet",), "text": ("owner",)}
    with pytest.raises(
        SwarmError, match=r"ignore names columns that do not exist: nothing, z\*; the columns are: 'run', 'web'"
    ):
        read(ignore=["nothing", "z*", "c*"])


def test_chosen_runs_by_column_and_by_id():
    marked = RATIOS.replace("books\n", "books,picked\n").replace("0.25,0.25\n", "0.25,0.25,true\n")
    marked = marked.replace("0.3,0.5\n", "0.3,0.5,0\n").replace("1,0,0\n", "1,0,0,\n").replace("0.8\n", "0.8,1\n")
    expected = [True, False, False, True]
    assert read(marked, chosen="picked").chosen.tolist() == expected
    assert read(marked.replace("picked", "chosen")).chosen.tolist() == expected
    assert read(chosen=["d", "a"]).chosen.tolist() == expected
    assert read(chosen=["d", "a"]).domains == ("web", "code", "books")
    assert Swarm(
        np.eye(3), np.arange(3.0), domains=list("xyz"), metric_names=["m"], chosen=[True, False, False]
    ).report.chosen == ("0",)
    with pytest.raises(SwarmError, match=r"unknown runs: nobody; the runs are: a, b, c, d"):
        read(chosen=["nobody"])
    with pytest.raises(SwarmError, match="name of a column or a list of run ids, got 3"):
        read(chosen=3)
    with pytest.raises(SwarmError, match="is not a column of either table"):
        read(chosen="picked")
    with pytest.raises(SwarmError, match=r"'chosen' must hold 0 or 1 .*got maybe"):
        read(marked.replace("picked", "chosen").replace("true", "maybe"))


# Refusals.

BAD = {
    "no file": ("", METRICS, "ratios file is empty"),
    "only white space": (" \n\n", METRICS, "ratios file is empty"),
    "only a header": ("run,web\n", METRICS, "has a header but no runs"),
    "no header": ("1,0.5,0.5\n2,0.25,0.75\n", METRICS, "has no header"),
    "no metrics": (RATIOS, "run,name\na,x\n", "no column for metrics"),
    "text": (RATIOS, METRICS.replace("2.25", "two"), "metrics file: column 'c4_loss' must hold numbers, but run 'b' has 'two'"),
    "decimal comma": (RATIOS, METRICS.replace("2.25", '"2,25"'), "'c4_loss' must hold numbers, but run 'b' has '2,25'"),
    "underscore": (RATIOS, METRICS.replace("2.25", "2_25"), "'c4_loss' must hold numbers, but run 'b' has '2_25'"),
    "underscore, all else plain": (RATIOS, "run,m\na,1\nb,2_25\n", "'m' must hold numbers, but run 'b' has '2_25'"),
    "no run in common": (RATIOS, METRICS.replace("\n", "\nx").rstrip("x"), "no run in common: .*a, b, c and 1 more.*xa, xb, xc and 1 more"),
    "no metric at all": (RATIOS, "run,m\na,\nb,\n", "no run has a value of any metric"),
    "infinite metric": (RATIOS, METRICS.replace("2.25", "inf"), "run 'b': c4_loss=inf; leave diverged runs empty"),
    "negative share": (RATIOS.replace("0.2,0.3", "-0.2,0.7"), METRICS, "must not be negative, got run 'b': web=-0.2"),
    "sum of 2": (RATIOS.replace("c,1,0,0", "c,1,1,0"), METRICS, "within 0.005.*run 'c' sums to 2"),
    "sum of 0": (RATIOS.replace("c,1,0,0", "c,0,0,0"), METRICS, "run 'c' sums to 0"),
    "percentages and shares": (
        "run,x,y\na,50,50\nb,0.2,0.8\n",
        METRICS,
        "1 run looks like shares, 1 run looks like percentages: use one unit for all runs",
    ),
    "share missing": (RATIOS.replace("c,1,0,0", "c,1,,0"), METRICS, "finite numbers, got run 'c': code=nan; write 0"),
    "run twice": (RATIOS, METRICS + "a,2,1\n", r"ids of runs must be unique, repeated: 'a' \(2 times\)"),
    "run twice as a number": ("run,x\n1,1\n1.0,1\n", "run,m\n1,1\n", "ids of runs must be unique, repeated: '1'"),
    "run without an id": (RATIOS.replace("\nb,", "\n,"), METRICS, "every run needs an id, missing in row 2"),
    "column twice": (RATIOS.replace("code", "web"), METRICS, r"ratios file: names of columns .*'web' \(2 times\)"),
    "no id": (RATIOS.replace("run", "who"), METRICS, "both tables need a column with the ids of runs.*never matched by position"),
    "bars": (RATIOS.replace(",", "|"), METRICS, r"separated by '\|'; write it with commas"),
    "ragged": (RATIOS.replace("b,0.2", "b,0.1,0.1"), METRICS, r"row of 'b' \(row 2 .*\) has 5 cells, but the header has 4"),
    "open quote": (RATIOS.replace("b,", '"b,'), METRICS, "not comma-separated values"),
    "ratios transposed": ("run,a,b\nx,0.5,0.1\ny,0.5,0.9\n", "run,m\na,1\nb,2\n", "ratios file has the ids among its columns.*transposed"),
    "metrics transposed": (RATIOS, "run,a,b,c,d\nm,1,2,3,4\n", "metrics file has the ids among its columns.*transposed"),
    "both transposed": ("run,a,b\nx,0.5,0.1\ny,0.5,0.9\n", "run,a,b\nm,1,2\n", "both look transposed"),
    "both transposed, names alike": ("run,a,b\nx,0.7,0.1\ny,0.3,0.9\n", "run,a,b\nx,1,2\ny,1,2\n", "the table looks transposed"),
}  # fmt: skip


@pytest.mark.parametrize("ratios, metrics, message", BAD.values(), ids=BAD)  # noqa: PT006
def test_bad_files_are_refused_with_a_reason(ratios, metrics, message):
    with pytest.raises(SwarmError, match=f"(?s){message}"):
        read(ratios, metrics)


def test_bad_bytes_are_refused():
    with pytest.raises(SwarmError, match="not UTF-8 text: byte 0xe9 in line 1; save it as csv in UTF-8"):
        Swarm.from_csv(io.BytesIO("run,é\n".encode("latin-1")), io.BytesIO(b"run,m\n1,1\n"))
    with pytest.raises(SwarmError, match=r"path or an open file, got dict; .*from_frames"):
        Swarm.from_csv({}, {})


@given(st.text(max_size=80), st.text(st.sampled_from("run,\"'\n\r;01.eE-x\x00"), max_size=40))
def test_any_text_is_read_or_refused(noise, likely):
    for text in (noise, likely, "run,x\n" + likely):
        for pair in ((text, METRICS), (RATIOS, text)):
            with contextlib.suppress(MixfastError):
                read(*pair)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ratios": [[0.5, 0.5]]}, r"metrics must have shape \(1, 1\)"),
        ({"ratios": [0.5, 0.5]}, r"ratios must have shape \(runs, 2\)"),
        ({"ratios": [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]}, r"got \(2, 3\); it looks transposed"),
        ({"ratios": np.empty((0, 2))}, r"ratios must have shape \(runs, 2\)"),
        ({"ratios": [["a", "b"]]}, "matrix of numbers"),
        ({"metrics": [[1.0, 2.0, 3.0]]}, r"metrics must have shape \(3, 1\).*got \(1, 3\); it looks transposed"),
        ({"metrics": [np.nan] * 3}, "no run has a value of m"),
        ({"domains": "xy"}, "sequence of names"),
        ({"domains": ["x", "x"]}, "repeated: 'x'"),
        ({"metric_names": ["m", "m"]}, "metric names must be unique"),
        ({"metric_names": []}, "there are no metrics"),
        ({"metric_names": [3]}, "non-empty strings"),
        ({"runs": ["a", "b"]}, "3 rows of ratios, but 2 ids"),
        ({"runs": ["a", "b", "a"]}, "repeated: 'a'"),
        ({"chosen": [True]}, "3 truth values"),
        ({"chosen": "0"}, "truth value for each run"),
        ({"direction": "up"}, "direction must be .*m='up'"),
        ({"direction": {"k": "max"}}, "unknown metrics: k; the metrics are: m"),
        ({"direction": ["min", "max"]}, "one word for each of the 1 metrics, got 2"),
        ({"unit": {"m": 3}}, "unit must be a word"),
    ],
)  # fmt: skip
def test_bad_arrays_are_refused(changes, message):
    arguments = {
        "ratios": [[0.5, 0.5], [1, 0], [0, 1]], "metrics": [1.0, 2.0, 3.0], "domains": ["x", "y"], "metric_names": ["m"]
    } | changes  # fmt: skip
    with pytest.raises(SwarmError, match=f"(?s){message}"):
        Swarm(arguments.pop("ratios"), arguments.pop("metrics"), **arguments)


# Notes.


def test_rounded_shares_are_divided_by_their_sum_and_said_so():
    swarm = Swarm([[0.5, 0.495], [0.25, 0.75], [0.3, 0.704]], [1.0, 2, 3], domains=["x", "y"], metric_names=["m"])
    np.testing.assert_allclose(swarm.ratios.sum(axis=1), 1.0, rtol=1e-15)
    assert swarm.ratios[0, 0] == 0.5 / 0.995
    assert swarm.report.renormalised == ("0", "2")
    assert swarm.report.deviation == pytest.approx(0.005)
    assert "differed from 1 by up to 0.005: 2 runs: 0, 2" in str(swarm.report)
    with pytest.raises(SwarmError, match=r"run '0' sums to 0\.994"):
        Swarm([[0.5, 0.494]], [1.0], domains=["x", "y"], metric_names=["m"])


def test_the_report_names_what_is_odd():
    swarm = read(
        "run,x,y,z\na,0.5,0.5,0\nb,0.5,0.5,0\nc,1,0,0\ne,0,1,0\n", "run,m,k\na,1,5\nb,2,5\nc,3,5\nd,4,5\ne,,\n"
    )
    report = swarm.report
    assert report.duplicates == (("a", "b"),)
    assert report.constant == ("k",)
    assert report.never_sampled == ("z",)
    assert report.rank == swarm.matrix_rank == 2
    assert report.dropped == (("e", "no value of any metric"), ("d", "no row of ratios"))
    assert report.kept == 3
    text = str(report)
    for part in (
        "dropped, no value of any metric: 1 run: e",
        "dropped, no row of ratios: 1 run: d",
        "one mixture, 2 runs: a, b",
        "the same for all runs: 1 metric: k",
        "never sampled, effect unknown: 1 domain: z",
        "rank of the mixtures: 2 of 3",
        "3 runs for 3 domains are fewer than domains + 1 = 4: the log-linear law has no unique fit",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("runs", "said"),
    [(3, "fewer than domains"), (4, "every law can be fitted; .*about 12"), (12, "every law can be fitted$")],
)
def test_the_report_says_what_can_be_fitted(runs, said):
    assert re.search(said, str(small(runs).report))
    flat = Swarm(
        np.linspace(0, 1, 9)[:, None] * [0.5, -0.5, 0] + [0, 0.5, 0.5], np.arange(9.0), domains=list("xyz"), metric_names=["m"]
    )  # fmt: skip
    assert "leave 1 of 3 directions unexplored" in str(flat.report)


def test_units_and_directions_by_name_and_by_hand():
    names = ["a_nats_per_byte", "mmlu/BPB", "c4-ppl", "arc_acc", "accuracy", "brier_score", "soccer", "loss", "x_score"]
    swarm = Swarm(np.eye(2), np.ones((2, 9)), domains=["x", "y"], metric_names=names)
    assert swarm.unit == (
        "nats_per_byte",
        "bits_per_byte",
        "perplexity",
        "score",
        "score",
        "error",
        "nats",
        "nats",
        "score",
    )
    assert swarm.direction == ("min", "min", "min", "max", "max", "min", "min", "min", "max")
    assert swarm.report.guessed_directions == tuple(name for name in names if name != "soccer")
    assert swarm.report.assumed_directions == ("soccer",)
    swarm = Swarm(
        np.eye(2), np.ones((2, 2)), domains=["x", "y"], metric_names=["acc", "soccer"], unit="goals",
        direction={"acc": "min", "soccer": "max"},
    )  # fmt: skip
    assert swarm.direction == ("min", "max")
    assert swarm.unit == ("goals", "goals")
    assert swarm.report.guessed_directions == ()


@pytest.mark.parametrize(
    "name",
    ["acc", "acc_norm", "exact_match", "em", "squad_em", "f1", "F1 macro", "bleu", "sacrebleu", "wmt/bleu,none", "rougeL", "rouge_1",
     "pass@1", "humaneval/pass@1,create_test", "pass_at_10", "AUC", "roc_auc", "win_rate", "winrate", "accuracy", "Accuracy (%)", "top5_accuracy",
     "accuracy_5shot", "hellaswag/acc,none", "arc/acc_norm,none", "gsm8k/exact_match,strict-match", "arc/logprob", "arc/choice_logprob",
     "lm_eval/arc_easy/choice_logprob_norm", "choice_prob_norm", "loglikelihood", "log_likelihood", "gold_logprob", "prob_correct",
     "correct_prob_per_char", "truthfulqa_mc2/mc2,none", "truthfulqa_mc1", "cola/mcc,none", "recall", "recall@10", "recall_at_10", "ndcg",
     "beir/ndcg@10", "ndcg_cut_10", "precision", "macro precision", "mrr", "MRR@10", "map", "retrieval/map", "map@100", "mAP", "hits@1",
     "hits_at_k", "acc@1", "maj@8", "auprc", "AUROC", "reward", "eval/reward_mean", "rewards/accuracies", "pass^8", "success_rate", "chrf",
     "eval/downstream/arc_easy (accuracy v2)", "error_analysis/acc,none", "loss_quiz/exact_match", "arc/acc_val", "neg_loss", "-loss",
     "neg_mean_squared_error", "neg_log_loss", "quiz/primary_score", "arc/prob", "norm_prob", "arc/likelihood,none", "ll", "arc/ll_per_byte",
     "codebleu", "maj1@8", "quasi_em", "pqem", "acc_norm_token", "arc/acc_per_char", "sts/pearsonr,none", "kendall_tau_b", "fscore", "tpr", "elo_rating",
     "gsm8k/extractive_match", "longbench/score", "lc_win_rate", "pct_correct", "eval/downstream/arc (length-normalized accuracy v2)"],
)  # fmt: skip
def test_names_of_which_more_is_better(name):
    assert Swarm(np.eye(2), [1.0, 2.0], domains=["x", "y"], metric_names=[name]).direction == ("max",)


@pytest.mark.parametrize(
    "name",
    ["loss", "mmlu", "hellaswag/acc_stderr,none", "acc_loss", "accuracy_error", "brier_score", "brier_score_mean", "code_accuracy_bpb", "wikitext/"
     "word_perplexity,none", "soccer", "femme", "bleumonde", "rougemont_nll", "password", "em_dashes", "f1_news", "aucune", "drawin_rate_x", "bitmaps", "map_reduce_code",
     "vaccines", "account", "arc/neg_logprob", "negative_log_likelihood", "nlogp", "nll", "reward_model/loss", "accuracy/quiz_ppl", "bits_per_byte",
     "eval/downstream/arc_easy (BPB v2)", "eval/downstream/acc_quiz (CE loss)", "log_loss", "word_error_rate", "recall_quiz/loss,none",
     "arc/bits_per_byte_corr", "precision_farming", "acc_std", "token_probability", "counting_and_prob", "arc:bpb::olmes/primary_score",
     "toxicity/score,none", "realtoxicityprompts/score,none", "bbq/amb_bias_score", "fpr", "failure_rate", "hallucination_rate", "pct_stereotype",
     "loss0", "eval/loss_3", "c4_ppl2", "log_perplexity", "likelihood_diff", "bits_per_character", "lm loss validation ppl", "redpajama_top5",
     "logits_per_byte_corr", "average_len"],
)  # fmt: skip
def test_names_that_do_not_say_so(name):
    assert Swarm(np.eye(2), [1.0, 2.0], domains=["x", "y"], metric_names=[name]).direction == ("min",)


def test_directions_by_hand_and_in_the_report():
    names = ["mmlu_law", "mmlu_art", "loss", "x/acc,none"]
    swarm = Swarm(np.eye(2), np.ones((2, 4)), domains=["x", "y"], metric_names=names)
    assert (
        "more is better: x/acc,none (told from the names); less is better: the other 3 (assumed for mmlu_law, "
        "mmlu_art: their names do not say)" in str(swarm.report)
    )
    assert swarm.report.assumed_directions == ("mmlu_law", "mmlu_art")
    told = swarm.better(more=["mmlu_*", "loss"], less="x/acc,none")
    assert told.direction == ("max", "max", "max", "min")
    assert told.unit == ("score", "score", "score", "score")
    assert "more is better: mmlu_law, mmlu_art, loss; less is better: the other" in str(told.report)
    assert told.report.assumed_directions == told.select("mmlu_law").report.assumed_directions == ()
    assert swarm.select("mmlu_law").report.assumed_directions == ("mmlu_law",)
    assert "less is better: all 4 metrics" in str(swarm.better(less="*").report)
    assert "more is better: all 4 metrics" in str(swarm.better(more="*").report)
    with pytest.raises(AlignmentError, match="there is no metric 'zz\\*'; the metrics are: mmlu_law"):
        swarm.better(more="zz*")
    with pytest.raises(SwarmError, match="loss is in both more and less"):
        swarm.better(more="l*", less="loss")


def test_a_direction_is_in_doubt_by_negative_values_and_by_values_of_scores():
    values = np.array([[-19.0, 0.32, 2.3, 0.7, -1.0], [-16.0, 0.41, 1.9, 0.8, -2.0], [-15.0, 0.48, 2.0, 0.9, np.nan]])
    names = ["quiz", "mmlu", "c4", "c4_bpb", "val_loss"]
    swarm = Swarm(np.eye(3), values, domains=["x", "y", "z"], metric_names=names)
    negative, fraction = "has negative values", "lies between 0 and 1"
    assert {name: why[: len(negative)] for name, why in swarm.report.doubted_directions.items()} == {
        "quiz": negative, "mmlu": fraction[: len(negative)], "val_loss": negative
    }  # fmt: skip
    assert set(swarm.better(more="quiz", less="val_loss").report.doubted_directions) == {"mmlu"}
    assert Swarm(
        np.eye(3), values, domains=["x", "y", "z"], metric_names=names, direction="min"
    ).report.doubted_directions == {}  # fmt: skip


@pytest.mark.parametrize(
    "name", ["toxicity/score,none", "arc:bpb::olmes/primary_score", "token_probability", "logits_per_byte_corr"]
)
def test_a_name_that_may_mean_either_is_not_taken_as_told(name):
    swarm = Swarm(np.eye(2), [1.0, 2.0], domains=["x", "y"], metric_names=[name])
    assert swarm.report.assumed_directions == (name,)


def test_a_log_probability_with_positive_values_is_a_doubt():
    for values, doubted in (([2.5, 2.25], True), ([-2.5, 2.25], False)):
        swarm = Swarm(np.eye(2), values, domains=["x", "y"], metric_names=["arc/logprob"])
        assert ("arc/logprob" in swarm.report.doubted_directions) == doubted
    told = doubts_of_directions(
        {"arc/logprob": "has positive values only, as losses and probabilities have and log-probabilities do not"}
    )
    assert told[0].startswith("more of arc/logprob is taken as better, but it has positive values only")
    assert swarm.better(more="arc/logprob").report.doubted_directions == {}


def test_units_per_anything_are_told():
    names = ["bits_per_char", "a/bits_per_word", "nats_per_word", "log_ppl", "ppl", "bits/byte", "ll", "neg_ll"]
    unit = Swarm(np.eye(2), np.ones((2, 8)), domains=["x", "y"], metric_names=names).unit
    assert unit == (
        *(
            "bits_per_character",
            "bits_per_word",
            "nats_per_word",
            "nats",
            "perplexity",
            "bits_per_byte",
            "logprob",
            "logprob",
        ),
    )


def test_metrics_have_a_unit_of_their_own_unless_they_are_losses():
    names = [
        "a/loss",
        "mmlu",
        "a/logprob",
        "a/neg_logprob",
        "a/nlogp",
        "reward",
        "wer",
        "train_runtime",
        "a (BPB v2)",
        "a/bits_per_byte_corr",
        "a/mc2,none",
        "loss (nats/token)",
    ]
    unit = Swarm(np.eye(2), np.ones((2, 12)), domains=["x", "y"], metric_names=names).unit
    assert unit == (
        *("nats", "nats", "logprob", "logprob", "logprob", "reward", "error", "seconds", "bits_per_byte", "bits_per_byte", "score", "nats_per_token"),
    )  # fmt: skip


# Columns that are not domains.


@pytest.mark.parametrize("digits", [2, 4, 6, 17])
@pytest.mark.parametrize("setting", [0.001, 0.004, 0.3, 1000.0])
def test_a_constant_column_beside_whole_mixtures_is_no_domain(digits, setting):
    w = np.random.default_rng(0).dirichlet(np.ones(3), 12)
    w = np.round(w, digits)
    w[:, 2] += 1.0 - w.sum(axis=1)  # rows sum exactly to 1, as in checked tables
    w = np.maximum(np.round(w, digits), 0.0)
    rows = np.c_[w, np.full(12, setting)]
    if digits == 2 and setting < 0.02:  # small enough to be a rounding error
        assert Swarm(rows, np.ones(12), domains=[*"abc", "lr"], metric_names=["loss"]).domains[-1] == "lr"
        return
    with pytest.raises(SwarmError, match=r"'lr' is .* in every run, and without it .*ignore='lr'"):
        Swarm(rows, np.ones(12), domains=[*"abc", "lr"], metric_names=["loss"])


@pytest.mark.parametrize("digits", [3, 4, 6, 17])
def test_a_constant_domain_is_one(digits):
    w = np.random.default_rng(0).dirichlet(np.ones(3), 12)
    rows = np.round(np.c_[w * 0.995, np.full(12, 0.005)], digits)
    assert len(Swarm(rows, np.ones(12), domains=[*"abcd"], metric_names=["loss"]).domains) == 4


def test_nothing_is_said_of_ordinary_rounding():
    w = np.random.default_rng(0).dirichlet(np.ones(9), 40)
    for digits, said in ((2, None), (3, True), (4, False), (6, False), (17, False)):
        rows = np.round(w, digits)
        if said is None:
            rows[:, 0] += 1.0 - rows.sum(axis=1) + 0.004
            said = True
        runs = Swarm(np.abs(rows), np.ones(40), domains=[*"abcdefghi"], metric_names=["loss"])
        assert ("differed from 1" in str(runs.report)) == said


# Names.

LONG = ["train_the_pile_arxiv", "train_the_pile_github", "train_the_pile_pile_cc"]


def test_names_are_found_without_what_all_of_them_share():
    swarm = Swarm(
        np.eye(3), np.ones((3, 2)), domains=LONG, metric_names=["metric/the_pile_cc_val_loss", "metric/the_pile_x_val_loss"]
    )  # fmt: skip
    for name in ("arxiv", "pile_arxiv", "the_pile_arxiv", "train_the_pile_arxiv"):
        assert swarm.domain(name) == "train_the_pile_arxiv"
    for name in ("cc", "the_pile_cc", "cc_val_loss", "cc_val", "metric/the_pile_cc_val_loss"):
        assert swarm.metric(name) == "metric/the_pile_cc_val_loss"
    with pytest.raises(AlignmentError, match="there is no domain 'xiv'; the domains are: train_the_pile_arxiv, "):
        swarm.domain("xiv")
    with pytest.raises(AlignmentError, match="there is no metric 'github'"):
        swarm.metric("github")
    assert swarm.select(["x", "cc"]).metrics == ("metric/the_pile_x_val_loss", "metric/the_pile_cc_val_loss")


def test_exact_names_win_and_ambiguous_ones_are_refused():
    # Without the prefix a_ and the suffix _z: b and a_b. The second is also the first without its suffix.
    swarm = Swarm(np.eye(2), np.ones(2), domains=["a_b_z", "a_a_b_z"], metric_names=["m"])
    assert swarm.domain("a_b_z") == "a_b_z"
    assert swarm.domain("b") == "a_b_z"
    with pytest.raises(AlignmentError, match="'a_b' could mean each of a_a_b_z, a_b_z"):
        swarm.domain("a_b")


@pytest.mark.parametrize(
    "names",
    [
        ["pile_cc", "arxiv", "github"],
        ["the_pile_github", "the_pile_pile_cc", "the_pile_arxiv"],
        ["domain:github/v1", "domain:pile_cc/v1", "domain:arxiv/v1"],
        LONG[::-1],
    ],
)
def test_align_goes_by_name(names):
    swarm = Swarm(np.eye(3), np.arange(3.0), domains=LONG, metric_names=["m"])
    aligned = swarm.align(names)
    assert aligned.domains == tuple(names)
    for column, name in enumerate(names):
        word = next(word for word in ("arxiv", "github", "pile_cc") if word in name)
        before = next(index for index, long in enumerate(LONG) if long.endswith(word))
        assert aligned.ratios[:, column].tolist() == swarm.ratios[:, before].tolist()
    assert aligned.values.tolist() == swarm.values.tolist()


@pytest.mark.parametrize(
    "names", [["arxiv", "github"], ["arxiv", "github", "books"], ["arxiv", "github", "pile_cc", "x"]]
)
def test_align_refuses_other_sets(names):
    swarm = Swarm(np.eye(3), np.arange(3.0), domains=LONG, metric_names=["m"])
    with pytest.raises(AlignmentError, match="name different domains"):
        swarm.align(names)


# Subsets.


@given(st.integers(2, 40), st.integers(0, 10), st.integers(0, 5), st.data())
def test_folds_test_every_run_once_and_chosen_runs_never(runs, chosen, seed, data):
    rng = np.random.default_rng(seed)
    kinds = rng.dirichlet(np.ones(3), 30)
    which = rng.integers(0, 30, runs)
    mask = np.zeros(runs, dtype=bool)
    mask[rng.permutation(runs)[:chosen]] = True
    swarm = Swarm(kinds[which], np.arange(runs * 1.0), domains=list("xyz"), metric_names=["m"], chosen=mask)
    different = len(set(which[~mask].tolist()))
    if different < 2:
        with pytest.raises(SwarmError, match=r"different mixtures|share one mixture"):
            swarm.folds(2)
        with pytest.raises(SwarmError, match=r"different mixtures|share one mixture"):
            swarm.holdout()
        return
    n = data.draw(st.integers(2, different))
    folds = swarm.folds(n, seed)
    assert len(folds) == n
    assert sorted(np.concatenate([test for _, test in folds]).tolist()) == np.flatnonzero(~mask).tolist()
    fit, tested = swarm.holdout(0.3, seed)
    folds.append(tuple(np.array([swarm.runs.index(run) for run in part.runs]) for part in (fit, tested)))
    for train, test in folds:
        assert len(test)
        assert sorted([*train.tolist(), *test.tolist()]) == list(range(runs))
        assert not set(which[train][~mask[train]].tolist()) & set(which[test].tolist())
    assert not tested.chosen.any()
    again = swarm.folds(n, seed)
    assert all((a[1] == b[1]).all() for a, b in zip(again, folds, strict=False))


def test_folds_are_balanced_and_follow_the_seed():
    swarm = small(23)
    assert sorted(len(test) for _, test in swarm.folds()) == [4, 4, 5, 5, 5]
    assert any((a[1].tolist() != b[1].tolist()) for a, b in zip(swarm.folds(seed=0), swarm.folds(seed=1), strict=True))
    assert [len(part) for part in swarm.holdout()] == [17, 6]
    assert swarm.holdout(seed=3)[1].runs == swarm.holdout(seed=3)[1].runs != swarm.holdout(seed=4)[1].runs
    for n in (1, 24, 0):
        with pytest.raises(SwarmError, match="at most 23"):
            swarm.folds(n)
    for share in (0.0, 1.0, np.nan):
        with pytest.raises(SwarmError, match="share must be above 0"):
            swarm.holdout(share)


def test_subset_and_select():
    swarm = small(6, chosen=["1"], unit=["nats", "points"])
    part = swarm.subset([4, 1])
    assert part.runs == ("4", "1")
    assert part.ratios.tolist() == swarm.ratios[[4, 1]].tolist()
    assert part.chosen.tolist() == [False, True]
    assert same(swarm.subset(swarm.chosen), swarm.subset([1]))
    assert same(swarm.subset([-1]), swarm.subset([5]))
    assert part.report.kept == 2
    only = swarm.select("arc_accuracy")
    assert (only.metrics, only.direction, only.unit) == (("arc_accuracy",), ("max",), ("points",))
    assert only.values.tolist() == swarm.values[:, 1:].tolist()
    assert swarm.metrics == ("c4", "arc_accuracy")
    for index, message in (
        ([], "at least one"),
        ([6], "below 6"),
        ([0, 0], "unique"),
        ([0.5], "positions"),
        ([True], "positions"),
    ):
        with pytest.raises(SwarmError, match=message):
            swarm.subset(index)
    with pytest.raises(SwarmError, match="unique"):
        swarm.select(["c4", "c4"])
    with pytest.raises(SwarmError, match="no metrics"):
        swarm.select([])


# Frames.


def columns(text):
    header, *rows = csv.reader(io.StringIO(text))
    return {
        name: list(cells) if name == "run" else [float(cell or "nan") for cell in cells]
        for name, cells in zip(header, zip(*rows, strict=True), strict=True)
    }


def frame_of(library, data):
    if library == "dict":
        return data
    module = pytest.importorskip(library)
    if library == "pyarrow":
        return module.table(data)
    return module.DataFrame(data)


@pytest.mark.parametrize("library", ["dict", "pandas", "polars", "pyarrow"])
def test_frames_say_the_same_as_files(library):
    ratios, metrics = columns(RATIOS), columns(METRICS)
    assert same(Swarm.from_frames(frame_of(library, ratios), frame_of(library, metrics)), read())
    metrics["c4_loss"] = ["x", "2", "3", "4"]
    with pytest.raises(SwarmError, match="metrics: column 'c4_loss' must hold numbers, but run 'a' has 'x'"):
        Swarm.from_frames(frame_of(library, ratios), frame_of(library, metrics))
    metrics["c4_loss"], metrics["run"] = [1, 2, 3, 4], [3, 2, 1, 0]
    ratios["run"] = [0, 1, 2, 3]
    swarm = Swarm.from_frames(frame_of(library, ratios), frame_of(library, metrics))
    assert swarm.runs == ("0", "1", "2", "3")
    assert swarm.values[:, 0].tolist() == [4, 3, 2, 1]
    with pytest.raises(SwarmError, match="has columns but no runs"):
        Swarm.from_frames(frame_of(library, {"run": [], "x": []}), frame_of(library, metrics))


def test_pandas_labels_are_ids_unless_they_only_count():
    pandas = pytest.importorskip("pandas")
    ratios, metrics = (pandas.DataFrame(columns(text)).set_index("run") for text in (RATIOS, METRICS))
    assert same(Swarm.from_frames(ratios, metrics), read())
    assert same(Swarm.from_frames(ratios.rename_axis(None), metrics.rename_axis(None)), read())
    with pytest.raises(SwarmError, match="never matched by position"):
        Swarm.from_frames(ratios.reset_index(drop=True), metrics.reset_index(drop=True))
    nullable = metrics.astype("Float64")
    nullable.iloc[3, 1] = pandas.NA
    assert same(Swarm.from_frames(ratios, nullable), read())
    twice = pandas.concat([ratios, ratios], axis=1)
    with pytest.raises(SwarmError, match="must be unique"):
        Swarm.from_frames(twice, metrics)


def test_arrow_streams_and_lazy_frames():
    polars = pytest.importorskip("polars")
    pytest.importorskip("pyarrow")
    if not hasattr(polars.DataFrame, "__arrow_c_stream__"):
        pytest.skip("this version of polars exports no Arrow streams")

    class Stream:
        def __init__(self, frame):
            self.frame = frame

        def __arrow_c_stream__(self, schema=None):
            return self.frame.__arrow_c_stream__(schema)

    ratios, metrics = (polars.DataFrame(columns(text)) for text in (RATIOS, METRICS))
    assert same(Swarm.from_frames(Stream(ratios), metrics.lazy()), read())
    with pytest.raises(SwarmError, match=r"must be a data frame .*got list"):
        Swarm.from_frames([1], metrics)


# Real runs.


def test_regmix(shared_data):
    folder = shared_data / "regmix"
    train, test = (
        Swarm.from_csv(folder / f"{part}_mixture_1m.csv", folder / f"{part}_pile_loss_1m.csv") for part in ("train", "test")
    )  # fmt: skip
    assert (train.ratios.shape, train.values.shape) == ((512, 17), (512, 13))
    assert (test.ratios.shape, test.values.shape) == ((256, 17), (256, 13))
    loss = np.loadtxt(folder / "train_pile_loss_1m.csv", delimiter=",", skiprows=1)
    shares = np.loadtxt(folder / "train_mixture_1m.csv", delimiter=",", skiprows=1)
    assert train.values.tolist() == loss[:, 1:].tolist()
    np.testing.assert_allclose(train.ratios, shares[:, 1:], atol=5e-3)
    np.testing.assert_allclose(train.ratios * shares[:, 1:].sum(axis=1)[:, None], shares[:, 1:], rtol=1e-15)
    assert train.matrix_rank == 17
    assert len(train.report.renormalised) > 100
    assert train.report.deviation <= 5e-3 + 1e-9
    assert train.report.dropped == ()
    assert np.abs(train.ratios.sum(axis=1) - 1.0).max() < 1e-15
    assert train.domain("the_pile_arxiv") == "train_the_pile_arxiv"
    assert train.metric("the_pile_arxiv") == "metric/the_pile_arxiv_val_loss"
    assert train.align([name.removeprefix("train_the_pile_") for name in train.domains[::-1]]).domains[-1] == "arxiv"
    assert train.domains == test.domains


def test_tables(shared_data):
    folder = shared_data / "tables" / "swarm"
    swarm = Swarm.from_csv(
        folder / "ratios.csv", folder / "metrics.csv", chosen=[f"mixmin_token_{name}" for name in ("foldoc",)]
    )
    assert len(swarm) == 53
    assert set(swarm.unit) == {"nats_per_byte"}
    assert ("uniform_a", "uniform_b", "uniform_c") in swarm.report.duplicates
    assert swarm.metric("target_foldoc") == "target_foldoc_nats_per_byte"
    assert sum(len(test) for _, test in swarm.folds()) == 52


def test_data_mixing_laws(shared_data):
    folder = shared_data / "dml"
    swarm = Swarm.from_csv(folder / "ratios.csv", folder / "metrics_step30000.csv")
    assert (swarm.ratios.shape, swarm.values.shape) == ((26, 5), (26, 22))
    with pytest.raises(SwarmError, match="rows for several training steps, the one to compare"):
        Swarm.from_csv(folder / "ratios.csv", folder / "metrics_all_steps.csv")


def test_large_files():
    rng = np.random.default_rng(0)
    ratios = rng.dirichlet(np.ones(16), 5_000)
    swarm = Swarm(ratios, rng.random(5_000), domains=[f"d{k}" for k in range(16)], metric_names=["m"])
    files = io.StringIO(newline=""), io.StringIO(newline="")
    swarm.to_csv(*files)
    for file in files:
        file.seek(0)
    assert same(Swarm.from_csv(*files), swarm)


@pytest.mark.parametrize(
    ("here", "there"), [("Run", "run"), ("Run ID", "run_id"), ("RUN-ID", "Run Id"), ("Index", "index")]
)
def test_ids_of_runs_are_found_however_they_are_spelled(tmp_path, here, there):
    (tmp_path / "r.csv").write_text(f"{here},web,code\na,0.2,0.8\nb,0.9,0.1\nc,0.4,0.6\n")
    (tmp_path / "m.csv").write_text(f"{there},loss\nb,2.0\na,1.0\nc,3.0\n")
    found = Swarm.from_csv(tmp_path / "r.csv", tmp_path / "m.csv")
    assert (found.runs, found.domains, found.metrics) == (("a", "b", "c"), ("web", "code"), ("loss",))
    assert found.values[:, 0].tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("eval_error_detection_accuracy", "max"), ("eval_t_loss_f1", "max"), ("loss_of_context/acc_norm,none", "max"),
        ("neg_accuracy", "min"), ("accuracy_error", "min"), ("f1_loss", "min"),
    ],
)  # fmt: skip
def test_the_end_of_a_name_tells_an_accuracy_whatever_the_task_is_called(name, way):
    assert told_direction(name) == way
