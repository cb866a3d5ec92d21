"""mixfast design | next: limits and runs in, mixtures to train out."""

import csv
import io

import numpy as np
import pytest
from makers import losses

from mixfast import Region, Swarm, designs, fit
from mixfast.designs import Design, Olmix, RegMix
from mixfast.swarm import SwarmError

pytest.importorskip("numba")

DOMAINS = ("web", "code", "books")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("design")
    (path / "counts.yaml").write_text("web: 9B\ncode: 2B\nbooks: 1B\n")
    (path / "groups.yaml").write_text("# kept\nold:\n  web: 0.7\n  books: 30%\n")
    (path / "groups.json").write_text('{"old": {"web": 0.7, "books": 0.3}}')
    ratios = np.random.default_rng(0).dirichlet(np.ones(3), 30)
    runs = Swarm(ratios, losses(DOMAINS, ratios, noise=0.003), domains=DOMAINS, metric_names=["web_loss", "code_loss"])
    runs.to_csv(path / "ratios.csv", path / "metrics.csv")
    fit(runs, "log_linear").save(path / "law.json")
    return path


@pytest.fixture(autouse=True)
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)


def read(text):
    header, *rows = csv.reader(io.StringIO(text))
    return header, np.array([row[1:] for row in rows], dtype=float)


def test_the_file_holds_the_bits_of_the_library(run, folder):
    status, out, err = run("design", "--tokens", "counts.yaml", "--budget", "10B", "--seed", 3, "--out", "out.csv")
    assert (status, err) == (0, "")
    region = Region.from_tokens({"web": 9 * 10**9, "code": 2 * 10**9, "books": 10**9}, 10**10)
    expected = designs.design(region, seed=3)
    found = Design.from_csv(folder / "out.csv")
    assert (found.runs, found.domains) == (expected.runs, expected.domains)
    assert np.array_equal(found.ratios, expected.ratios)
    assert "12 runs of 3 domains, cover" in out
    assert "advised: 12 runs, 3 for each of the 4 numbers" in out
    assert not list(folder.glob(".*"))


def test_stdout_is_csv_and_nothing_else(run):
    status, out, err = run("design", "--domains", "web, code,books", "--runs", 5, "--cap", "books=10%")
    assert status == 0
    header, rows = read(out)
    assert header == ["run", *DOMAINS]
    assert rows.shape == (5, 3)
    assert rows[:, 2].max() <= 0.1
    assert "5 are fewer than that" in err


@pytest.mark.parametrize(
    ("options", "method"),
    [
        (["regmix"], "regmix"),
        (
            ["regmix", "--strength", "1..2", "--minimum", "1e-3", "--temperature", "0.7"],
            RegMix(strength=(1, 2), minimum=1e-3, temper=0.7),
        ),
        (["olmix"], "olmix"),
        (
            ["olmix", "--strength", "1..20", "--minimum", "1e-4", "--nonzero", "web", "--proxy-tokens", "1M"],
            Olmix(strength=(1, 20), minimum=1e-4, nonzero=("web",), proxy_tokens=10**6),
        ),
    ],
)
def test_the_samplers_of_the_papers_and_their_settings(run, options, method):
    status, out, _ = run("design", "--tokens", "counts.yaml", "--budget", "3B", "--runs", 6, "--method", *options)
    assert status == 0
    region = Region.from_tokens({"web": 9 * 10**9, "code": 2 * 10**9, "books": 10**9}, 3 * 10**9)
    assert np.array_equal(read(out)[1], designs.design(region, 6, seed=0, method=method).ratios)


@pytest.mark.parametrize("groups", ["groups.yaml", "groups.json"])
def test_frozen_groups_count_once_and_keep_their_ratios(run, groups):
    status, out, err = run("design", "--domains", "web,code,books", "--frozen", groups)
    assert status == 0
    rows = read(out)[1]
    assert len(rows) == 9
    assert rows[:, 0] / rows[:, 2] == pytest.approx(7 / 3)
    assert "of the 3 numbers" in err


def test_runs_are_added_to_those_there_are(run):
    status, out, err = run("design", "--extend", "ratios.csv", "--runs", 4)
    assert status == 0
    assert [line.split(",")[0] for line in out.splitlines()] == ["run", "30", "31", "32", "33"]
    assert "the 30 runs that exist are as many as are advised" in err
    status, out, _ = run("design", "--extend", "ratios.csv", "--runs", 4, "--domains", "web,code,books,new")
    assert read(out)[1][:, 3].max() > 0.5


def test_next_fits_or_takes_a_law(run, folder):
    status, out, err = run("next", "ratios.csv", "metrics.csv", "law.json", "--runs", 3, "--out", "next.csv")
    assert (status, err) == (0, "")
    assert "nats of information on the coefficients" in out
    given = (folder / "next.csv").read_text()
    assert given.splitlines()[1].startswith("30,")
    _, out, _ = run("next", "ratios.csv", "metrics.csv", "--law", "log_linear", "--runs", 3)
    assert out == given
    law = fit(Swarm.from_csv(folder / "ratios.csv", folder / "metrics.csv"), "log_linear")
    swarm = Swarm.from_csv(folder / "ratios.csv", folder / "metrics.csv")
    assert np.array_equal(read(out)[1], designs.next_runs(swarm, law, Region(DOMAINS), 3).design.ratios)


def test_next_takes_directions_where_it_fits(run):
    fitted = ("next", "ratios.csv", "metrics.csv", "--law", "linear", "--runs", 2, "--way", "improvement")
    less, more = run(*fitted), run(*fitted, "--more-is-better", "*")
    assert (less[0], more[0]) == (0, 0)
    assert less[1] != more[1]
    status, _, err = run("next", "ratios.csv", "metrics.csv", "law.json", "--runs", 2, "--less-is-better", "*")
    assert status == 2
    assert "law.json has its directions" in err


