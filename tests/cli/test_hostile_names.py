"""Names and paths with terminal control characters, through every command: printed as escapes, unchanged in files.

The fixture ``run`` checks for each call that nothing raw is printed or written to a page, as in all other tests of commands.
"""

import ast
import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mixfast import Mixture, Swarm, cli, report
from mixfast._text.yaml import write_yaml
from mixfast.designs import Design
from mixfast.reuse import Ledger

pytest.importorskip("numba")

# This text starts a new line if a line break in a name is not escaped.
FAKE = "FAKE  optimal"
DOMAINS = (
    f"a\x1b[2J\x1b]0;title\x07\n{FAKE}",
    f"b\r\u202e\x85{FAKE}",
    f"c\u2066\u2028{FAKE}\u200b",
    f"d\ufeff\x9b31m\n{FAKE}",
)
METRICS = (f"m\x1b[31m\n{FAKE}_loss", f"n\u202e\r{FAKE}_loss")
RUN = f"r\x1b[1A\n{FAKE}"
FOLDER = "in\x1b[7m\n\u202efolder"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make a table, runs and a ledger; all their names, and the folder's name, are hostile."""
    place = tmp_path_factory.mktemp("hostile") / FOLDER
    place.mkdir()
    rng = np.random.default_rng(0)
    groups = np.arange(60) % 2
    np.savez(
        place / "table.npz", loglik=-rng.uniform(1.0, 3.0, (60, 4)) - [0.0, 0.1, 0.2, 2.0], domains=np.array(DOMAINS), group=groups,
        group_names=np.array(METRICS),
    )  # fmt: skip
    ratios = rng.dirichlet(np.ones(4), 24)
    values = 2.0 + np.exp(-ratios @ rng.uniform(0.2, 2.0, (4, 2)))
    for name, names, rows in (("ratios.csv", DOMAINS, ratios), ("metrics.csv", METRICS, values)):
        with (place / name).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["run", *names])
            writer.writerows([f"{RUN}{i}", *map(repr, row)] for i, row in enumerate(rows.tolist()))
    (place / "counts.yaml").write_text(write_yaml(dict.fromkeys(DOMAINS, 10**9)))
    (place / "short.yaml").write_text(write_yaml(dict.fromkeys(DOMAINS[1:], 10**9)))
    (place / "new.yaml").write_text(write_yaml({DOMAINS[0] + "new": 10**9}))
    Mixture(DOMAINS, [0.4, 0.3, 0.2, 0.1]).save(place / "mixture.yaml")
    return place


@pytest.fixture
def call(run, folder):
    """Call `mixfast` on files of the folder; check that no output line was started by a name."""

    def call(*words, status=(0, 1)):
        whole = [
            str(folder / word)
            if isinstance(word, str) and word.endswith((".npz", ".csv", ".yaml", ".json", ".html"))
            else word
            for word in words
        ]
        got, out, err = run(*whole)
        assert got in ((status,) if isinstance(status, int) else status), (out, err)
        lines = [*out.splitlines(), *err.splitlines()]
        assert not [line for line in lines if line.strip().startswith(FAKE)]
        return out + err

    return call


