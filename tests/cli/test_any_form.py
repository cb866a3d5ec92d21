"""Every option and argument with a mixture or token counts takes the same files: those of all loaders, flat and nested counts."""

import json
from pathlib import Path

import numpy as np
import pytest

from mixfast import Mixture
from mixfast.cli._commands import leaves
from mixfast.cli._main import build_parser
from mixfast.cli._options import COUNTS, MIXTURES
from mixfast.reuse import Ledger

SHARES = {"web": 0.7, "code": 0.3}
TOKENS = {"web": 700_000_000, "code": 300_000_000}

# Files with shares alone.
OF_SHARES = {
    "flat.yaml": "web: 70%\ncode: 0.3\n",
    "own.json": '{"format": "mixfast-mixture-1", "mixture": {"web": 0.7, "code": 0.3}}',
    "levanter.yaml": "data:\n  train_weights:\n    web: 7\n    code: 3\n",
    "blend.txt": "0.7 /d/web_text_document 0.3 /d/code_text_document\n",
    "nemo.yaml": "model:\n  data:\n    data_prefix: [0.7, /d/web_text_document, 0.3, /d/code_text_document]\n",
    "core.yaml": "sources:\n- {source_name: web, target_ratio: 0.7, paths: [a]}\n- {source_name: code, target_ratio: 0.3, paths: [b]}\n",
    "recipe.yaml": "eval_interval: 250\ndataset:\n  sources:\n  - name: web\n    target_ratio: 0.7\n  - name: code\n    target_ratio: 0.3\n",
    "streams.yaml": "train_loader:\n  dataset:\n    streams:\n      web: {proportion: 0.7}\n      code: {proportion: 0.3}\n"
    "eval_loader:\n  dataset:\n    streams:\n      held: {proportion: 1}\n",
    "doremi.json": '{"train_domain_weights": {"web": 0.7, "code": 0.3}}',
    # As two of the four mixtures that RegMix published, it does not sum to 1.
    "regmix.yaml": "train: {web: 0.56, code: 0.24}\nvalid: {web: 1.0}\nmodel_name: tinyllama\n",
    "olmix.json": '[{"domain": "web", "weight": 0.7}, {"domain": "code", "weight": 0.3}]',
}
# Files with token counts, from which shares follow.
OF_COUNTS = {
    "counts.yaml": "web: 700M\ncode: 300_000_000\n",
    "counts.json": '{"web": 700000000, "code": 300000000}',
    "available.yaml": "requested_tokens: 1_000_000_000\navailable_tokens:\n  web: 700_000_000\n  code: 300_000_000\n",
    "priors.yaml": "priors:\n  relative_sizes: {web: 0.7, code: 0.3}\n  token_counts: {web: 700000000, code: 300000000}\n",
    "weights.yaml": "train_weights: {web: 700000000, code: 300000000}\n",
    "weights.txt": "700000000 /d/web_text_document 300000000 /d/code_text_document\n",
}
NESTED = "top: {web: 700M, code: 300M}\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in (OF_SHARES | OF_COUNTS).items():
        (tmp_path / name).write_text(text)
    np.savez(tmp_path / "table.npz", loglik=np.log(np.full((4, 2), 0.5)), domains=list(SHARES))
    runs = [(0.9, 0.1), (0.7, 0.3), (0.5, 0.5), (0.3, 0.7), (0.1, 0.9)]
    lines = "".join(f"r{place},{web},{code}\n" for place, (web, code) in enumerate(runs))
    (tmp_path / "ratios.csv").write_text(f"run,web,code\n{lines}")
    lines = "".join(f"r{place},{3 - web}\n" for place, (web, _) in enumerate(runs))
    (tmp_path / "losses.csv").write_text(f"run,val_loss\n{lines}")
    return tmp_path


def solved(run, *words):
    status, _, err = run(
        "solve", "table.npz", "--no-intervals", "--no-ranges", "--keep-zeros", "--out", "out.yaml", *words
    )
    assert status == 0, err
    return Mixture.load("out.yaml").as_dict()


def solve_prior(run, file):
    return solved(run, "--kl", "1", "--prior", file)


def solve_start(run, file):
    # All mixtures are optimal: the answer is where the solver starts.
    return solved(run, "--start", file)


def solve_tokens(run, file):
    # Each token once, and as many as there are: one mixture is left.
    return solved(run, "--tokens", file, "--budget", "1B", "--max-epochs", "1")


def designed(run, *words):
    status, out, err = run("design", "--runs", "2", "--json", *words)
    assert status == 0, err
    return sorted(json.loads(out)["domains"], reverse=True) == ["web", "code"]


