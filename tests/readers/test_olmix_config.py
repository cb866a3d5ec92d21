"""Fit configurations of Olmix: fields are read by name, and configurations that could be misread are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from mixfast.errors import AlignmentError
from mixfast.readers import olmix_config
from mixfast.readers._mmlu import CATEGORIES, SUBJECTS
from mixfast.readers._olmix_config import OlmixConfigError

TEXT = """
swarm:
  ratios: ratios.csv
  metrics: metrics.csv
priors:
  relative_sizes: {web: 0.7, code: 0.1, books: 0.2}
  token_counts:
    books: 20_000
    web: 70_000
    code: 10_000
eval:
  type: offline
  tasks:
    math: [m1, m2]
    qa: [q1]
regression: {type: log_linear, seed: 3, train_split: 64}
proposer: {type: exact, kl_reg: 0.05, temperature: null}
constraints: {enabled: true, target_tokens: 100_000, repetition_factor: 4.0}
filtering:
  drop_metrics: [m2, absent]
  obj_weights: {math: "7/10.0", qa: 0.3}
"""


@pytest.fixture
def config(tmp_path):
    def write(text=TEXT, **changes):
        for old, new in changes.values():
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "fit.yaml").write_text(text)
        return olmix_config(tmp_path / "fit.yaml")

    return write


def test_a_configuration_says_what_to_do(config, tmp_path):
    found = config()
    assert found.ratios == tmp_path / "ratios.csv"
    assert found.token_counts == {"books": 20_000, "web": 70_000, "code": 10_000}
    assert (found.regression, found.proposer, found.kl, found.seed) == ("log_linear", "exact", 0.05, 3)
    assert (found.target_tokens, found.max_epochs, found.train_split, found.n_test) == (100_000, 4.0, 64.0, 0)
    assert found.families == {"math": ("m1", "m2"), "qa": ("q1",)}
    assert found.notes == ()
    assert not found.fit_only


def test_limits_go_by_name_and_not_by_position(config):
    for domains in (["web", "code", "books"], ["books", "web", "code"]):
        region = config().region(domains)
        assert region.domains == tuple(domains)
        assert dict(zip(domains, region.cap.round(12).tolist(), strict=True)) == {"web": 1.0, "code": 0.4, "books": 0.8}
        assert dict(zip(domains, region.prior.round(12).tolist(), strict=True)) == {
            "web": 0.7,
            "code": 0.1,
            "books": 0.2,
        }
    assert (config(off=("enabled: true", "enabled: false")).region(["web", "code", "books"]).cap == 1.0).all()
    with pytest.raises(AlignmentError, match="Only in the swarm: wiki"):
        config().region(["web", "code", "wiki"])


FAMILIES = ("train_split: 64}", "train_split: 1.0, aggregate_task_families: true}")


def test_weights_go_by_name_and_follow_what_is_dropped(config):
    whole = ("drop_metrics: [m2, absent]", "drop_metrics: []")
    weighted = config(by=FAMILIES)
    assert weighted.objective(["qa", "math"]) == pytest.approx({"math": 0.7, "qa": 0.3})
    single = ('{math: "7/10.0", qa: 0.3}', "{q1: 3, m2: 5}")
    assert config(by=single).objective(["m1", "q1"]) == {"m1": 1.0, "q1": 3.0}
    assert config(by=single, keep=whole).objective(["m1", "q1", "m2", "other"]) == {"m1": 1.0, "m2": 5.0, "q1": 3.0}
    even = ('{math: "7/10.0", qa: 0.3}', "{}")
    assert config(by=even).objective(["other", "m1", "q1"]) == {"m1": 0.5, "q1": 0.5}
    assert config(by=even, some=FAMILIES).objective(["math", "qa"]) == {"math": 0.5, "qa": 0.5}
    with pytest.raises(
        AlignmentError, match="obj_weights names unknown metrics: m9; the metrics that count are: m1, q1"
    ):
        config(by=('math: "7/10.0"', "m9: 1"), some=("qa: 0.3", "q1: 1")).objective(["m1", "q1"])
    with pytest.raises(AlignmentError, match="the configuration counts q1, which is not among the metrics m1"):
        config(by=even).objective(["m1"])


def test_weights_of_families_that_olmix_passes_over_are_refused(config):
    with pytest.raises(OlmixConfigError, match=r"weighs families \(math, qa\), but .*aggregate_task_families is false"):
        config().objective(["m1", "q1"])


def test_a_metric_counts_as_often_as_it_is_listed(config):
    twice = config(tasks=("qa: [q1]", "qa: [q1, m1]"), by=('{math: "7/10.0", qa: 0.3}', "{}"))
    assert twice.objective(["m1", "q1"]) == pytest.approx({"m1": 2 / 3, "q1": 1 / 3})


@pytest.fixture
def runs(tmp_path):
    """Write six runs with the listed tasks m1, m2, q1 and an unlisted column."""
    ratios = "run,name,index,code,web,books\n" + "".join(f"r{i},a,{i},0.{i},0.{8 - i},0.2\n" for i in range(6))
    (tmp_path / "ratios.csv").write_text(ratios)
    table = "run,name,index,m2,other,q1,m1\n" + "".join(
        f"r{i},a,{i},{i},{10 * i},{i + 2},{i + 4}\n" for i in (3, 1, 0, 2, 4, 5)
    )
    (tmp_path / "metrics.csv").write_text(table)
    return tmp_path


ALL_RUNS = ("train_split: 64", "train_split: 1.0")


def test_only_the_listed_tasks_are_fitted(config, runs):
    swarm, notes = config(all=ALL_RUNS).swarm()
    assert (swarm.metrics, swarm.domains) == (("m1", "q1"), ("code", "web", "books"))
    assert swarm.values.tolist() == [[i + 4, i + 2] for i in range(6)]
    assert set(swarm.unit) == {"bits_per_byte"}
    assert set(swarm.direction) == {"min"}
    assert notes == ()
    assert config().region(swarm.domains).cap.round(12).tolist() == [0.4, 1.0, 0.8]
    every = config(all=ALL_RUNS, no=("eval:\n  type: offline\n  tasks:\n    math: [m1, m2]\n    qa: [q1]\n", ""))
    assert set(every.swarm()[0].metrics) == {"m1", "q1", "other"}
    assert set(every.swarm(ignore=["other"])[0].metrics) == {"m1", "q1"}


def test_listed_tasks_that_no_run_has_are_refused_by_name(config, runs):
    with pytest.raises(
        AlignmentError, match=r"eval.tasks lists metrics that .*metrics\.csv does not have: q9; its columns are: "
    ):
        config(all=ALL_RUNS, tasks=("[q1]", "[q1, q9]")).swarm()


def test_columns_that_no_task_lists_are_not_read(config, runs):
    (runs / "metrics.csv").write_text(
        (runs / "metrics.csv").read_text().replace(",other,", ",comment,").replace(",30,", ",diverged,")
    )
    assert config(all=ALL_RUNS).swarm()[0].metrics == ("m1", "q1")


def test_families_are_fitted_as_their_mean(config, runs):
    swarm, notes = config(all=FAMILIES).swarm()
    assert swarm.metrics == ("math", "qa")
    assert swarm.values.tolist() == [[i + 2, i + 2] for i in range(6)]
    # As in Olmix, members of families cannot be dropped.
    assert "names members of families (m2), which still count" in notes[0]
    assert config(all=FAMILIES, drop=("[m2, absent]", "[qa]")).swarm()[0].metrics == ("math",)
    with pytest.raises(OlmixConfigError, match="drops every metric: math, qa"):
        config(all=FAMILIES, drop=("[m2, absent]", "[qa, math]")).swarm()


def test_runs_without_a_value_of_any_listed_task_are_left_out(config, runs):
    (runs / "metrics.csv").write_text((runs / "metrics.csv").read_text().replace("r3,a,3,3,30,5,7", "r3,a,3,,30,5,7"))
    swarm, notes = config(all=ALL_RUNS).swarm()
    assert swarm.runs == ("r0", "r1", "r2", "r4", "r5")
    assert notes == ("runs that lack a value of a metric are left out, as in Olmix: r3",)


def test_the_runs_that_olmix_draws_are_fitted(config, runs):
    sklearn = pytest.importorskip("sklearn.model_selection")
    for n_test, split, seed in [(0, 4.0, 3), (0, 0.5, 0), (2, 1.0, 1), (2, 3.0, 5), (1, 0.7, 2)]:
        change = (
            "seed: 3, train_split: 64}",
            f"seed: {seed}, train_split: {split}, n_test: {n_test}}}",
        )
        swarm, notes = config(some=change).swarm()
        rows = np.arange(6)
        if n_test:
            rows = sklearn.train_test_split(rows, test_size=n_test / 6, random_state=seed)[0]
        if split != 1.0:
            size = int(split) if split > 1 else split
            if size != len(rows):
                rows = sklearn.train_test_split(rows, train_size=size, random_state=seed)[0]
        assert swarm.runs == tuple(f"r{row}" for row in sorted(rows))
        assert f"{len(rows)} of 6 runs are fitted" in notes[-1]
    with pytest.raises(OlmixConfigError, match=r"train_split is 64, expected a share .* up to 6"):
        config().swarm()


def test_the_files_of_a_swarm_may_lie_in_the_current_folder(config, runs, monkeypatch):
    (runs / "here").mkdir()
    for name in ("ratios.csv", "metrics.csv"):
        (runs / name).rename(runs / "here" / name)
    monkeypatch.chdir(runs / "here")
    found = config(all=ALL_RUNS)
    assert found.swarm()[0].metrics == ("m1", "q1")
    assert "ratios.csv was found in the current folder" in found.notes[0]


SEARCH = {
    "law": ("type: log_linear", "type: search"),
    "how": ("type: exact, kl_reg: 0.05", "type: search"),
    "by": ('{math: "7/10.0", qa: 0.3}', "{}"),
    "all": ALL_RUNS,
}


def test_the_search_takes_the_best_run_within_the_limits(config, runs):
    found = config(**SEARCH)
    assert found.best_run(found.swarm()[0]) == ("r0", 3.0)
    narrow = config(**SEARCH, less=("web: 70_000", "web: 15_000"))
    assert narrow.best_run(narrow.swarm()[0]) == ("r2", 5.0)
    with pytest.raises(OlmixConfigError, match="no run is within the limits"):
        config(**SEARCH, less=("books: 20_000", "books: 2_000")).best_run(found.swarm()[0])


def test_what_olmix_proposes_nothing_for_is_refused(config):
    for change, message in (
        (("kl_reg: 0.05", "kl_reg: 0.05, fit_only: true"), "fit_only is true, so nothing is proposed"),
        (("seed: 3", "seed: 3, n_test: 2"), "n_test is 2, and Olmix proposes nothing"),
    ):
        with pytest.raises(OlmixConfigError, match=message):
            config(change=change).check_proposal()
    config().check_proposal()


def mmlu_runs(folder, leave_out=0):
    """Write two runs with the subjects of MMLU: the value of each is its position, and ten times that."""
    names = sorted(SUBJECTS)[leave_out:]
    (folder / "ratios.csv").write_text("run,code,web,books\na,0.5,0.3,0.2\nb,0.2,0.3,0.5\n")
    rows = [
        ["run", "m1", "m2", "q1", *names],
        ["a", 1, 2, 3, *range(len(names))],
        ["b", 4, 5, 6, *range(0, 10 * len(names), 10)],
    ]
    (folder / "metrics.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    return names


def test_subjects_of_mmlu_become_four_categories(config, tmp_path):
    names = mmlu_runs(tmp_path)
    listed = config(all=ALL_RUNS, tasks=("[q1]", json.dumps(["q1", *names])), by=('{math: "7/10.0", qa: 0.3}', "{}"))
    swarm, notes = listed.swarm()
    assert swarm.metrics == ("m1", "q1", "mmlu_stem", "mmlu_other", "mmlu_social_sciences", "mmlu_humanities")
    assert "became four categories" in notes[0]
    place = {name: index for index, name in enumerate(names)}
    for category, weights in CATEGORIES.items():
        assert sum(weights.values()) == pytest.approx(1.0, abs=1e-12)
        mean = sum(weight * place[name] for name, weight in weights.items())
        assert swarm.values[:, swarm.metrics.index(category)] == pytest.approx([mean, 10 * mean])
    assert listed.objective(swarm.metrics) == pytest.approx(dict.fromkeys(swarm.metrics, 1 / 6))
    # Questions from the test set.
    assert CATEGORIES["mmlu_humanities"]["mmlu_professional_law:rc::olmes"] == pytest.approx(1534 / 4705)
    # Olmix adds them to tasks that do not list them.
    swarm, notes = config(all=ALL_RUNS).swarm()
    assert len(swarm.metrics) == 6
    assert "eval.tasks does not list them" in notes[0]


def test_families_without_their_subjects_of_mmlu(config, tmp_path):
    names = mmlu_runs(tmp_path)
    swarm, notes = config(all=FAMILIES, tasks=("[q1]", json.dumps(["q1", *names]))).swarm()
    assert swarm.values[:, swarm.metrics.index("qa")].tolist() == [3.0, 6.0]
    assert any("57 subjects of MMLU do not count in the family 'qa'" in note for note in notes)
    named, _ = config(all=FAMILIES, tasks=("[q1]", "[q1, mmlu_stem]")).swarm()
    stem = sum(weight * names.index(name) for name, weight in CATEGORIES["mmlu_stem"].items())
    assert named.values[:, 1] == pytest.approx([(3 + stem) / 2, (6 + 10 * stem) / 2])
    with pytest.raises(OlmixConfigError, match=r"'qa' of eval.tasks has only subjects of MMLU"):
        config(all=FAMILIES, tasks=("[q1]", json.dumps(names))).swarm()


def test_mmlu_without_all_its_subjects_is_refused(config, tmp_path):
    mmlu_runs(tmp_path, leave_out=2)
    with pytest.raises(
        OlmixConfigError, match=r"55 of the 57 columns of MMLU.*missing: mmlu_abstract_algebra:rc::olmes"
    ):
        config(all=ALL_RUNS).swarm()
    mmlu_runs(tmp_path)
    with pytest.raises(OlmixConfigError, match="lists mmlu_stem, which Olmix computes from the 57 subjects"):
        config(all=ALL_RUNS, tasks=("[q1]", "[q1, mmlu_stem]")).swarm()


def test_categories_of_mmlu_that_a_law_lacks_are_missed_unless_dropped(config):
    listed = ("[q1]", json.dumps(["q1", *sorted(SUBJECTS)]))
    some = ["m1", "q1", "mmlu_other", "mmlu_social_sciences", "mmlu_humanities"]
    even = ('{math: "7/10.0", qa: 0.3}', "{}")
    dropped = config(tasks=listed, by=even, drop=("[m2, absent]", "[m2, mmlu_stem]"))
    assert dropped.objective(some) == pytest.approx(dict.fromkeys(some, 0.2))
    with pytest.raises(AlignmentError, match="the configuration counts mmlu_stem, which is not among"):
        config(tasks=listed, by=even).objective(some)
    # Columns that no task lists count only if Olmix creates them.
    assert set(config(by=even).objective([*some, "other"])) == {"m1", "q1"}


def test_a_law_of_single_subjects_is_not_taken_for_one_of_categories(config):
    with pytest.raises(AlignmentError, match="fit with --olmix-config"):
        config().objective(["m1", "q1", *sorted(SUBJECTS)])


def test_what_contradicts_itself_is_said(config):
    note = config(sum=("web: 0.7,", "web: 0.63,")).notes
    assert "relative_sizes sum to 0.93" in note[0]
    assert "differ from the shares of token_counts" in note[1]
    outside = config(a=("  token_counts:\n", "token_counts:\n"), b=("  relative", "  relative"))
    assert outside.notes == ("token_counts is outside priors and was read as part of it",)
    assert outside.token_counts == config().token_counts


def test_temperature_is_a_power_of_the_prior_that_a_simulation_draws_around(config):
    warm = ("temperature: null", "temperature: 0.5")
    found = config(warm=warm, how=("type: exact, kl_reg: 0.05", "type: simulation"))
    powers = np.sqrt([0.7, 0.1, 0.2])
    np.testing.assert_allclose(found.region(["web", "code", "books"]).prior, powers / powers.sum(), rtol=1e-12)
    assert "temperature is 0.5: the simulation samples around" in found.notes[0]
    exact = config(warm=warm)
    np.testing.assert_allclose(exact.region(["web", "code", "books"]).prior, [0.7, 0.1, 0.2], rtol=1e-12)
    assert "which only proposer.type 'simulation' uses" in exact.notes[0]


def test_families_need_tasks(tmp_path):
    (tmp_path / "fit.yaml").write_text(
        "swarm: {ratios: r.csv, metrics: m.csv}\npriors: {relative_sizes: {a: 1, b: 1}}\nregression: {aggregate_task_families: true}\n"
    )
    with pytest.raises(OlmixConfigError, match=r"aggregate_task_families needs the families of eval.tasks"):
        olmix_config(tmp_path / "fit.yaml")


def test_tokens_repeat_four_times_where_the_file_names_no_limit(config):
    assert config(no=(", repetition_factor: 4.0", "")).max_epochs == 4.0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kl_reg", "kl_ref", r"proposer has the unknown key 'kl_ref' \(did you mean 'kl_reg'\?\)"),
        ("swarm:", "swarms:", r"unknown key 'swarms' \(did you mean 'swarm'"),
        ("  ratios: ratios.csv\n", "", r"swarm\.ratios must be the path of a file, got None"),
        ("temperature: null", "make_worst_mix: true", r"proposer\.make_worst_mix = true is not supported"),
        ("type: exact", "type: simulation", r"kl_reg = 0\.05 needs proposer\.type 'exact', got 'simulation'"),
        ("type: exact, kl_reg: 0.05", "type: search", "the search for the best run requires both to be 'search'"),
        ("type: log_linear", "type: search", "the search for the best run requires both to be 'search'"),
        ("train_split: 64", "train_split: [64, 32]", "train_split must be one number"),
        ("web: 70_000", "web: 70_000.5", r"token_counts\.web must be a whole number"),
        ("web: 70_000", "web: 1\n    web: 2", "'web' is given twice"),
        ("web: 70_000", "wiki: 70_000", "relative_sizes and token_counts name different domains"),
        ("web: 0.7", "web: -0.7", r"relative_sizes\.web must be a number of at least 0"),
        ("7/10.0", "7/0", r"obj_weights\.math must be a number"),
        ("target_tokens: 100_000", "target_tokens: null", "target_tokens is missing"),
        ("enabled: true", "enabled: maybe", "must be true or false, got 'maybe'"),
        ("[m1, m2]", "m1", r"eval\.tasks\.math must be a list"),
        ("priors:", "priors: [", "is not YAML"),
    ],
)
def test_bad_configurations_are_refused_with_a_reason(config, old, new, message):
    with pytest.raises((OlmixConfigError, AlignmentError), match=message):
        config(change=(old, new))


def test_the_case_study(shared_data, tmp_path):
    fits = json.loads((shared_data / "olmix" / "case_study.json").read_text())["fits"]
    assert len(fits) > 5
    for fit in fits.values():
        document = {
            "swarm": {"ratios": "r.csv", "metrics": "m.csv"},
            "priors": {"relative_sizes": fit["relative_sizes"], "token_counts": fit["token_counts"]},
            "filtering": {"obj_weights": fit["obj_weights"]},
            **{key: fit[key] for key in ("regression", "proposer", "constraints")},
        }
        if fit["regression"]["aggregate_task_families"]:
            document["eval"] = {"tasks": {"math": ["gsm8k"], "code": ["mbpp"], "qa": ["arc"]}}
        (tmp_path / "fit.yaml").write_text(yaml.safe_dump(document))
        found = olmix_config(tmp_path / "fit.yaml")
        domains = sorted(found.prior, reverse=True)
        region = found.region(domains)
        assert region.prior.sum() == pytest.approx(1.0)
        if found.target_tokens is not None:
            tokens = np.array([found.token_counts[name] for name in domains])
            expected = np.minimum(found.max_epochs * tokens / found.target_tokens, 1.0)
            np.testing.assert_allclose(region.cap, expected, rtol=1e-12)
        assert found.kl is None or found.kl > 0.0


def test_names_that_tell_another_unit_keep_it(tmp_path):
    (tmp_path / "ratios.csv").write_text("run,a,b\n1,0.5,0.5\n2,0.2,0.8\n")
    (tmp_path / "metrics.csv").write_text("run,arc,c4_nats_per_byte\n1,1,2\n2,3,4\n")
    (tmp_path / "fit.yaml").write_text(
        "swarm: {ratios: ratios.csv, metrics: metrics.csv}\npriors: {relative_sizes: {a: 1, b: 1}}\n"
    )
    assert olmix_config(tmp_path / "fit.yaml").swarm()[0].unit == ("bits_per_byte", "nats_per_byte")
