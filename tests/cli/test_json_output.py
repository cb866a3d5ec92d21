"""``--json`` on every command: strict JSON, alone on stdout, as the schema and the documentation describe it."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from mixfast import ExpertTable, Swarm, fit
from mixfast.cli._commands import leaves
from mixfast.cli._main import build_parser

jsonschema = pytest.importorskip("jsonschema")

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "mixfast" / "data" / "output.schema.json").read_text(encoding="utf-8"))
PAGE = (ROOT / "docs" / "reference" / "json-output.md").read_text(encoding="utf-8")
COMMANDS = SCHEMA["properties"]["command"]["enum"]
DOMAINS = ["web", "code", "books"]
# In this order, because later commands read what earlier ones wrote.
CALLS = [
    ("solve", "table.npz", "--tokens", "tokens.yaml", "--budget", "1000", "--replicates", "5", "--held-out", "0.2", "--out", "m.yaml"),
    ("solve", "table.npz", "--objective", "worst"),
    ("solve", "table.npz", "--tokens", "tokens.yaml", "--budget", "1000", "--no-intervals", "--wear", "15.4", "--wear", "code=inf"),
    ("solve", "table.npz", "--method", "eg-paper"),
    ("info", "table.npz"),
    ("info", "ratios.csv"),
    ("info", "mixture.yaml"),
    ("info",),
    ("table", "split", "table.npz", "--parts", "2", "--out", "parts"),
    ("table", "verify", "parts"),
    ("table", "cast", "parts", "--dtype", "float16", "--out", "half"),
    ("table", "pack", "half", "--out", "half.npz"),
    ("table", "merge", "half", "half.npz", "--out", "twice"),
    ("design", "--tokens", "tokens.yaml", "--budget", "1000"),
    ("baselines", "--tokens", "tokens.yaml", "--budget", "1000", "--temperature", "inf", "--out", "controls.csv"),
    ("design", "--domains", "a,b", "--runs", "4", "--out", "design.csv"),
    ("design", "--tokens", "tokens.yaml", "--budget", "1000", "--proxy-budget", "100", "--pools", "pools.yaml"),
    ("collect", "runs", "--check", "ratios.csv", "--long", "long.csv"),
    ("fit", "ratios.csv", "metrics.csv", "--law", "log_linear", "--out", "law.json"),
    ("fit", "ratios.csv", "metrics.csv", "--law", "linear", "--run-tokens", "tokens.yaml", "--run-budget", "1000"),
    ("info", "law.json"),
    ("compare", "ratios.csv", "metrics.csv", "--folds", "3"),
    ("wear", "ratios.csv", "metrics.csv", "--run-tokens", "pools.yaml", "--run-budget", "1000", "--out", "wear.yaml"),
    ("next", "ratios.csv", "metrics.csv", "law.json", "--runs", "2"),
    ("propose", "law.json", "--tokens", "tokens.yaml", "--budget", "1000", "--kl", "0.05", "--out", "p.yaml"),
    ("propose", "law.json", "--method", "search"),
    ("propose", "law.json", "--target", "a_loss", "--guard", "*=1 sd", "--prior", "mixture.yaml"),
    ("propose", "law.json", "--reach", "a_loss=0.1 % better", "--guard", "*=2 %", "--near", "mixture.yaml"),
    ("reuse", "start", "life.yaml", "--mixture", "mixture.yaml", "--tokens", "tokens.yaml", "--budget", "1000"),
    ("reuse", "remove", "life.yaml", "code"),
    ("reuse", "partition", "life.yaml", "books", "b1", "b2", "--tokens", "parts.yaml", "--law", "law.json"),
    ("reuse", "revise", "life.yaml", "code", "--tokens", "tokens.yaml"),
    ("reuse", "add", "life.yaml", "maths", "--tokens", "new.yaml", "--swarm-out", "u.csv"),
    ("reuse", "show", "life.yaml"),
    ("reuse", "fit", "life.yaml", "ratios.csv", "metrics.csv", "--law-out", "law2.json"),
    ("reuse", "propose", "life.yaml", "u.csv", "trained.csv", "--law", "linear", "--out", "new_mixture.yaml"),
    ("export", "mixture.yaml", "--to", "levanter"),
    ("export", "mixture.yaml", "--to", "levanter", "--out", "levanter.yaml"),
    ("report", "--mixture", "mixture.yaml", "--out", "report.html"),
    ("explore", "law.json", "--mixture", "mixture.yaml", "--tokens", "tokens.yaml", "--budget", "1000"),
    ("demo", "--copy-to", "sample"),
]  # fmt: skip


def trained(ratios, target):
    rows = list(csv.DictReader(Path(ratios).read_text(encoding="utf-8").splitlines()))
    lines = [f"{row['run']},{2.0 + float(row['web'])},{2.0 - float(row['code'])}" for row in rows]
    Path(target).write_text("\n".join(["run,a_loss,b_loss", *lines]) + "\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("json")
    rng = np.random.default_rng(0)
    ratios = rng.dirichlet(np.ones(3), 16)
    values = 2.0 + ratios @ [[1.0, 0.2], [0.1, 0.9], [0.5, 0.5]] + rng.normal(size=(16, 2)) * 0.01
    swarm = Swarm(ratios, values, domains=DOMAINS, metric_names=["a_loss", "b_loss"])
    swarm.to_csv(path / "ratios.csv", path / "metrics.csv")
    fit(swarm, "log_linear", folds=0).save(path / "law.json")
    for run, loss in zip(swarm.runs, values[:, 0].tolist(), strict=True):
        (path / "runs" / run).mkdir(parents=True)
        history = [{"step": 10, "eval_loss": loss, "eval_oddity": -loss if run != "3" else None}]
        (path / "runs" / run / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    group = np.repeat([0, 1], 40)
    ExpertTable.from_loglik(-rng.exponential(size=(80, 3)), domains=DOMAINS, group=group).save(path / "table.npz")
    (path / "pools.yaml").write_text("web: 100\ncode: 60\nbooks: 80\n")
    (path / "tokens.yaml").write_text("web: 500\ncode: 300\nbooks: 400\n")
    (path / "parts.yaml").write_text("b1: 200\nb2: 200\n")
    (path / "new.yaml").write_text("maths: 100\n")
    (path / "mixture.yaml").write_text("web: 0.5\ncode: 0.3\nbooks: 0.2\n")
    return path


@pytest.fixture(scope="module")
def answers(folder):
    return {}


@pytest.mark.parametrize("words", CALLS, ids=" ".join)
def test_the_answer_of_a_command_is_as_the_schema_says(run, folder, monkeypatch, answers, words):
    monkeypatch.chdir(folder)
    if "trained.csv" in words:
        trained("u.csv", "trained.csv")
    status, out, err = run(*words, "--json")
    assert status in (0, 1), err
    answer = json.loads(out, parse_constant=pytest.fail)
    jsonschema.Draft202012Validator(SCHEMA).validate(answer)
    assert words[: len(answer["command"].split())] == tuple(answer["command"].split())
    assert all(Path(path).exists() for path in answer["wrote"])
    # Notes on stderr are also in the object.
    said = [line.split(": ", 2)[1:] for line in err.splitlines()]
    assert [" ".join(text.split()) for text in answer["notes"]] == [text for kind, text in said if kind == "note"]
    assert len(answer["warnings"]) == sum(kind == "warning" for kind, _ in said)
    answers[answer["command"]] = answer


def test_the_schema_has_every_command_and_no_other():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert [parser.prog.partition(" ")[2] for parser in leaves(build_parser())] == sorted(COMMANDS, key=_place)
    # Scoring needs models: `tests/score` tests it.
    assert {" ".join(words[: 2 if words[0] in ("reuse", "table") else 1]) for words in CALLS} == set(COMMANDS) - {
        "score"
    }


def _place(command):
    return [parser.prog.partition(" ")[2] for parser in leaves(build_parser())].index(command)


def test_the_page_of_the_documentation_has_every_key():
    for part in [SCHEMA, *(SCHEMA["$defs"][command.replace(" ", "-")] for command in COMMANDS)]:
        for key, said in part["properties"].items():
            assert any(line.startswith(f"| `{key}` |") and said["description"] in line for line in PAGE.splitlines()), (
                key
            )


def test_refused_input_leaves_stdout_empty(run, folder, monkeypatch):
    monkeypatch.chdir(folder)
    status, out, err = run("solve", "table.npz", "--cap", "nowhere=0.1", "--json")
    assert (status, out) == (2, "")
    assert err.startswith("mixfast: error: ")


def test_quiet_leaves_warnings_and_errors(run, folder, monkeypatch):
    monkeypatch.chdir(folder)
    words = ("propose", "law.json", "--seed", "1")
    loud = run(*words)
    assert loud[2].startswith("mixfast: note: --seed had no effect")
    for option in ("-q", "--quiet"):
        assert run(*words, option)[2] == ""
    assert run("report", "--mixture", "mixture.yaml", "--kl", "1", "--out", "r.html", "-q")[0] == 2
    _, _, err = run("next", "ratios.csv", "metrics.csv", "law.json", "--runs", "1", "--quiet")
    assert not [line for line in err.splitlines() if not line.startswith("mixfast: warning: ")]
    assert run(*words, "--verbose", "--quiet")[0] == 2


def test_verbose_says_what_was_read_the_steps_and_the_time(run, folder, monkeypatch):
    monkeypatch.chdir(folder)
    words = ("solve", "table.npz", "--no-ranges", "--no-intervals", "--tokens", "tokens.yaml", "--budget", "1000")
    status, out, err = run(*words, "--verbose")
    assert status == 0
    # Only the times differ.
    plain = run(*words)[1]
    assert [line for line in out.splitlines() if "time" not in line] == [
        line for line in plain.splitlines() if "time" not in line
    ]
    for said in (
        "read table.npz: 80 rows x 3 domains",
        "read tokens.yaml: 3 names",
        "step 1: ",
        "optimal: gap ",
        "solve: ",
    ):
        assert f"mixfast: {said}" in err
