"""Every command reports the same mistake in the same words."""

import re

import numpy as np
import pytest

from mixfast import ExpertTable, Swarm, fit

DOMAINS = ["web", "code_c", "code_py", "books"]
COUNTED = ("--tokens", "counts.yaml", "--budget", "1B")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("mistakes")
    rng = np.random.default_rng(0)
    ExpertTable.from_loglik(-rng.exponential(size=(200, 4)), domains=DOMAINS).save(path / "table.npz")
    ratios = rng.dirichlet(np.ones(4), 24)
    swarm = Swarm(ratios, ratios @ [[1.0], [2.0], [3.0], [4.0]], domains=DOMAINS, metric_names=["news_loss"])
    fit(swarm, "linear", folds=0).save(path / "law.json")
    rows = [",".join(map(repr, [run, *row])) for run, row in enumerate(ratios.tolist())]
    (path / "ratios.csv").write_text("\n".join([",".join(["run", *DOMAINS]), *rows]) + "\n")
    losses = [f"{run},{value!r}" for run, value in enumerate(swarm.values[:, 0].tolist())]
    (path / "metrics.csv").write_text("\n".join(["run,news_loss", *losses]) + "\n")
    (path / "counts.yaml").write_text("web: 1B\ncode_c: 1B\ncode_py: 1B\nbooks: 1B\n")
    (path / "short.yaml").write_text("web: 1B\n")
    (path / "unspaced.yaml").write_text("web: 1B\ncode_c:1B\n")
    (path / "empty.yaml").write_text("")
    (path / "empty.json").write_text("")
    (path / "folder").mkdir()
    return path


@pytest.fixture(autouse=True)
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)


# Each command with its required arguments; a mistake is added to them.
COMMANDS = {
    "solve": ("solve", "table.npz", "--no-ranges", "--no-intervals"),
    "design": ("design", "--domains", ",".join(DOMAINS)),
    "propose": ("propose", "law.json"),
    "next": ("next", "ratios.csv", "metrics.csv", "law.json", "--runs", "2"),
    "report of a table": ("report", "table.npz", "--out", "page.html"),
    "report of a law": ("report", "--law", "law.json", "--out", "page.html"),
}
WITH_KL = ("solve", "propose", "report of a table", "report of a law")
WITH_OBJECTIVE = (*WITH_KL, "next")
ALL = tuple(COMMANDS)


@pytest.mark.parametrize(
    ("mistake", "commands", "words"),
    [
        (("--cap", "wbe=0.2"), ALL, "--cap names an unknown domain: wbe (did you mean web?); known are: web, code_c"),
        (("--floor", "wbe=0.2"), ALL, "--floor names an unknown domain: wbe (did you mean web?)"),
        (("--limit", "a:wbe:..0.2"), ALL, "names an unknown domain: wbe (did you mean web?)"),
        (("--cap", "1%"), ALL, "the caps sum to 0.04, but shares must sum to 1"),
        (("--cap", "web=-0.1"), ALL, "--cap must be non-negative numbers, got web=-0.1"),
        (("--cap", "20"), ALL, "a share is at most 1, got 20"),
        (("--cap", "web:0.2"), ALL, "'web:0.2' is no number; write it like 0.2 or 20%; for one name, NAME=NUMBER"),
        (("--tokens", "nosuch.yaml", "--budget", "1B"), ALL, "nosuch.yaml: No such file or directory"),
        (("--tokens", "folder", "--budget", "1B"), ALL, "folder: Is a directory"),
        (("--tokens", "empty.yaml", "--budget", "1B"), ALL, "empty.yaml: it is empty"),
        (("--tokens", "table.npz", "--budget", "1B"), ALL, "table.npz is an npz file, expected a yaml or json file"),
        (("--tokens", "unspaced.yaml", "--budget", "1B"), ALL, "line 2: a blank is missing after the colon: write 'code_c: 1B'"),
        (("--tokens", "short.yaml", "--budget", "1B"), ALL, "name different domains; the two sets must be equal. short.yaml: web."),
        (("--tokens", "counts.yaml"), ALL, "--tokens needs --budget"),
        (("--budget", "1B"), ALL, "--budget needs --tokens"),
        (("--budget", "-5"), ALL, "argument --budget: '-5' is no number of tokens"),
        (("--max-epochs", "3"), ALL, "--max-epochs needs --tokens and --budget"),
        ((*COUNTED, "--max-epochs", "4000"), ALL, "--max-epochs is at most 1000, got web=4000"),
        (("--seed", "-1"), ALL, "argument --seed: got '-1', expected a whole number from 0 to 4294967295"),
        (("--seed", "x"), ALL, "argument --seed: got 'x', expected a whole number"),
        (("--seed", "1", "--seed", "2"), ALL, "argument --seed: given twice, with 1 and 2; it takes one value"),
        (("--captian=1",), ALL, "unrecognized arguments: --captian=1"),
        (("--kl", "-1"), WITH_KL, "argument --kl: got '-1', expected a number of at least 0"),
        (("--kl", "1", "--prior", "nosuch.yaml"), WITH_KL, "nosuch.yaml: No such file or directory"),
        (("--kl", "1", "--prior", "short.yaml"), WITH_KL, "Mixture files leave out shares of 0"),
        (("--objective", "moon"), WITH_OBJECTIVE, "--objective names an unknown"),
        (("--objective", "worst=1"), WITH_OBJECTIVE, "--objective worst takes no weight"),
        (("--out", "nowhere/file.csv"), ("design", "next"), "--out nowhere/file.csv: there is no folder nowhere"),
        (("--out", "file.yaml"), ("design", "next"), "--out file.yaml: a csv file of runs ends in .csv; name it file.csv"),
        (("--out", "file.txt"), ("solve", "propose"), "--out file.txt: a mixture ends in .yaml, .yml or .json; name it file.yaml"),
    ],
)  # fmt: skip
def test_a_mistake_in_options_has_one_wording(refused, mistake, commands, words):
    lines = {refused(*COMMANDS[name], *mistake) for name in commands}
    assert all(words in line for line in lines), lines
    # Commands differ in the object that owns the names and in the help page that they mention.
    plain = {re.sub(r" \(see .*| (?:the table|law\.json|--domains|group|metric)\b.*", "", line) for line in lines}
    assert len({line.strip() for line in plain}) == 1, plain


