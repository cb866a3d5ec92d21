"""The explorer of a table of experts: its losses are those of all rows, or as far from them as the page says."""

import json
import re
import shlex
from pathlib import Path

import browsing
import numpy as np
import pytest
from browsing import cells, settled

import mixfast
from mixfast import ExpertTable, report
from mixfast.report import _explorer_script as script
from mixfast.report import _table_model as made
from mixfast.solver import group_losses

browser = browsing.browser

DOMAINS = ["web", "code", "books", "wiki", "maths"]
TOKENS = Path(__file__).resolve().parents[3] / "shared/data/tables/token"


def loglik(rows, width, seed=0, dtype=np.float32):
    """Return log-likelihoods of experts that share much and differ by a few nats, as those of tokens do."""
    rng = np.random.default_rng(seed)
    apart = rng.normal(size=(rows, 4)) @ rng.normal(size=(4, width)) + 0.5 * rng.standard_t(5, size=(rows, width))
    return (-rng.gamma(1.2, 2.0, size=(rows, 1)) - np.abs(apart)).astype(dtype)


def allowed(where, count=200, seed=1):
    """Return allowed mixtures, many of few domains."""
    rng = np.random.default_rng(seed)
    drawn = np.vstack([rng.dirichlet(np.full(where.n_domains, a), count // 2) for a in (0.1, 1.0)])
    return np.array([where.project(one) for one in drawn])


def whole_and_groups(table, mixtures):
    losses = group_losses(table, mixtures)
    return losses if len(losses) == 1 else np.vstack([losses.mean(axis=0), losses])


@pytest.fixture(scope="module")
def model(browser):
    tab = browser.new_page()
    modules = script.MODULES[: script.MODULES.index("model") + 1]
    tab.set_content(f"<script>{script.script(modules)};globalThis.explorer = {{ Model }}</script>")
    return tab


def evaluated(tab, data, mixtures):
    """Return the losses (metrics, M) of the page, and the slopes of the first."""
    call = """([data, rows]) => {
        const model = new explorer.Model(data);
        return rows.map((row) => [model.values(row), model.slopes(0, row)]);
    }"""
    found = tab.evaluate(call, [json.loads(json.dumps(data, allow_nan=False)), mixtures.tolist()])
    return np.array([one for one, _ in found]).T, np.array([two for _, two in found])


def weighted(table):
    return ExpertTable.from_loglik(
        table,
        domains=DOMAINS,
        weight=np.random.default_rng(2).gamma(2.0, size=len(table)),
        group=np.arange(len(table)) // 70,
    )


WHOLE = {
    "float32": lambda: ExpertTable.from_loglik(loglik(500, 5), domains=DOMAINS),
    "float64": lambda: ExpertTable.from_loglik(1000.0 * loglik(80, 5, dtype=np.float64), domains=DOMAINS),
    "float16": lambda: ExpertTable.from_loglik(loglik(500, 5, dtype=np.float16), domains=DOMAINS),
    "lengths": lambda: ExpertTable.from_loglik(loglik(90, 5), domains=DOMAINS, length=np.arange(1, 91)),
    "weights and groups": lambda: weighted(loglik(300, 5)),
    "one row": lambda: ExpertTable.from_loglik(loglik(1, 5), domains=DOMAINS),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_small_table_is_in_the_page_as_it_is(model, name):
    table = WHOLE[name]()
    where = mixfast.Region(DOMAINS, cap={"web": 0.6}, floor={"code": 0.02})
    found = made.table_model(table, where, [])
    assert (found.rows, found.error, found.mixtures) == (table.n_rows, 0.0, 0)
    mixtures = np.vstack([allowed(where), np.eye(5)])
    losses, _ = evaluated(model, found.data, mixtures)
    np.testing.assert_allclose(losses, whole_and_groups(table, mixtures), rtol=1e-11, atol=1e-12)


def test_probabilities_of_zero_give_the_losses_of_the_library(model):
    values = loglik(400, 5)
    values[np.random.default_rng(3).random(values.shape) < 0.2] = -np.inf
    values[:, 4] = np.where(np.isfinite(values[:, 4]), values[:, 4], -3.0)
    table = ExpertTable.from_loglik(values, domains=DOMAINS)
    where = mixfast.Region(DOMAINS, floor={"maths": 0.01})
    mixtures = allowed(where)
    losses, _ = evaluated(model, made.table_model(table, where, []).data, mixtures)
    np.testing.assert_allclose(losses, whole_and_groups(table, mixtures), rtol=1e-11)
    assert np.isinf(group_losses(table, np.eye(5))[0, 0])


def test_tables_of_predictions_are_exact(model):
    rng = np.random.default_rng(4)
    target = 100.0 + rng.normal(size=300)
    table = ExpertTable.from_predictions(
        target[:, None] + rng.normal(size=(300, 5)), target, domains=DOMAINS, group=np.arange(300) // 100
    )
    where = mixfast.Region(DOMAINS, cap=0.5)
    mixtures = allowed(where)
    found = made.table_model(table, where, [])
    losses, slopes = evaluated(model, found.data, mixtures)
    np.testing.assert_allclose(losses, whole_and_groups(table, mixtures), rtol=1e-11)
    steps = np.array([mixtures[0] + 1e-6 * (corner - mixtures[0]) for corner in np.eye(5)])
    ahead = group_losses(table, steps).mean(axis=0) - group_losses(table, mixtures[:1]).mean(axis=0)
    np.testing.assert_allclose(slopes[0], ahead / 1e-6, atol=1e-4)
    assert "all 300 rows" in found.words()


@pytest.mark.parametrize("objective", [None, "worst", {"group_1": 3.0, "group_2": 1.0}])
def test_the_whole_target_is_the_objective(model, objective):
    table = ExpertTable.from_loglik(loglik(300, 5), domains=DOMAINS, group=np.arange(300) // 100)
    where = mixfast.Region(DOMAINS)
    mixtures = allowed(where)
    losses, slopes = evaluated(model, made.table_model(table, where, [], objective).data, mixtures)
    expected = mixfast.solver.losses(table, mixtures, objective=objective)
    np.testing.assert_allclose(losses[0], expected, rtol=1e-11)
    steps = np.array([mixtures[-1] + 1e-6 * (corner - mixtures[-1]) for corner in np.eye(5)])
    ahead = mixfast.solver.losses(table, steps, objective=objective) - expected[-1]
    np.testing.assert_allclose(slopes[-1], ahead / 1e-6, atol=1e-4)


def test_a_small_folder_is_in_the_page_as_it_is(model, tmp_path):
    for part in range(3):
        np.save(tmp_path / f"part-{part}.npy", loglik(300, 4, seed=part))
    table = ExpertTable.load(tmp_path)
    found = made.table_model(table, mixfast.Region(table.domains), [])
    assert (found.rows, found.mixtures) == (900, 0)
    mixtures = allowed(mixfast.Region(table.domains))
    losses, _ = evaluated(model, found.data, mixtures)
    np.testing.assert_allclose(losses, group_losses(table, mixtures), rtol=1e-11)


def test_sequences_in_float64_are_rounded_to_float32_before_rows_are_left_out(model):
    values = 255.0 * loglik(40_000, 5, dtype=np.float64)
    table = ExpertTable.from_loglik(values, domains=DOMAINS, length=np.full(40_000, 255))
    where = mixfast.Region(DOMAINS)
    found = made.table_model(table, where, [])
    assert found.rows == table.n_rows
    assert 0.0 < found.error < 1e-6
    assert found.words().endswith("the largest difference was less than 0.000001 nats.")
    mixtures = allowed(where)
    losses, _ = evaluated(model, found.data, mixtures)
    np.testing.assert_allclose(losses, group_losses(table, mixtures), rtol=0.0, atol=2.0 * found.error)


def sampled(table, where, model, bound):
    found = made.table_model(table, where, [np.array(where.prior)])
    assert found.rows < table.n_rows
    assert found.error < bound
    mixtures = np.vstack([allowed(where, seed=11), where.prior])
    losses, _ = evaluated(model, found.data, mixtures)
    expected = whole_and_groups(table, mixtures)
    # The error that is stated is the largest at 512 mixtures; at others it is of that size.
    assert np.abs(losses - expected)[:, :-1].max() < 2.0 * found.error
    assert np.abs(losses - expected).max() < 1e-3
    assert np.abs(losses - expected)[:, -1].max() < 2e-4
    return found, losses, mixtures


def test_a_large_table_is_sampled_within_the_error_that_the_page_states(model):
    table = ExpertTable.from_loglik(loglik(400_000, 5), domains=DOMAINS)
    where = mixfast.Region(DOMAINS, cap=0.7)
    found, losses, mixtures = sampled(table, where, model, 1e-3)
    np.testing.assert_allclose(losses[0], sample_losses(found, mixtures), rtol=0.0, atol=1e-9)
    again = made.table_model(table, where, [np.array(where.prior)])
    assert json.dumps(again.data) == json.dumps(found.data)


def test_rows_of_half_a_byte_for_each_value_are_more_and_nearer(model, monkeypatch):
    rng = np.random.default_rng(3)
    values = rng.normal(-5.0, 1.0, size=(60_001, 15)).astype(np.float32)
    values[7, 0] = -np.inf
    table = ExpertTable.from_loglik(values)
    where = mixfast.Region(table.domains)
    monkeypatch.setattr(made, "_ROOM", 144_010)
    monkeypatch.setattr(made, "_ENOUGH", 0.0)
    found = made.table_model(table, where, [])
    monkeypatch.setattr(made, "_BITS", (8,))
    bytewise = made.table_model(table, where, [])
    assert (found.data["laws"][0]["bits"], bytewise.data["laws"][0]["bits"]) == (4, 8)
    assert found.rows % 2 == 1
    assert found.rows > 1.5 * bytewise.rows
    assert found.error < 0.8 * bytewise.error
    mixtures = np.vstack([rng.dirichlet(np.full(15, 0.3), 100), np.eye(15)[:1]])
    losses, _ = evaluated(model, found.data, mixtures)
    np.testing.assert_allclose(losses[0], sample_losses(found, mixtures), rtol=0.0, atol=1e-9)
    assert np.isinf(losses[0, -1])


def sample_losses(found, mixtures):
    """Compute the losses of the sample from the data of the page, by the library's sweep of its rows."""
    part = found.data["laws"][0]
    codes = made_array(part["values"], np.uint8)
    if part["bits"] == 4:
        codes = np.column_stack([codes & 15, codes >> 4]).ravel()
    width = len(found.data["domains"])
    codes = codes[: found.rows * width].reshape(found.rows, width)
    depth = made_array(part["depths"], "<f8")[codes]
    table = ExpertTable.from_loglik(-depth, weight=made_array(part["weight"], "<f4").astype(float))
    return made_array(part["constant"], "<f8") + group_losses(table, mixtures)[0]


def made_array(packed, dtype):
    import base64

    return np.frombuffer(base64.b64decode(next(iter(packed.values()))), dtype=dtype)


def test_groups_of_a_folder_are_sampled_block_by_block(model, tmp_path):
    rng = np.random.default_rng(5)
    for part in range(3):
        np.savez(
            tmp_path / f"part-{part}.npz", loglik=loglik(150_000, 4, seed=part), domains=np.array(DOMAINS[:4]),
            group=rng.integers(0, 2, 150_000), group_names=np.array(["news", "law"]),
        )  # fmt: skip
    table = ExpertTable.load(tmp_path)
    found, _, _ = sampled(table, mixfast.Region(DOMAINS[:4]), model, 1e-3)
    assert [one["name"] for one in found.data["metrics"]] == ["whole target", "news", "law"]


def test_a_domain_without_some_rows_is_infinite_in_a_sample_too(model):
    values = loglik(400_000, 5)
    values[7, 2] = -np.inf
    table = ExpertTable.from_loglik(values, domains=DOMAINS)
    found = made.table_model(table, mixfast.Region(DOMAINS), [])
    assert found.rows < table.n_rows
    losses, _ = evaluated(model, found.data, np.eye(5))
    assert np.isinf(losses[0]).tolist() == [False, False, True, False, False]


@pytest.mark.skipif(not TOKENS.is_dir(), reason="needs shared/data/tables, which is not part of the repository")
def test_a_table_of_real_experts(model):
    table = ExpertTable.load(TOKENS / "val_code_python.npz")
    where = mixfast.Region(table.domains)
    found = made.table_model(table, where, [])
    assert found.error < 1e-3
    mixtures = allowed(where, seed=21)
    losses, _ = evaluated(model, found.data, mixtures)
    assert np.abs(losses - group_losses(table, mixtures)).max() < 1e-3


@pytest.mark.skipif(not TOKENS.is_dir(), reason="needs shared/data/tables, which is not part of the repository")
def test_real_groups_have_few_rows_each_and_an_error_that_is_stated():
    parts = [ExpertTable.load(path) for path in sorted(TOKENS.glob("val_*.npz"))]
    values = np.vstack([one.loglik for one in parts])
    group = np.repeat(np.arange(len(parts)), [one.n_rows for one in parts])
    table = ExpertTable.from_loglik(values, domains=parts[0].domains, group=group)
    found = made.table_model(table, mixfast.Region(table.domains), [])
    assert found.rows < 0.1 * table.n_rows
    assert found.error < 0.01


# The page.


def test_the_page_of_a_table_says_nothing_of_runs_and_intervals(browser, tmp_path):
    names = ["<script>alert(1)</script>", "b & c", "a: b # c"]
    values = loglik(300, 5)
    table = ExpertTable.from_loglik(values, domains=DOMAINS, group=np.arange(300) // 100, group_names=names)
    where = mixfast.Region(DOMAINS, cap=0.5)
    best = mixfast.solve(table, where)
    page = report.explore(table, where, {"today": mixfast.Mixture(DOMAINS, np.full(5, 0.2))}, optimum=best)
    page.save(tmp_path / "page.html")
    tab = browsing.opened(browser, tmp_path / "page.html")
    assert tab.locator("header p").inner_text() == "5 domains · 4 metrics · losses in nats per row"
    assert tab.get_by_text("which solve minimises, in nats per row").count() == 1
    # A list of one section is left out.
    assert tab.locator("nav").count() == 0
    assert tab.locator(".predictions tbody th").all_inner_texts() == ["whole target", *names]
    assert "interval" not in " ".join(tab.get_by_role("columnheader").all_inner_texts())
    assert tab.get_by_role("columnheader", name="± 90 %").count() == 0
    assert not tab.get_by_text(re.compile("nearest run|in some run|any run")).first.is_visible()
    assert tab.get_by_text("The page evaluates all 300 rows of the table.").count() == 1
    assert float(cells(tab, "whole target")[2]) == pytest.approx(best.value, rel=1e-4)
    # A drag moves the loss of a group and stays within the limits.
    tab.get_by_role("button", name="Go to today").click()
    settled(tab)
    before = float(cells(tab, names[1])[2])
    goal = tab.get_by_label(re.compile(f"Goal for {re.escape(names[1])}"))
    goal.evaluate(
        "(one) => { one.value -= 6; one.dispatchEvent(new Event('input')); one.dispatchEvent(new Event('change')); }"
    )
    settled(tab)
    assert float(cells(tab, names[1])[2]) < before
    assert tab.get_by_text("Allowed: no limit is broken.").count() == 1
    assert tab.trouble == []
    tab.close()


def test_runs_and_objectives_belong_to_one_kind_of_model(tmp_path):
    table = ExpertTable.from_loglik(loglik(50, 5), domains=DOMAINS)
    rng = np.random.default_rng(6)
    swarm = mixfast.Swarm(rng.dirichlet(np.ones(5), 20), rng.random((20, 1)), domains=DOMAINS, metric_names=["a_loss"])
    with pytest.raises(ValueError, match="swarm holds the runs of a law"):
        report.explore(table, swarm=swarm)
    with pytest.raises(ValueError, match="objective chooses groups of a table"):
        report.explore(mixfast.fit(swarm, "linear", folds=0), objective="worst")


@pytest.mark.filterwarnings("ignore:.* rows and .* domains")
def test_too_many_domains_for_sliders_are_refused_and_a_report_says_why():
    table = ExpertTable.from_loglik(loglik(3, 2001))
    with pytest.raises(ValueError, match=r"a slider for each domain, of at most 2000, got 2001: put domains together"):
        report.explore(table)
    assert "of at most 2000, got 2001" in report.page(table).missing["Try a mixture"]


# The command.


def test_the_command_takes_a_table(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ExpertTable.from_loglik(loglik(300, 5), domains=DOMAINS, group=np.arange(300) // 100).save("table.npz")
    Path("today.yaml").write_text("web: 0.5\ncode: 0.5\n")
    status, out, err = run(
        "explore", "table.npz", "--mixture", "today.yaml", "--cap", "0.5", "--objective", "group_1", "--json"
    )
    assert status == 0, err
    answer = json.loads(out)
    assert (answer["mixtures"], answer["optimum"], answer["status"]) == (["today.yaml"], True, "optimal")
    assert "whole target" in Path("explore.html").read_text()


def test_options_of_folders_are_refused_for_laws(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(6)
    swarm = mixfast.Swarm(rng.dirichlet(np.ones(5), 20), rng.random((20, 1)), domains=DOMAINS, metric_names=["a_loss"])
    mixfast.fit(swarm, "linear", folds=0).save("law.json")
    status, _, err = run("explore", "law.json", "--conditional")
    assert status == 2
    assert "--conditional" in err


def test_the_command_of_a_goal_finds_the_mixture_of_the_drag(browser, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = ExpertTable.from_loglik(loglik(3000, 5), domains=DOMAINS, group=np.arange(3000) // 1000)
    table.save("table.npz")
    start = dict(zip(DOMAINS, [0.3, 0.3, 0.2, 0.1, 0.1], strict=True))
    mixfast.Mixture(start).save("today.yaml")
    assert run("explore", "table.npz", "--mixture", "today.yaml", "--cap", "0.6")[0] == 0
    tab = browsing.opened(browser, tmp_path / "explore.html")
    tab.get_by_role("button", name="Go to today.yaml").click()
    goal = tab.get_by_label("Goal for group_1, lower is better")
    goal.evaluate(
        "(one) => { one.value -= 15; one.dispatchEvent(new Event('input')); one.dispatchEvent(new Event('change')); }"
    )
    settled(tab)
    lines = tab.locator("pre code").inner_text().splitlines()
    near = "\n".join(line.removeprefix("# ") for line in lines[1:-1]) + "\n"
    Path("near.yaml").write_text(near)
    words = shlex.split(lines[-1])
    assert words[:5] == ["mixfast", "solve", "table.npz", "--cap", "0.6"]
    status, _, err = run(*words[1:], "--no-intervals", "--no-ranges", "--out", "best.yaml")
    assert status == 0, err
    tab.get_by_role("button", name="Copy as json").click()
    page = json.loads(tab.get_by_label("The mixture as text").input_value())
    assert page != pytest.approx(start, abs=0.02)
    best = mixfast.Mixture.load("best.yaml").as_dict()
    assert best == pytest.approx(page, abs=2e-2)
    # The drag is of first order: for its loss, the answer of the command has no larger change.
    before, dragged, exact = (
        mixfast.solver.losses(table, [mixture[name] for name in DOMAINS], objective="group_1")[0]
        for mixture in (start, page, best)
    )
    assert before - exact == pytest.approx(before - dragged, rel=0.05)
    changes = [sum(mixture[name] * np.log(mixture[name] / start[name]) for name in DOMAINS) for mixture in (page, best)]
    kl = float(words[words.index("--kl") + 1])
    assert exact + kl * changes[1] <= dragged + kl * changes[0] + 1e-9
    # A loss that rises has no command.
    goal.evaluate(
        "(one) => { one.value = 400; one.dispatchEvent(new Event('input')); one.dispatchEvent(new Event('change')); }"
    )
    settled(tab)
    assert not tab.locator("pre code").is_visible()
    assert tab.trouble == []
    tab.close()
