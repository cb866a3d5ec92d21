"""mixfast design | next: limits and runs as input, mixtures to train as output."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from makers import losses

from mixfast import Region, Swarm, designs, fit
from mixfast.designs import Design, Olmix, RegMix
from mixfast.readers import olmix_generate
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
    assert "advised: 12 runs, 3 for each of the 4 coefficients" in out
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


def test_every_setting_of_regmix_has_an_option(run, folder):
    (folder / "counts.yaml").write_text("web: 9B\ncode: 2B\nbooks: 1B\n")
    _, out, _ = run(
        "design", "--tokens", "counts.yaml", "--budget", "3B", "--runs", 6, "--method", "regmix", "--usage", 1.5
    )
    region = Region.from_tokens({"web": 9 * 10**9, "code": 2 * 10**9, "books": 10**9}, 3 * 10**9)
    assert np.array_equal(read(out)[1], designs.design(region, 6, seed=0, method=designs.RegMix(usage=1.5)).ratios)


def test_every_setting_of_olmix_has_an_option(run, folder):
    (folder / "sources.yaml").write_text("web: 0.6\ncode: 0.4\n")
    (folder / "topics.yaml").write_text("web:news: 0.7\nweb:blogs: 30%\n")
    (folder / "fixed.yaml").write_text("code:c: 1\ncode:py: 3\n")
    (folder / "share.yaml").write_text("books: 0.1\n")
    (folder / "tree.yaml").write_text("web:news: 4B\nweb:blogs: 5B\ncode:c: 1B\ncode:py: 1B\nbooks: 1B\n")
    status, out, _ = run(
        "design", "--tokens", "tree.yaml", "--budget", "4B", "--runs", 6, "--seed", 2, "--method", "olmix",
        "--strength", "0.5..9", "--source-strength", "2..20", "--topic-strength", "1..5", "--temperature", "0.9",
        "--source-temperature", "0.8", "--topic-temperature", "0.6", "--minimum", "0.001,0.02", "--multiplier", 7,
        "--source-prior", "sources.yaml", "--topic-prior", "topics.yaml", "--source-share", "share.yaml",
        "--topic-share", "fixed.yaml", "--nonzero", "web", "--nonzero", "code:c", "--nonzero-in", "draws",
        "--proxy-tokens", "2B", "--proxy-epochs", "1.5", "--apart", "0.02", "--existing-apart", "0.03", "--no-bound",
    )  # fmt: skip
    assert status == 0
    way = Olmix(
        strength=(0.5, 9.0), source_strength=(2.0, 20.0), topic_strength=(1.0, 5.0), temperature=0.9, source_temperature=0.8,
        topic_temperature=0.6, minimum=(0.001, 0.02), multiplier=7, source_prior={"web": 0.6, "code": 0.4},
        topic_prior={"web:news": 0.7, "web:blogs": 0.3}, source_share={"books": 0.1}, topic_share={"code:c": 1.0, "code:py": 3.0},
        nonzero=("web", "code:c"), nonzero_in="draws", proxy_tokens=2 * 10**9, max_epochs=1.5, apart=0.02, existing_apart=0.03,
        bound=False,
    )  # fmt: skip
    set_here = {name for name, value in vars(way).items() if value != getattr(Olmix(), name)}
    assert set_here == set(vars(way))
    tokens = {"web:news": 4, "web:blogs": 5, "code:c": 1, "code:py": 1, "books": 1}
    region = Region.from_tokens({name: count * 10**9 for name, count in tokens.items()}, 4 * 10**9)
    assert np.array_equal(read(out)[1], designs.design(region, 6, seed=2, method=way).ratios)


GENERATE = """\
data:
  sources:
    - name: web
      topics:
        - {name: news, paths: [a]}
        - {name: blogs, paths: [b]}
    - {name: books, paths: [c]}
priors:
  relative_sizes: {books: 0.1, web:blogs: 0.4, web:news: 0.5}
  token_counts: {books: 100, web:blogs: 400, web:news: 500}