def test_tables_of_experts(call, folder):
    assert r"a\x1b[2J\x1b]0;title\x07\nFAKE" in call("info", "table.npz")
    said = call("solve", "table.npz", "--replicates", 20, "--held-out", 0.3, "--tokens", "counts.yaml", "--budget", "2B", "--wear",
                "--cap", 0.5, "--kl", 0.01, "--limit", f"lim\x1b[1m\n{FAKE}:" + DOMAINS[0][:1] + "*:0.1..", "--out", "out.yaml")  # fmt: skip
    assert r"b\r\u202e\x85FAKE" in said
    assert set(Mixture.load(folder / "out.yaml").domains) <= set(DOMAINS)
    printed = call("solve", "table.npz", "--no-intervals", "--json")
    assert set(json.loads(printed)["mixture"]) == set(DOMAINS)
    call("solve", "table.npz", "--objective", "worst", "--no-intervals")
    call("solve", "table.npz", "--objective", METRICS[0] + "x", status=2)
    call("solve", "table.npz", "--tokens", "short.yaml", "--budget", "2B", status=2)
    call("solve", "table.npz", "--cap", f"{DOMAINS[0]}x=0.5", status=2)
    call("solve", "table.npz", "--cap", f"\x1b[31m\n{FAKE}", status=2)
    call("solve", "table.npz", "--floor", 0.9, status=2)
    call("solve", "table.npz", "--prior", "no\x1b[1m\n.yaml", status=2)
    call("solve", f"no\x1b[1m\n{FAKE}.npz", status=2)
    call("solve", "table.npz", f"--no\x1b[1m\n{FAKE}", status=2)
    call(f"no\x1b[1m\n{FAKE}", status=2)


def test_runs_and_laws(call, folder):
    said = call("fit", "ratios.csv", "metrics.csv", "--law", "log_linear", "--out", "law.json", "--without", f"{RUN}3")
    assert r"m\x1b[31m\nFAKE" in said
    call("compare", "ratios.csv", "metrics.csv")
    call("propose", "law.json", "--tokens", "counts.yaml", "--budget", "2B", "--kl", 0.01, "--out", "out.yaml")
    call("propose", "law.json", "--objective", METRICS[0] + "x", status=2)
    assert set(json.loads(call("propose", "law.json", "--json"))["mixture"]) == set(DOMAINS)
    call("propose", "law.json", "--target", METRICS[0], "--guard", f"{METRICS[1]}=1 sd", "--prior", "uniform")
    call(
        "propose", "law.json", "--reach", f"{METRICS[0]}<=9", "--reach", f"{METRICS[1]}=5 % worse", "--prior", "uniform"
    )
    call("propose", "law.json", "--reach", f"{METRICS[0]}<=-9", "--prior", "uniform", status=2)
    call("propose", "law.json", "--guard", f"{METRICS[0]}x=1", status=2)
    call("propose", "law.json", "--guard", f"{METRICS[0]}=\x1b[1m\n{FAKE}", status=2)
    call("next", "ratios.csv", "metrics.csv", "law.json", "--runs", 3, "--out", "next.csv")
    call("fit", "ratios.csv", "ratios.csv", status=2)
    call("fit", "metrics.csv", "ratios.csv", status=2)
    call("fit", "ratios.csv", "metrics.csv", "--metric", DOMAINS[0], status=2)
    call("fit", "ratios.csv", "metrics.csv", "--id", DOMAINS[0], status=2)
    call("fit", "ratios.csv", "metrics.csv", "--domains", "a*", status=2)
    call("fit", "table.npz", "metrics.csv", status=2)
    assert Swarm.from_csv(folder / "ratios.csv", folder / "metrics.csv").domains == DOMAINS


def test_designs_are_written_or_refused_but_never_printed(call, folder):
    call("design", "--tokens", "counts.yaml", "--budget", "10B", "--runs", 8, "--out", "design.csv")
    assert Design.from_csv(folder / "design.csv").domains == DOMAINS
    assert "--out" in call("design", "--tokens", "counts.yaml", "--budget", "10B", "--runs", 8, status=2)
    call(
        "design", "--domains", ",".join(DOMAINS), "--floor", f"{DOMAINS[0]}=0.5", "--cap", f"{DOMAINS[0]}=0.1", status=2
    )


