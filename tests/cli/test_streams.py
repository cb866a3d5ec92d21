"""Whatever happens to the output streams, files are written, exit statuses are as documented, and there is no traceback."""

import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mixfast import ExpertTable, Mixture, Swarm, cli, fit, solver
from mixfast._text import surprise
from mixfast.cli._streams import Stream
from mixfast.reuse import Ledger

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["web", "café", "books"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("console")
    rng = np.random.default_rng(0)
    ratios = rng.dirichlet(np.ones(3), 20)
    swarm = Swarm(ratios, ratios @ [[1.0], [2.0], [3.0]], domains=NAMES, metric_names=["news_loss"])
    swarm.to_csv(path / "ratios.csv", path / "metrics.csv")
    fit(swarm, "linear", folds=0).save(path / "law.json")
    ExpertTable.from_loglik(-rng.exponential(size=(60, 3)), domains=NAMES).save(path / "table.npz")
    Mixture(NAMES, [0.5, 0.3, 0.2]).save(path / "mixture.yaml")
    for run in ("r1", "café"):
        (path / "runs" / run).mkdir(parents=True)
        history = {"log_history": [{"step": 1, "eval_loss": 3.0}]}
        (path / "runs" / run / "trainer_state.json").write_text(json.dumps(history))
    return path


@pytest.fixture(autouse=True)
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)


class Broken(io.TextIOWrapper):
    """A stream that accepts text but fails at every flush, like a full disk or a closed pipe."""

    def __init__(self, number):
        super().__init__(io.BytesIO(), "utf-8", write_through=True)
        self.number = number

    def write(self, text):
        raise OSError(self.number, os.strerror(self.number))

    @property
    def buffer(self):
        return self

    def flush(self):
        pass


RUNS = ["ratios.csv", "metrics.csv"]
# Commands that report on stdout, with the file that each writes, and those that print their result on stdout.
REPORTS = [
    (["solve", "table.npz", "--no-intervals", "--out", "out.yaml"], "out.yaml"),
    (["info", "table.npz"], None),
    (["fit", *RUNS, "--law", "linear", "--folds", "0", "--out", "out.json"], "out.json"),
    (["propose", "law.json", "--out", "out.yaml"], "out.yaml"),
    (["collect", "runs", "--out", "out.csv"], "out.csv"),
    (["design", "--domains", "web,café", "--out", "out.csv"], "out.csv"),
    (["next", *RUNS, "law.json", "--runs", "2", "--out", "out.csv"], "out.csv"),
    (["report", "--mixture", "mixture.yaml", "--out", "out.html"], "out.html"),
    (["export", "mixture.yaml", "--to", "doremi", "--out", "out.json"], "out.json"),
    (["reuse", "start", "started.yaml", "--mixture", "mixture.yaml"], "started.yaml"),
    (["demo", "--copy-to", "copies"], "copies/demo.npz"),
    (["--help"], None),
    (["--version"], None),
]
PRODUCTS = [
    ["solve", "table.npz", "--no-intervals", "--json"],
    ["propose", "law.json", "--json"],
    ["export", "mixture.yaml", "--to", "doremi"],
    ["design", "--domains", "web,café", "--runs", "4"],
]


def of(words):
    return " ".join(words)[:40]


@pytest.mark.parametrize(("words", "file"), REPORTS, ids=[of(words) for words, _ in REPORTS])
@pytest.mark.parametrize(
    ("out", "status"), [(lambda: None, 0), (lambda: Broken(errno.EPIPE), 0), (lambda: Broken(errno.ENOSPC), 74)]
)
def test_files_are_written_whatever_happens_to_stdout(words, file, out, status, folder, monkeypatch):
    if file is not None:
        (folder / file).unlink(missing_ok=True)
    err = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out())
    monkeypatch.setattr(sys, "stderr", err)
    assert cli.main(words) == status
    assert err.getvalue().count("mixfast: error: stdout: No space left on device") == (status == 74)
    assert file is None or (folder / file).stat().st_size > 0


@pytest.mark.parametrize("words", PRODUCTS, ids=of)
@pytest.mark.parametrize(("out", "status"), [(None, 74), (errno.ENOSPC, 74), (errno.EPIPE, 0)])
def test_a_lost_product_is_an_error_unless_the_reader_left(words, out, status, monkeypatch):
    err = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out if out is None else Broken(out))
    monkeypatch.setattr(sys, "stderr", err)
    assert cli.main(words) == status
    assert err.getvalue().count("mixfast: error: stdout") == (status == 74)