def design_prior(run, file):
    return designed(run, "--prior", file)


def design_source_prior(run, file):
    return designed(run, "--domains", "web,code", "--method", "olmix", "--source-prior", file)


def design_tokens(run, file):
    return designed(run, "--tokens", file, "--budget", "1B")


def design_run_tokens(run, file):
    return designed(run, "--extend", "ratios.csv", "--run-tokens", file, "--run-budget", "1B")


def baselines_tokens(run, file):
    status, out, err = run("baselines", "--tokens", file, "--budget", "1B", "--json")
    assert status == 0, err
    return next(one["mixture"] for one in json.loads(out)["baselines"] if one["name"] == "natural")


def next_prior(run, file):
    status, _, err = run("next", "ratios.csv", "losses.csv", "--runs", "1", "--prior", file)
    return status == 0 or err


def next_tokens(run, file):
    status, _, err = run("next", "ratios.csv", "losses.csv", "--runs", "1", "--tokens", file, "--budget", "1B")
    return status == 0 or err


def fit_run_tokens(run, file):
    status, out, err = run(
        "fit", "ratios.csv", "losses.csv", "--law", "linear", "--run-tokens", file, "--run-budget", "1B", "--json"
    )
    assert status == 0, err
    # The largest shares are 0.9, of 1e9 tokens that a run reads.
    return {name: round(0.9e9 / most) for name, (_, most) in json.loads(out)["swarm"]["epochs"].items()}


def proposed(run, *words):
    assert run("fit", "ratios.csv", "losses.csv", "--law", "linear", "--out", "law.json")[0] == 0
    status, _, err = run("propose", "law.json", "--out", "out.yaml", *words)
    assert status == 0, err
    return Mixture.load("out.yaml").as_dict()


def propose_prior(run, file):
    # So strong a pull leaves the prior.
    return {name: round(share, 4) for name, share in proposed(run, "--kl", "1e6", "--prior", file).items()}


def propose_tokens(run, file):
    return proposed(run, "--tokens", file, "--budget", "1B", "--max-epochs", "1")


def propose_near(run, file):
    # Every mixture reaches this goal, so the nearest one is that of the file.
    return proposed(run, "--reach", "*<=1e9", "--near", file)


def propose_reference(run, file):
    proposed(run, "--guard", "*=1e9", "--reference", file)
    return True


def started(run, *words):
    status, _, err = run("reuse", "start", "life.yaml", *words)
    assert status == 0, err
    return Ledger.load("life.yaml")


def start_mixture(run, file):
    return started(run, "--mixture", file).mixture.as_dict()


def start_tokens(run, file):
    return started(run, "--mixture", "flat.yaml", "--tokens", file).tokens


def updated(*change):
    def update(option):
        def call(run, file):
            started(run, "--mixture", "flat.yaml")
            budget = ("--budget", "1B") if option == "--tokens" else ("--kl", "1")
            status, _, err = run(
                "reuse", change[0], "life.yaml", *change[1:], "--swarm-out", "runs.csv", option, file, *budget
            )
            return status == 0 or err

        return call

    return update


revised = updated("revise", "code")


def report_mixture(run, file):
    status, _, err = run(
        "report", "table.npz", "--no-intervals", "--no-ranges", "--mixture", file, "--out", "page.html"
    )
    return status == 0 or err


def report_prior(run, file):
    words = ("--no-intervals", "--no-ranges", "--kl", "1", "--prior", file, "--out", "page.html")
    status, _, err = run("report", "table.npz", *words)
    return status == 0 or err


def report_tokens(run, file):
    words = ("--no-intervals", "--no-ranges", "--tokens", file, "--budget", "1B", "--out", "page.html")
    status, _, err = run("report", "table.npz", *words)
    return status == 0 or err


def reported(run, *words):
    assert run("fit", "ratios.csv", "losses.csv", "--law", "linear", "--out", "law.json")[0] == 0
    status, _, err = run("report", "--law", "law.json", *words, "--out", "page.html")
    return status == 0 or err


def report_near(run, file):
    return reported(run, "--reach", "*<=1e9", "--near", file)


def report_reference(run, file):
    return reported(run, "--guard", "*=1e9", "--reference", file)


def explored(run, *words):
    assert run("fit", "ratios.csv", "losses.csv", "--law", "linear", "--out", "law.json")[0] == 0
    status, _, err = run("explore", "law.json", *words, "--out", "page.html")
    return status == 0 or err


def explore_mixture(run, file):
    return explored(run, "--mixture", file)