swarm: {seed: 5, variants: 8, minimum_weight: 0.05, min_source_strength: 2, max_source_strength: 2}
max_tokens: 500
"""


def test_a_generate_configuration_of_olmix_gives_all_that_options_would(run, folder):
    (folder / "generate.yaml").write_text(GENERATE)
    given = olmix_generate(folder / "generate.yaml")
    expected = designs.design(given.region, 8, seed=5, method=given.sampler)
    status, out, err = run("design", "--olmix-config", "generate.yaml")
    assert status == 0
    assert np.array_equal(read(out)[1], expected.ratios)
    assert "note: generate.yaml: the smallest and the largest source strength are equal" in err
    assert "8 runs of 3 domains, olmix" in err
    _, out, _ = run(
        "design", "--olmix-config", "generate.yaml", "--runs", 4, "--seed", 1, "--minimum", "0.1", "--strength", "1..9"
    )
    way = replace(given.sampler, minimum=0.1, strength=(1.0, 9.0))
    assert way.strengths == ((2.0, 2.0), (1.0, 9.0))
    assert np.array_equal(read(out)[1], designs.design(given.region, 4, seed=1, method=way).ratios)
    (folder / "old.yaml").write_text(GENERATE.replace("seed: 5,", "seed: 5, existing_mix_file: old.pkl,"))
    (folder / "old.csv").write_text("run,web:news,web:blogs,books\nx,1,0,0\ny,0,1,0\n")
    status, _, err = run("design", "--olmix-config", "old.yaml")
    assert status == 2
    assert "old.pkl, a pickle file, which is not read" in err
    status, out, _ = run("design", "--olmix-config", "old.yaml", "--extend", "old.csv")
    assert status == 0
    assert read(out)[1].max() < 1.0


@pytest.mark.parametrize("method", ["olmix", "regmix", "cover"])
def test_domains_that_few_runs_sample_are_named_with_what_to_do(run, folder, method):
    (folder / "small.yaml").write_text("web: 5T\ncode: 500B\n'a wiki': 5B\nmaths: 20B\nbooks: 100B\n")
    status, out, err = run("design", "--tokens", "small.yaml", "--budget", "1T", "--method", method, "--runs", 64)
    assert status == 0
    names, rows = read(out)
    rare = {
        name: count for name, count in zip(names[1:], (rows >= 1e-5).sum(axis=0).tolist(), strict=True) if count < 5
    }
    assert bool(rare) == (method == "olmix")
    assert ("a law cannot learn the effect" in err) == bool(rare)
    for name, count in rare.items():
        assert (f"{name} ({count})" if count else f"no run samples {name}") in err
    if rare:
        assert (
            "lower --temperature or --minimum, or use --method cover, which takes a floor (--floor 'a wiki=0.01')"
            in err
        )


def test_a_domain_that_no_run_samples_is_named_for_a_cover_too(run, folder):
    (folder / "tiny.yaml").write_text("web: 1\nnotes: 1e-9\n")
    _, _, err = run("design", "--prior", "tiny.yaml", "--cap", "notes=1e-7", "--runs", 6)
    assert "warning: no run samples notes\n" in err
    assert "give it a floor (--floor notes=5e-08), or drop it, or merge it with another (--frozen)" in err


@pytest.mark.parametrize("groups", ["groups.yaml", "groups.json"])
def test_frozen_groups_count_once_and_keep_their_ratios(run, groups):
    status, out, err = run("design", "--domains", "web,code,books", "--frozen", groups)
    assert status == 0
    rows = read(out)[1]
    assert len(rows) == 9
    assert rows[:, 0] / rows[:, 2] == pytest.approx(7 / 3)
    assert "of the 3 coefficients" in err


def test_runs_are_added_to_those_there_are(run):
    status, out, err = run("design", "--extend", "ratios.csv", "--runs", 4)
    assert status == 0
    assert [line.split(",")[0] for line in out.splitlines()] == ["run", "30", "31", "32", "33"]
    assert "the 30 existing runs are as many as are advised" in err
    status, out, _ = run("design", "--extend", "ratios.csv", "--runs", 4, "--domains", "web,code,books,new")
    assert read(out)[1][:, 3].max() > 0.5


def test_next_fits_or_takes_a_law(run, folder):
    status, out, err = run("next", "ratios.csv", "metrics.csv", "law.json", "--runs", 3, "--out", "next.csv")
    assert (status, err) == (0, "")
    assert "nats of information about the coefficients" in out
    assert [line.split()[0] for line in out.splitlines()[1:5]] == ["run", "30", "31", "32"]
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
    assert "law.json already holds the directions" in err


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
        (("design",), "no option names the domains"),
        (("design", "--domains", "a,b", "--runs", "0"), "--runs: got '0', expected a whole number of at least 1"),
        (("design", "--domains", "a,b", "--strength", "1..2"), "--strength is not a setting of --method cover"),
        (("design", "--domains", "a,b", "--method", "regmix", "--nonzero", "a"), "--nonzero is not a setting"),
        (("design", "--domains", "a,b", "--method", "olmix", "--strength", "1"), "is not a span"),
        (("design", "--domains", "web,code", "--tokens", "counts.yaml", "--budget", "1B"), "books"),
        (("design", "--tokens", "counts.yaml"), "--tokens needs --budget"),
        (("design", "--domains", "a,b", "--frozen", "counts.yaml"), "expected groups of shares: a line 'group:'"),
        (("design", "--domains", "a,b", "--frozen", "groups.yaml"), "not in the region"),
        (("design", "--extend", "ratios.csv"), "--extend needs --runs"),
        (("design", "--extend", "ratios.csv", "--runs", "2", "--method", "regmix"), "use cover or olmix"),
        (("design", "--olmix-config", "counts.yaml"), "unknown key 'web'"),
        (("design", "--olmix-config", "counts.yaml", "--cap", "0.3"), "--cap and --olmix-config both define"),
        (("design", "--olmix-config", "counts.yaml", "--method", "cover"), "has none of them"),
        (
            ("design", "--olmix-config", "counts.yaml", "--proxy-tokens", "1B"),
            "--proxy-tokens and --olmix-config both define",
        ),
        (("design", "--domains", "a,b", "--method", "olmix", "--multiplier", "x"), "'x'"),
        (("design", "--domains", "a,b", "--method", "regmix", "--minimum", "0.1,0.2"), "takes one share"),
        (("design", "--domains", "a,b", "--no-bound"), "--no-bound is not a setting of --method cover"),
        (("design", "--extend", "counts.yaml", "--runs", "2"), "counts.yaml"),
        (("design", "--domains", "a,b", "--out", "nowhere/r.csv"), "there is no folder nowhere"),
        (("design", "--domains", "a,b", "--cap", "0.3"), "caps sum to 0.6"),
        (("next", "ratios.csv", "metrics.csv", "law.json", "--runs", "2", "--law", "gp"), "leave out one"),
        (("next", "ratios.csv", "metrics.csv", "law.json", "--runs", "2", "--objective", "speed"), "speed"),
        (
            ("next", "ratios.csv", "metrics.csv", "law.json", "--runs", "0"),
            "--runs: got '0', expected a whole number of at least 1",
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
    (folder / "bad.csv").write_text("run,step\na,700\n")
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
    assert "only 1 of these mixtures are different" in err
    assert "differ" not in run("design", "--domains", "a,b,c", "--runs", 4)[2]


def test_settings_out_of_range_say_the_range(run):
    _, _, err = run("design", "--domains", "a,b", "--method", "regmix", "--temperature", 3)
    assert "temperature" in err
    assert "3.0, expected above 0 and at most 1" in err
    _, _, err = run("design", "--domains", "a,b", "--method", "olmix", "--minimum", 2)
    assert "minimum" in err
    assert "2.0, expected a share above 0 and below 1" in err


def test_pools_are_written_and_read_back_as_the_tokens_of_the_runs(run, folder):
    where = ("--tokens", "counts.yaml", "--budget", "10B", "--max-epochs", 16)
    words = ("--proxy-budget", "1M", "--sequence-length", 1000, "--pools", "pools.yaml")
    status, out, err = run("design", *where, *words, "--seed", 3, "--out", "matched.csv")
    assert status == 0, err
    region = Region.from_tokens({"web": 9 * 10**9, "code": 2 * 10**9, "books": 10**9}, 10**10, max_epochs=16)
    expected = designs.design(region, seed=3, proxy_budget=10**6, sequence_length=1000)
    assert (folder / "pools.yaml").read_text() == "web: 900000\ncode: 200000\nbooks: 100000\n"
    assert "wrote pools.yaml: tokens of each domain's pool, for --run-tokens" in out
    assert "pools for proxy runs of 1,000,000 tokens: 1,200,000 tokens together" in out
    assert len(err.splitlines()) == len(expected.doubts) > 0
    assert "Add runs whose shares of these domains differ more." in err
    ratios = Design.from_csv(folder / "matched.csv").ratios
    trained = Swarm(ratios, losses(DOMAINS, ratios), domains=DOMAINS, metric_names=["web_loss", "code_loss"])
    trained.to_csv(folder / "matched_ratios.csv", folder / "matched_metrics.csv")
    files = ("matched_ratios.csv", "matched_metrics.csv")
    status, out, err = run(
        "next", *files, "--law", "linear", "--runs", 2, "--run-tokens", "pools.yaml", "--run-budget", "1M", *where,
        "--pools", "next_pools.yaml", "--proxy-budget", "2M", "--sequence-length", 1000, "--out", "next.csv",
    )  # fmt: skip
    assert status == 0, err
    assert (folder / "next_pools.yaml").read_text() == "web: 1800000\ncode: 400000\nbooks: 200000\n"
    status, out, err = run("design", *where, "--extend", "matched.csv", "--runs", 4, *words, "--out", "more.csv")
    assert status == 0, err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--pools", "p.yaml"), "--pools needs --proxy-budget"),
        (("--sequence-length", 8), "--sequence-length needs --proxy-budget"),
        (("--proxy-budget", "20B"), "--proxy-budget is 20,000,000,000 tokens, more than the 10,000,000,000"),
        (("--proxy-budget", "1M", "--pools", "p.csv"), "--pools p.csv: a file of token counts ends in .yaml"),
        (
            ("--proxy-budget", "1M", "--method", "olmix", "--proxy-tokens", "1M"),
            "--proxy-tokens limits runs over whole",
        ),
    ],
)
def test_options_of_pools_say_what_they_need(run, words, told):
    status, _, err = run("design", "--tokens", "counts.yaml", "--budget", "10B", *words)
    assert status == 2
    assert told in err


def test_proxy_budget_needs_token_counts(run):
    status, _, err = run("design", "--domains", "a,b", "--proxy-budget", "1M")
    assert status == 2
    assert "give --tokens and --budget" in err


def test_repeats_of_one_mixture_are_announced(run):
    status, out, err = run(
        "design",
        "--tokens",
        "counts.yaml",
        "--budget",
        "10B",
        "--runs",
        "8",
        "--repeats",
        "3",
        "--out",
        "r.csv",
        "--force",
    )
    assert status == 0, err
    assert "runs 0, 1, 2 repeat one mixture, the allowed one nearest to the prior: train each with another seed" in out
    assert "are different" not in out
    assert run("design", "--domains", "a,b", "--runs", "3", "--repeats", "3")[0] == 2
    assert run("design", "--domains", "a,b", "--repeats", "1")[0] == 2


def test_the_runs_to_extend_may_say_what_they_read(run, folder):
    few = (
        "--tokens",
        "counts.yaml",
        "--budget",
        "10B",
        "--max-epochs",
        "16",
        "--extend",
        "ratios.csv",
        "--runs",
        "2",
        "--proxy-budget",
        "1B",
    )
    status, _, err = run("design", *few, "--run-tokens", "counts.yaml", "--run-budget", "1M")
    assert status == 0, err
    assert "the existing runs repeat nothing" in err
    assert "the existing runs" not in run("design", *few)[2]
    words = (
        "design",
        "--tokens",
        "counts.yaml",
        "--budget",
        "10B",
        "--run-tokens",
        "counts.yaml",
        "--run-budget",
        "1M",
    )
    status, _, err = run(*words)
    assert status == 2
    assert "--run-tokens, --run-budget have no effect without --extend" in err
