"""Every block of the README and of the docs runs: each is a test of its own, in the order of its page.

The blocks of a page share one folder and, if they are Python, one namespace. A test that is picked alone runs the blocks above it first.
"""

import doctest
import re
import shlex
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from mixfast import cli
from mixfast._text.numbers import count
from mixfast.cli import _inputs

ROOT = Path(__file__).resolve().parent.parent
# loaders/test_trainers.py runs this page, on two processes.
ELSEWHERE = ROOT / "docs" / "how-to" / "training-loops.md"
PAGES = [ROOT / "README.md", *(path for path in sorted((ROOT / "docs").rglob("*.md")) if path != ELSEWHERE)]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CHECKER = doctest.OutputChecker()
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def commands(block):
    """Each command line of a console block, and the output shown below it."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


class Page:
    """The blocks of one page, and the folder and namespace that they share."""

    def __init__(self, path):
        self.path, self.name = path, str(path.relative_to(ROOT))
        text = path.read_text(encoding="utf-8")
        self.blocks = [(text.count("\n", 0, found.start()) + 1, found[1], found[2]) for found in BLOCK.finditer(text)]
        self.namespace = {"__name__": self.name}
        self.done = 0

    def run(self, place, folder):
        """Run a block, and before it those above that have not run; what is wrong with these, their own tests say."""
        for above in range(self.done, place):
            try:
                self.run_one(above, folder)
            except (Exception, pytest.fail.Exception):
                continue
        self.done = max(self.done, place + 1)
        self.run_one(place, folder)

    def run_one(self, place, folder):
        line, kind, block = self.blocks[place]
        self.done = place + 1
        if kind == "python":
            # Lines of the page, so that a traceback names them.
            exec(compile("\n" * line + block, self.name, "exec"), self.namespace)
        elif kind == "yaml":
            (folder / "counts.yaml").write_text(block)
            counts = _inputs.numbers("counts.yaml", count)
            assert counts == {"web": 1_200_000_000_000, "code": 350_000_000_000, "books": 26_000_000_000}
        else:
            assert kind == "console", f"{self.name}:{line}: a block of {kind}, which no test can run"
            for command, output in commands(block):
                self.command(line, command, output)

    def command(self, line, command, output):
        program, *words = shlex.split(command)
        assert program == "mixfast"
        with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
            status = cli.main(words)
        assert status == 0, f"{self.name}:{line}: {command}\n{err.getvalue()}"
        if output and not CHECKER.check_output(output, out.getvalue(), FLAGS):
            pytest.fail(
                f"{self.name}:{line}: {command} printed\n{out.getvalue()}\nand the page shows\n{output}", pytrace=False
            )


ALL = [Page(path) for path in PAGES]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One folder for each page."""
    return {page.name: tmp_path_factory.mktemp(page.path.stem) for page in ALL}


@pytest.mark.parametrize(
    ("page", "place"),
    [
        pytest.param(page, place, id=f"{page.name}:{line}")
        for page in ALL
        for place, (line, _, _) in enumerate(page.blocks)
    ],
)
def test_the_block_runs(page, place, folders, monkeypatch):
    monkeypatch.chdir(folders[page.name])
    page.run(place, folders[page.name])


def test_the_readme_has_blocks_of_every_kind():
    blocks = ALL[0].blocks
    assert {kind for _, kind, _ in blocks} == {"console", "python", "yaml"}
    assert any(output for _, kind, block in blocks if kind == "console" for _, output in commands(block))
