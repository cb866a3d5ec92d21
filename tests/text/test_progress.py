"""Progress of long work: nothing for short work, one bar for nested work, nothing without a terminal or a notebook."""

import io
import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from mixfast import Swarm, fit
from mixfast._text import progress
from mixfast._text.visible import is_visible

tqdm = pytest.importorskip("tqdm")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    stream = Terminal()
    # pytest puts its own stderr back between a fixture and its test.
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=stream, modules=sys.modules))
    monkeypatch.setattr(progress, "DELAY", 0.0)
    monkeypatch.setattr(progress, "_EVERY", 0.0)
    for name in ("RANK", "TQDM_DISABLE"):
        monkeypatch.delenv(name, raising=False)
    return stream


def work(parts=3):
    with progress.working("solving", parts) as whole:
        for _ in range(parts):
            whole.advance()


def test_work_shows_a_bar_and_takes_it_away(terminal):
    work()
    assert "mixfast: solving: " in terminal.getvalue()
    assert "3/3" in terminal.getvalue()
    assert terminal.getvalue().endswith(" \r")


def test_short_work_shows_nothing(terminal, monkeypatch):
    monkeypatch.setattr(progress, "DELAY", 60.0)
    work()
    assert terminal.getvalue() == ""


@pytest.mark.parametrize(
    ("name", "value"), [("RANK", "1"), ("TQDM_DISABLE", "1")], ids=["another rank", "switched off"]
)
def test_nothing_is_shown_where_nobody_wants_it(terminal, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    work()
    assert terminal.getvalue() == ""


def test_a_file_gets_no_bar(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "DELAY", 0.0)
    work()
    assert stream.getvalue() == ""


def test_without_tqdm_python_shows_nothing(terminal, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.std", None)
    work()
    assert terminal.getvalue() == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_draws_nothing(terminal, monkeypatch):
    with progress.working("reading", 2) as whole:
        monkeypatch.setattr(os, "getpid", lambda: -1)
        whole.advance()
    assert terminal.getvalue() == ""


def test_nested_work_counts_the_parts_of_the_outermost(terminal):
    with progress.working("refitting", 2) as whole:
        for _ in range(2):
            for _ in progress.tracked(range(5), "fitting", 5):
                progress.now("{} of {}", "gp\x1b[2J", 5)
            whole.advance()
    shown = terminal.getvalue()
    assert "2/2" in shown
    assert "/5 " not in shown
    assert all(is_visible(part) for part in shown.split("\r"))


def test_the_lock_and_the_thread_of_tqdm_are_left_alone(terminal):
    lock, monitor = getattr(tqdm.std.tqdm, "_lock", None), tqdm.std.tqdm.monitor
    work()
    assert getattr(tqdm.std.tqdm, "_lock", None) is lock
    assert tqdm.std.tqdm.monitor is monitor


def test_an_error_ends_the_work_that_it_leaves(terminal):
    def fails():
        with progress.working("outer", 1):
            for _ in progress.tracked([1], "inner", 1):
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    work()
    assert "mixfast: solving: " in terminal.getvalue()


def test_a_fit_counts_laws_and_folds(terminal):
    rng = np.random.default_rng(0)
    ratios = rng.dirichlet(np.ones(3), 20)
    swarm = Swarm(ratios, ratios[:, :1], domains=["a", "b", "c"], metric_names=["loss"])
    fit(swarm, ["linear", "log_linear"], folds=4)
    assert "mixfast: fitting laws: 100%" in terminal.getvalue()
    assert "10/10" in terminal.getvalue()
