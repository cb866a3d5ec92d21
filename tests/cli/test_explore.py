"""`mixfast explore` opens the page that it wrote, in a terminal and unless it is told not to."""

import sys
from argparse import Namespace

import numpy as np
import pytest

from mixfast import ExpertTable


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """Stand in a folder with a table of experts; return the addresses that a browser was asked to open."""
    addresses = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("webbrowser.open", addresses.append)
    ExpertTable.from_loglik(-np.random.default_rng(0).exponential(size=(20, 2)), domains=["web", "code"]).save("t.npz")
    return addresses


@pytest.mark.parametrize(
    ("terminal", "words", "opens"), [(True, [], True), (True, ["--no-open"], False), (False, [], False)]
)
def test_a_page_is_opened_in_a_terminal_only(run, opened, monkeypatch, tmp_path, terminal, words, opens):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    status, out, _ = run("explore", "t.npz", *words, "--out", "page.html")
    assert (status, out) == (0, "wrote page.html\n")
    assert opened == [(tmp_path / "page.html").as_uri()] * opens


def test_the_command_of_a_page_has_every_limit_that_was_given():
    from mixfast.cli import _exact

    args = Namespace(
        tokens=None, budget=None, max_epochs=0, cap=["0.5"], floor=[], limit=None, task=["a", "b"], conditional=False
    )
    assert _exact.of_laws(args, "law.json") == ["mixfast", "propose", "law.json", "--max-epochs", "0", "--cap", "0.5"]
    words = ["--max-epochs", "0", "--cap", "0.5", "--task", "a", "--task", "b"]
    assert _exact.of_table(args, "t") == ["mixfast", "solve", "t", *words]
    args.conditional = True
    assert _exact.of_table(args, "t")[-1] == "--conditional"


@pytest.mark.parametrize(("name", "text"), [("counts.yaml", "web: 1\n"), ("ratios.csv", "run,web\nr1,1\n")])
def test_a_file_that_is_neither_laws_nor_a_table_is_refused(run, opened, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    status, _, err = run("explore", name)
    assert status == 2
    assert "expected fitted laws" in err
    assert "or a table of experts" in err