def explore_prior(run, file):
    return explored(run, "--prior", file)


def explore_tokens(run, file):
    return explored(run, "--tokens", file, "--budget", "1B")


def info(run, file):
    status, out, err = run("info", file, "--json")
    assert status == 0, err
    return json.loads(out)["mixture"]


def export_mixture(run, file):
    status, out, err = run("export", file, "--to", "doremi")
    assert status == 0, err
    return json.loads(out)["train_domain_weights"]


def exported(run, option, file):
    other = "--documents" if option == "--tokens" else "--tokens"
    words = ("--to", "huggingface", "--out", "module.py", "--force", option, file, other, "counts.yaml")
    status, _, err = run("export", "flat.yaml", *words)
    return status == 0 or err


def collect_mixture_file(run, file):
    for place in range(2):
        folder = Path(f"runs/run{place}")
        folder.mkdir(parents=True, exist_ok=True)
        folder.joinpath("metrics.json").write_text(json.dumps({"eval/lm/c4/CE loss": 3.0 + place}))
        folder.joinpath(file).write_text(Path(file).read_text())
    words = ("--mixture-file", file, "--ratios", "out.csv", "--force")
    status, _, err = run("collect", "runs", *words)
    assert status == 0, err
    lines = [line.split(",") for line in Path("out.csv").read_text().splitlines()]
    return dict(zip(lines[0][1:], map(float, lines[1][1:]), strict=True))


TAKE_MIXTURES = {
    ("info", "table"): info,
    ("export", "mixture"): export_mixture,
    ("solve", "--prior"): solve_prior,
    ("solve", "--start"): solve_start,
    ("design", "--prior"): design_prior,
    ("design", "--source-prior"): design_source_prior,
    ("next", "--prior"): next_prior,
    ("propose", "--prior"): propose_prior,
    ("propose", "--near"): propose_near,
    ("propose", "--reference"): propose_reference,
    ("reuse start", "--mixture"): start_mixture,
    ("reuse revise", "--prior"): revised("--prior"),
    ("report", "--mixture"): report_mixture,
    ("collect", "--mixture-file"): collect_mixture_file,
    ("report", "--prior"): report_prior,
    ("explore", "--mixture"): explore_mixture,
    ("explore", "--prior"): explore_prior,
    ("report", "--near"): report_near,
    ("report", "--reference"): report_reference,
}
TAKE_COUNTS = {
    ("solve", "--tokens"): solve_tokens,
    ("baselines", "--tokens"): baselines_tokens,
    ("design", "--tokens"): design_tokens,
    ("design", "--run-tokens"): design_run_tokens,
    ("next", "--tokens"): next_tokens,
    ("fit", "--run-tokens"): fit_run_tokens,
    ("propose", "--tokens"): propose_tokens,
    ("reuse start", "--tokens"): start_tokens,
    ("reuse revise", "--tokens"): revised("--tokens"),
    ("report", "--tokens"): report_tokens,
    ("explore", "--tokens"): explore_tokens,
    ("export", "--tokens"): lambda run, file: exported(run, "--tokens", file),
    ("export", "--documents"): lambda run, file: exported(run, "--documents", file),
}
# Commands whose options are added by the function that adds those of `reuse revise`.
SAME = ("reuse add", "reuse remove", "reuse partition")
# And those whose options are added by the function that adds those of `fit`.
SAME_RUNS = ("compare", "wear", "next", "report", "reuse propose", "reuse fit")


def test_the_table_has_every_option_that_takes_a_mixture_or_counts():
    for words, table in ((MIXTURES, TAKE_MIXTURES), (COUNTS, TAKE_COUNTS)):
        found = {
            (parser.prog.partition(" ")[2], action.option_strings[0] if action.option_strings else action.dest)
            for parser in leaves(build_parser())
            for action in parser._actions
            if words in (action.help or "").replace("%%", "%")
        }
        same = {(command, option) for command in SAME for of, option in table if of == "reuse revise"}
        same |= {(command, "--run-tokens") for command in SAME_RUNS if ("fit", "--run-tokens") in table}
        assert found == set(table) | same


@pytest.mark.parametrize("use", TAKE_MIXTURES, ids=" ".join)
def test_a_mixture_may_be_the_file_of_any_loader_or_counts(run, use):
    for file in _some(use, OF_SHARES | OF_COUNTS):
        _clear()
        found = TAKE_MIXTURES[use](run, file)
        assert found is True or found == pytest.approx(SHARES, abs=1e-9), file