def test_next_keeps_limits_objectives_and_pools(run):
    status, out, err = run(
        "next", "ratios.csv", "metrics.csv", "law.json", "--runs", 2, "--cap", "web=20%", "--objective", "web_loss",
        "--way", "improvement",
    )  # fmt: skip
    assert status == 0
    assert read(out)[1][:, 0].max() <= 0.2 + 1e-12
    assert "expected improvement" in err
    run("design", "--domains", "web,code,books", "--runs", 9, "--seed", 5, "--out", "pool.csv")
    status, out, _ = run("next", "ratios.csv", "metrics.csv", "law.json", "--runs", 2, "--among", "pool.csv")
    pool = {tuple(row) for row in Design.from_csv("pool.csv").ratios.round(12).tolist()}
    assert {tuple(row) for row in read(out)[1].round(12).tolist()} <= pool


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("design",), "which domains?"),
        (("design", "--domains", "a,b", "--runs", "0"), "runs must be a whole number of at least 1"),
        (("design", "--domains", "a,b", "--strength", "1..2"), "--strength is no setting of --method cover"),
        (("design", "--domains", "a,b", "--method", "regmix", "--nonzero", "a"), "--nonzero is no setting"),
        (("design", "--domains", "a,b", "--method", "olmix", "--strength", "1"), "is no span"),
        (("design", "--domains", "web,code", "--tokens", "counts.yaml", "--budget", "1B"), "books"),
        (("design", "--tokens", "counts.yaml"), "--tokens needs --budget"),
        (("design", "--domains", "a,b", "--frozen", "counts.yaml"), "expected groups of shares: a line 'group:'"),
        (("design", "--domains", "a,b", "--frozen", "groups.yaml"), "does not have"),
        (("design", "--extend", "ratios.csv"), "--extend needs --runs"),
        (("design", "--extend", "ratios.csv", "--runs", "2", "--method", "olmix"), "use cover"),
        (("design", "--extend", "counts.yaml", "--runs", "2"), "counts.yaml"),
        (("design", "--domains", "a,b", "--out", "nowhere/r.csv"), "there is no folder nowhere"),
        (("design", "--domains", "a,b", "--cap", "0.3"), "caps sum to 0.6"),
        (("next", "ratios.csv", "metrics.csv", "law.json", "--runs", "2", "--law", "gp"), "leave out one"),
        (("next", "ratios.csv", "metrics.csv", "law.json", "--runs", "2", "--objective", "speed"), "speed"),
        (
            ("next", "ratios.csv", "metrics.csv", "law.json", "--runs", "0"),
            "--runs must be a whole number of at least 1, got 0",
        ),
        (("next", "ratios.csv", "metrics.csv", "law.json", "--runs", "2", "--among", "ratios.csv"), "not yet trained"),
    ],
)
def test_refusals_are_one_line(run, arguments, said):
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("mixfast: error: ")
    assert err.count("\n") == 1
    assert said in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("old:\n  web: 1\n  web: 2\n", "line 3: 'web' is given twice"),
        ("  web: 1\n", "expected groups"),
        ("old: 1\n", "expected groups"),
        ("old:\n  web: much\n", "web: 'much' is no number"),
        ("", "it is empty"),
        ("old:\n  - web\n", "expected groups"),
    ],
)
def test_files_of_groups_are_read_strictly(run, folder, text, said):
    (folder / "bad.yaml").write_text(text)
    status, _, err = run("design", "--domains", "web,code", "--frozen", "bad.yaml")
    assert status == 2
    assert "bad.yaml" in err
    assert said in err


def test_mixtures_are_read_as_strictly_as_swarms(folder):
    (folder / "bad.csv").write_text("web,code\n0.5,0.5\n")
    with pytest.raises(SwarmError, match="needs a column with the ids"):
        Design.from_csv(folder / "bad.csv")
    (folder / "bad.csv").write_text("run,web,code\na,0.5,0.7\n")
    with pytest.raises(SwarmError, match=r"'a' sums to 1\.2"):
        Design.from_csv(folder / "bad.csv")
    (folder / "bad.csv").write_text("run,step\na,1\n")
    with pytest.raises(SwarmError, match="no column for domains"):
        Design.from_csv(folder / "bad.csv")


def test_draws_choose_the_next_runs(run):
    status, out, err = run("next", "ratios.csv", "metrics.csv", "law.json", "--runs", 3, "--way", "thompson")
    assert status == 0
    assert len(read(out)[1]) == 3
    assert "expected improvement" in err


@pytest.mark.parametrize("domains", ["a", "a,b,c"])
def test_limits_that_leave_one_mixture_are_told(run, domains):
    status, _, err = run("design", "--domains", domains, "--cap", 1 / len(domains.split(",")), "--runs", 4)
    assert status == 0
    assert "only 1 of these mixtures differ" in err
    assert "differ" not in run("design", "--domains", "a,b,c", "--runs", 4)[2]


def test_settings_out_of_range_say_the_range(run):
    _, _, err = run("design", "--domains", "a,b", "--method", "regmix", "--temperature", 3)
    assert "temperature" in err
    assert "3.0, expected above 0 and at most 1" in err
    _, _, err = run("design", "--domains", "a,b", "--method", "olmix", "--minimum", 2)
    assert "minimum" in err
    assert "2.0, expected a share above 0 and below 1" in err