READERS = {
    "solve": ("solve", "{}"),
    "info": ("info", "{}"),
    "propose": ("propose", "{}"),
    "export": ("export", "{}", "--to", "levanter"),
    "fit": ("fit", "{}", "metrics.csv"),
    "compare": ("compare", "{}", "metrics.csv"),
    "next": ("next", "{}", "metrics.csv", "--runs", "2"),
    "next --among": ("next", "ratios.csv", "metrics.csv", "law.json", "--runs", "2", "--among", "{}"),
    "design --extend": ("design", "--extend", "{}", "--runs", "2"),
    "report --mixture": ("report", "--mixture", "{}", "--out", "page.html"),
    "report --law": ("report", "--law", "{}", "--out", "page.html"),
    "report --ledger": ("report", "--ledger", "{}", "--out", "page.html"),
    "report --schedule": ("report", "--schedule", "{}", "--out", "page.html"),
    "reuse show": ("reuse", "show", "{}"),
}


def test_a_missing_file_names_a_similar_one_or_the_missing_folder(refused):
    assert refused("solve", "tabel.npz") == (
        "mixfast: error: tabel.npz: No such file or directory (did you mean table.npz?)\n"
    )
    assert refused("solve", "nofolder/table.npz") == (
        "mixfast: error: nofolder/table.npz: No such file or directory; there is no folder 'nofolder'\n"
    )


@pytest.mark.parametrize("name", READERS)
def test_a_file_that_is_not_there_or_empty_is_named(refused, name):
    def line(path):
        return refused(*(word.format(path) for word in READERS[name]))

    assert line("nosuch.json") == "mixfast: error: nosuch.json: No such file or directory\n"
    said = line("empty.json")
    assert "empty.json" in said
    assert re.search(r"\bempty\b(?!\.json)", said), said
    assert "folder" in line("folder")


def test_results_of_a_run_in_place_of_another_file_name_the_command_that_collects_them(refused, folder):
    (folder / "results.json").write_text('{"results": {"arc": {"acc,none": 0.5}}, "n-shot": {"arc": 0}}')
    (folder / "events.out.tfevents.1").write_bytes(b"\x18\x00\x00\x00\xa3\x7f")
    for words in (
        ("fit", "ratios.csv", "results.json"),
        ("fit", "ratios.csv", "events.out.tfevents.1"),
        ("info", "results.json"),
        ("export", "results.json", "--to", "olmix"),
        ("solve", "results.json"),
    ):
        assert "mixfast collect RUNS --out metrics.csv" in refused(*words)
    assert "mixfast collect folder --out metrics.csv" in refused("fit", "ratios.csv", "folder")