@pytest.mark.parametrize("use", TAKE_COUNTS, ids=" ".join)
def test_token_counts_may_be_in_any_form(run, use):
    for file in _some(use, OF_COUNTS):
        _clear()
        found = TAKE_COUNTS[use](run, file)
        assert found is True or found in (TOKENS, pytest.approx(SHARES, abs=1e-9)), file


def _some(use, files):
    """Return the files to try: a few for reports, whose pages take long, and which read them with the same functions."""
    return [*files][:: 5 if use[0] == "report" else 1]


def _clear():
    for name in ("life.yaml", "page.html", "out.yaml", "runs.csv"):
        Path(name).unlink(missing_ok=True)


@pytest.mark.parametrize("file", OF_SHARES)
def test_shares_are_not_taken_as_token_counts(refused, file):
    words = {"flat.yaml": "is no number of tokens", "own.json": "is a share, expected a whole number of tokens"}
    assert words.get(file, "token counts are needed") in refused(
        "solve", "table.npz", "--tokens", file, "--budget", "1B"
    )


def test_nested_counts_join_their_names_with_colons(run, folder):
    (folder / "nested.yaml").write_text(NESTED)
    assert info(run, "nested.yaml") == pytest.approx({"top:web": 0.7, "top:code": 0.3})
    (folder / "top.yaml").write_text("top:web: 0.7\ntop:code: 0.3\n")
    assert started(run, "--mixture", "top.yaml", "--tokens", "nested.yaml").tokens == {
        "top:web": 700_000_000, "top:code": 300_000_000
    }  # fmt: skip


def test_the_cells_of_a_swarm_of_marin_have_counts(run, folder):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    cells = [
        {"cell": name, "domain": "d", "quality": 0, "available_tokens": float(count)} for name, count in TOKENS.items()
    ]
    pq.write_table(pa.Table.from_pylist([{"cells": cells}]), folder / "buckets.parquet")
    for use in (solve_tokens, start_tokens, solve_prior):
        _clear()
        assert use(run, "buckets.parquet") in (TOKENS, pytest.approx(SHARES, abs=1e-9))


def test_what_was_converted_is_said(run):
    assert "counts.yaml was read as mixfast; token counts, 1B in all; the shares are proportional to them" in run(
        "export", "counts.yaml", "--to", "doremi"
    )[2]  # fmt: skip
    assert "weights.yaml was read as levanter" in run(
        "solve", "table.npz", "--tokens", "weights.yaml", "--budget", "1B", "--no-intervals", "--no-ranges"
    )[2]  # fmt: skip
    status, _, err = run("export", "regmix.yaml", "--to", "doremi")
    assert status == 0
    assert "regmix.yaml: shares sum to 0.8 and were divided by it" in err


def test_paths_of_token_counts_and_of_a_start_are_named_by_the_pattern(run, folder):
    (folder / "en.txt").write_text("700000000 /d/web_en 300000000 /d/code_en\n")
    pattern = ("--mixture-paths", "/d/{domain}_en")
    assert solved(run, "--start", "en.txt", *pattern) == pytest.approx(SHARES)
    assert solved(run, "--tokens", "en.txt", "--budget", "1B", "--max-epochs", "1", *pattern) == pytest.approx(SHARES)
    # A file with names beside one with paths.
    assert solved(run, "--kl", "1", "--prior", "levanter.yaml", "--start", "en.txt", *pattern) == pytest.approx(SHARES)
    status, out, _ = run("info", "en.txt", "--json", *pattern)
    assert status == 0
    assert json.loads(out)["mixture"] == pytest.approx(SHARES)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("web: 70%\ncode: 30\n", "web has percent signs and code has none"),
        ("web: 700M\ncode: 0.3\n", "web has suffixes of token counts and code has none"),
        ("web: 700M\ncode: 300M\ntotal: 1B\n", "'total' is the sum of the other counts, not a domain"),
        ("top: {web: 700M, code: 300M, total: 1B}\nwiki: 2M\n", "'top:total' is the sum of the other counts"),
        ("top: {web: 700M}\ntop:web: 300M\n", "these domains are named more than once: top:web"),
        ("web: {tokens: 700M, docs: 2M}\ncode: {tokens: 300M, docs: 3M}\n", "nested counts must have names of domains"),
    ],
)
def test_numbers_of_several_units_and_totals_are_no_prior(run, folder, text, said):
    (folder / "prior.yaml").write_text(text)
    status, _, err = run("solve", "table.npz", "--prior", "prior.yaml", "--kl", "0.05")
    assert status == 2
    assert f"prior.yaml: {said}" in err