def test_collected_results(call, folder):
    """Names of runs come from folders, names of metrics from files; a spreadsheet computes neither."""
    safe = METRICS[0].replace("\n", " ")
    for run, value in ((RUN.replace("/", ""), 3.0), ("other", 2.9), ("broken", "x"), ("odd", -1.0)):
        place = folder / "runs" / run
        place.mkdir(parents=True)
        content = {
            "results": {METRICS[1]: {f"{safe},none": value, f"odd {METRICS[0]},none": 1.0}},
            "n-shot": {METRICS[1]: 0},
        }
        (place / "results_2026-11-20T10-00-00.json").write_text(json.dumps(content) if value != "x" else '{"\\x1b\n')
        if value == -1.0:
            (place / "results_2026-11-19T10-00-00.json").write_text(json.dumps(content).replace("-1.0", "-2.0"))
    said = call("collect", folder / "runs", "--out", "collected.csv", "--verbose")
    assert r"r\x1b[1A\nFAKE" in said or r"n\u202e" in said
    with (folder / "collected.csv").open(newline="") as file:
        assert len(list(csv.reader(file))) == 4
    call("collect", folder / "runs", "--json")
    call("collect", folder / "runs", "--id", f"{{run}}\x1b\n{FAKE}", status=2)
    call("collect", folder / "runs", "--metric", f"no\x1b\n{FAKE}", status=2)
    call("collect", folder / "runs", "--format", f"no\x1b\n{FAKE}", status=2)
    call("collect", folder / f"no\x1b\n{FAKE}", status=2)
    call("collect", folder / "runs", "--mixture-file", f"no\x1b\n{FAKE}", "--ratios", "r.csv", status=2)
    call("collect", folder / "runs", "--check", "ratios.csv", status=2)
    (folder / "runs" / "=1+1").mkdir()
    other = folder / "runs" / "other" / "results_2026-11-20T10-00-00.json"
    (folder / "runs" / "=1+1" / other.name).write_bytes(other.read_bytes())
    assert "a spreadsheet that opens a csv file would compute" in call(
        "collect", folder / "runs", "--out", "computed.csv", status=2
    )
    assert not (folder / "computed.csv").exists()


def test_the_life_of_a_mixture(call, folder):
    call("reuse", "start", "life.yaml", "--mixture", "mixture.yaml", "--tokens", "counts.yaml", "--budget", "2B",
         "--why", f"why\x1b[1m\n{FAKE}")  # fmt: skip
    call(
        "reuse", "add", "life.yaml", DOMAINS[0] + "new", "--tokens", "new.yaml", "--swarm-out", "more.csv", "--runs", 8
    )
    call("reuse", "show", "life.yaml")
    call("reuse", "remove", "life.yaml", DOMAINS[0] + "x", status=2)
    assert Ledger.load(folder / "life.yaml").mixture.domains == DOMAINS


@pytest.mark.parametrize("name", ["levanter", "olmix", "megatron", "python", "olmo-core", "trl", "streaming"])
def test_exports_are_escaped_by_their_format_or_refused(name, call):
    call("export", "mixture.yaml", "--to", name, status=(0, 2))
    call("export", "mixture.yaml", "--to", name, "--paths", "/data/{domain}", status=(0, 2))


def test_pages(call, folder):
    pytest.importorskip("matplotlib")
    call(
        "report",
        "table.npz",
        "--out",
        "page.html",
        "--replicates",
        20,
        "--title",
        f"t\x1b\n{FAKE}",
        "--mixture",
        "mixture.yaml",
    )
    call("report", "ratios.csv", "metrics.csv", "--law-kind", "log_linear", "--out", "laws.html")
    assert r"a\x1b[2J" in (folder / "page.html").read_text()


def test_a_path_is_shown_as_escapes_in_a_process_of_its_own(tmp_path):
    (tmp_path / FOLDER).mkdir()
    got = subprocess.run(
        [sys.executable, "-m", "mixfast", "info", tmp_path / FOLDER / "none.npz"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert got.returncode == 2
    assert "\x1b" not in got.stderr
    assert got.stderr.count("\n") == 1


def test_commands_print_through_the_console_alone():
    rooms = (Path(cli.__file__).parent, Path(report.__file__).parent)
    found = [
        f"{path.name}:{node.lineno}"
        for room in rooms
        for path in room.glob("*.py")
        if path.name != "_console.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not found