@pytest.mark.parametrize("stream", [lambda: None, lambda: Broken(errno.EPIPE), lambda: Broken(errno.ENOSPC)])
def test_a_refusal_that_nobody_hears_is_one(stream, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", stream())
    assert cli.main(["solve", "absent.npz"]) == 2
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(sys, "stdout", stream())
    assert cli.main(["solve", "absent.npz"]) == 2
    assert cli.main(["solve", "--no-such-option"]) == 2


def test_the_status_of_an_answer_above_its_tolerance_stays(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    words = ["solve", "table.npz", "--method", "eg-paper", "--out", "out.yaml"]
    assert cli.main(words) == 1
    monkeypatch.setattr(sys, "stdout", Broken(errno.EPIPE))
    assert cli.main(words) == 1


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_that_a_terminal_cannot_show_are_shown_escaped(encoding, monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", out)
    assert cli.main(["info", "mixture.yaml"]) == 0
    shown = out.buffer.getvalue().decode(encoding)
    assert ("café" in shown, "caf\\xe9" in shown) == (encoding != "ascii", encoding == "ascii")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_products_do_not_depend_on_the_terminal(encoding, monkeypatch):
    def printed(*words):
        out = io.TextIOWrapper(io.BytesIO(), encoding)
        monkeypatch.setattr(sys, "stdout", out)
        assert cli.main(list(words)) == 0
        return out.buffer.getvalue()

    cli.main(["export", "mixture.yaml", "--to", "doremi", "--out", "whole.json"])
    assert printed("export", "mixture.yaml", "--to", "doremi") == Path("whole.json").read_bytes()
    answer = printed("propose", "law.json", "--json")
    assert set(json.loads(answer.decode(encoding))["mixture"]) == set(NAMES)


def test_a_stream_takes_what_an_unbuffered_one_leaves():
    class Slow(io.BytesIO):
        def write(self, data):
            return super().write(data[:3])

    class Text(io.StringIO):
        buffer = Slow()

    Stream(Text()).write_product("a text of many bytes")
    assert Text.buffer.getvalue() == b"a text of many bytes"


# Unexpected exceptions.


def test_a_surprise_is_raised_for_tests_and_callers(monkeypatch):
    monkeypatch.setattr(solver, "solve", lambda *given, **options: {}["absent"])
    with pytest.raises(KeyError):
        cli.main(["solve", "table.npz"])


def test_a_surprise_is_one_line_and_a_file(monkeypatch, tmp_path):
    monkeypatch.delenv(surprise.SHOWN_BY, raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    try:
        {}["ab\nsent"]
    except KeyError as problem:
        line = surprise.told(problem)
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
        unwritten = surprise.told(problem)
        monkeypatch.setenv(surprise.SHOWN_BY, "1")
        shown = surprise.told(problem)
    (file,) = tmp_path.iterdir()
    assert line.startswith("mixfast: error: KeyError: ")
    assert "\n" not in line
    assert "report it" in line
    assert str(file) in line
    assert "Traceback" in file.read_text()
    assert file.stat().st_mode & 0o77 == 0
    assert "the traceback could not be written: No such file or directory" in unwritten
    assert shown.startswith("Traceback")


# Processes and signals.

# The command, with a function of the package replaced; a signal must arrive while it works.
COMMAND = """
import sys
sys.argv = ["mixfast", *sys.argv[1:]]
from mixfast import __main__, solver
{}
sys.exit(__main__.main())
"""


def process(change, *words, **options):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {name: value for name, value in os.environ.items() if name != surprise.SHOWN_BY}
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND.format(change), *words], **{"env": environment, **pipes, **options}
    )


@pytest.mark.process
def test_a_surprise_has_a_status_of_its_own(tmp_path):
    change = "solver.solve = lambda *given, **options: 1 / 0"
    running = process(change, "solve", "table.npz", env={**os.environ, "TMPDIR": str(tmp_path), surprise.SHOWN_BY: ""})
    _, err = running.communicate(timeout=60)
    assert running.returncode == 70
    assert re.fullmatch(r"mixfast: error: ZeroDivisionError: .*\n", err)
    (file,) = tmp_path.glob("mixfast-*.txt")
    assert str(file) in err


SLEEPING = """
import time
def solve(*given, **options):
    print("ready", file=sys.stderr, flush=True)
    time.sleep(60)
solver.solve = solve
"""
STUBBORN = """
import time
real = lambda: (print("ready", file=sys.stderr, flush=True), time.sleep(60))
def solve(*given, **options):
    try:
        real()
    except KeyboardInterrupt:
        print("again", file=sys.stderr, flush=True)
        time.sleep(60)
solver.solve = solve
"""


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_quietly_with_their_status(number):
    running = process(SLEEPING, "solve", "table.npz")
    assert running.stderr.readline() == "ready\n"
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out, err) == (128 + number, "", "")


@pytest.mark.process
def test_a_second_signal_does_not_wait():
    running = process(STUBBORN, "solve", "table.npz")
    assert running.stderr.readline() == "ready\n"
    running.send_signal(signal.SIGINT)
    assert running.stderr.readline() == "again\n"
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out, err) == (130, "", "")


@pytest.mark.process
@pytest.mark.parametrize(
    "change",
    [
        # While the commands are being imported.
        "import os, signal, builtins\nreal = builtins.__import__\n"
        "def load(name, *given):\n"
        "    if name == 'mixfast.cli': os.kill(os.getpid(), signal.SIGINT)\n"
        "    return real(name, *given)\n"
        "sys.modules.pop('mixfast.cli', None)\nbuiltins.__import__ = load",
        # Places where Python ignores exceptions.
        "import os, signal\nclass Last:\n    def __del__(self): os.kill(os.getpid(), signal.SIGINT)\n"
        "def solve(*given, **options):\n    last = Last(); del last\n    raise ValueError\nsolver.solve = solve",
    ],
    ids=["imports", "deletion"],
)
def test_ctrl_c_is_quiet_at_any_time(change):
    running = process(change, "solve", "table.npz", "--no-intervals", "--out", "out.yaml")
    _, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (130, "")


LATE = """
import atexit, os, signal, threading, time
atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))
# As the threads of a BLAS do, it blocks no signals and outlives Python's handlers.
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
class Last:
    def __del__(self, kill=os.kill, pid=os.getpid(), numbers=(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)):
        for number in numbers:
            kill(pid, number)
last = Last()
"""


@pytest.mark.process
def test_a_signal_after_the_work_changes_no_status():
    running = process(LATE, "solve", "table.npz", "--no-intervals", "--out", "late.yaml")
    _, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (0, "")
    assert set(Mixture.load("late.yaml")) <= set(NAMES)


@pytest.mark.process
def test_closed_descriptors_are_not_taken_by_files(folder):
    done = subprocess.run(
        f"{sys.executable} -m mixfast solve table.npz --no-intervals --out closed.yaml <&- >&- 2>&-",
        shell=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert set(Mixture.load("closed.yaml")) <= set(NAMES)


@pytest.mark.process
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_stdout_has_a_status_of_its_own():
    with open("/dev/full", "w") as full:
        words = ["solve", "table.npz", "--no-intervals", "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "mixfast", *words], stdout=full, stderr=subprocess.PIPE, timeout=60
        )
    assert done.returncode == 74
    assert done.stderr.count(b"\n") == 1


INTERRUPTED = """
import os, signal
from mixfast._text import atomic
real = atomic._Staged.{0}
def interrupted(self, *given):
    found = real(self, *given)
    os.kill(os.getpid(), {1})
    return found
atomic._Staged.{0} = interrupted
"""


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("step", "whole"), [("_open", False), ("place", True)])
def test_a_signal_while_files_are_written_leaves_all_or_none(step, whole, number, folder, tmp_path):
    Mixture(NAMES, [0.5, 0.3, 0.2]).save(tmp_path / "mixture.yaml")
    (tmp_path / "out.csv").write_text("old\n")
    words = ["design", "--domains", "web,books", "--runs", "3", "--out", "out.csv"]
    running = process(INTERRUPTED.format(step, number), *words, cwd=tmp_path)
    _, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (128 + number, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mixture.yaml", "out.csv"]
    assert ((tmp_path / "out.csv").read_text() != "old\n") == whole


@pytest.mark.process
def test_files_that_belong_together_are_all_in_place_before_a_signal_ends_the_command(tmp_path):
    words = ["reuse", "start", "life.yaml", "--mixture", "mixture.yaml", "--why", "first"]
    Mixture(NAMES, [0.5, 0.3, 0.2]).save(tmp_path / "mixture.yaml")
    assert process("", *words, cwd=tmp_path).wait(timeout=60) == 0
    words = ["reuse", "remove", "life.yaml", "web", "--out", "next.yaml"]
    running = process(INTERRUPTED.format("place", signal.SIGINT), *words, cwd=tmp_path)
    _, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (130, "")
    assert set(Mixture.load(tmp_path / "next.yaml")) == set(Ledger.load(tmp_path / "life.yaml").mixture) - {"web"}
