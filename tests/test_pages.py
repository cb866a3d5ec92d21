"""Every block of the README and of the docs is tested: each is a test of its own, in the order of its page.

The blocks of a page share one folder and, if they are Python, one namespace. A test that is selected alone first runs the blocks above it.

- `python` blocks are executed. Their printed output is compared with the `output` block below, if there is one.
- `console` blocks have lines `$ mixfast ...`, which are executed. The output below a line is compared with that of the command; `...` stands for omitted text.
- A language followed by a file name, such as `yaml tokens.yaml`, writes that file. Bash files must be valid bash.
- `sh` blocks are not executed. Their `mixfast` lines, and those of bash files, must parse; extras and make targets must exist.
"""

import doctest
import re
import shlex
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from shell_lines import check_bash, check_lines

from mixfast import cli

ROOT = Path(__file__).resolve().parent.parent
# loaders/test_trainers.py runs this page, on two processes.
ELSEWHERE = ROOT / "docs" / "how-to" / "training-loops.md"
PAGES = [ROOT / "README.md", *(path for path in sorted((ROOT / "docs").rglob("*.md")) if path != ELSEWHERE)]
BLOCK = re.compile(r"^```(\w+)(?: ([^\s`]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CHECKER = doctest.OutputChecker()
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def commands(block):
    """Return each command line of a console block, and the output shown below it."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


class Tee(StringIO):
    """A stream that writes to two others."""

    def __init__(self, *targets):
        super().__init__()
        self.targets = targets

    def write(self, text):
        for target in self.targets:
            target.write(text)
        return len(text)


class Page:
    """The blocks of one page, and the folder and namespace that they share."""

    def __init__(self, path):
        self.path, self.name = path, str(path.relative_to(ROOT))
        text = path.read_text(encoding="utf-8")
        self.blocks = [
            (text.count("\n", 0, found.start()) + 1, found[1], found[2], found[3]) for found in BLOCK.finditer(text)
        ]
        self.start()

    def start(self):
        self.namespace = {"__name__": self.name}
        self.printed = ""
        self.done = 0

    def run(self, place, folder):
        """Run a block, after the blocks above it that have not run; their own tests report their errors.

        One of two processes may get the end of a page before its beginning: then the page starts again.
        """
        if place < self.done:
            for each in folder.iterdir():
                shutil.rmtree(each) if each.is_dir() else each.unlink()
            self.start()
        for above in range(self.done, place):
            try:
                self.run_one(above, folder)
            except (Exception, pytest.fail.Exception):
                continue
        self.done = max(self.done, place + 1)
        self.run_one(place, folder)

    def run_one(self, place, folder):
        line, kind, file, block = self.blocks[place]
        where = f"{self.name}:{line}"
        self.done = place + 1
        if file is not None:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(block, encoding="utf-8")
            if kind == "bash":
                check_bash(folder / file, where)
                check_lines(block, where)
        elif kind == "python":
            with redirect_stdout(StringIO()) as out:
                # The line numbers of the page, so that a traceback shows them.
                exec(compile("\n" * line + block, self.name, "exec"), self.namespace)
            self.printed = out.getvalue()
        elif kind == "output":
            self.compare(where, block, self.printed)
        elif kind == "sh":
            check_lines(block, where)
        else:
            assert kind == "console", f"{where}: a block of {kind} without a file name, which no test can run"
            for command, output in commands(block):
                self.command(line, command, output)

    def command(self, line, command, output):
        program, *words = shlex.split(command)
        assert program == "mixfast"
        both, out = StringIO(), StringIO()
        with redirect_stdout(Tee(out, both)), redirect_stderr(both):
            status = cli.main(words)
        assert status == 0, f"{self.name}:{line}: {command}\n{both.getvalue()}"
        # A terminal shows both streams; a page may leave out notes and warnings.
        if CHECKER.check_output(output, both.getvalue(), FLAGS):
            return
        if output:
            self.compare(f"{self.name}:{line}: {command}", output, out.getvalue())

    @staticmethod
    def compare(what, shown, printed):
        """Fail if the output on the page differs from the printed output."""
        if not CHECKER.check_output(shown, printed, FLAGS):
            pytest.fail(f"{what} printed\n{printed}\nand the page shows\n{shown}", pytrace=False)


ALL = [Page(path) for path in PAGES]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return one folder for each page."""
    return {page.name: tmp_path_factory.mktemp(page.path.stem) for page in ALL}


@pytest.mark.parametrize(
    ("page", "place"),
    [
        pytest.param(page, place, id=f"{page.name}:{line}")
        for page in ALL
        for place, (line, *_) in enumerate(page.blocks)
    ],
)
def test_the_block_runs(page, place, folders, monkeypatch):
    monkeypatch.chdir(folders[page.name])
    # Started in the root of a checkout, transformers would take our folder `kernels` for a package of that name.
    monkeypatch.setattr(sys, "path", [path for path in sys.path if Path(path).resolve() != ROOT])
    page.run(place, folders[page.name])


def test_the_readme_has_commands_with_output_and_python():
    blocks = ALL[0].blocks
    assert {kind for _, kind, _, _ in blocks} >= {"console", "python"}
    assert any(output for _, kind, _, block in blocks if kind == "console" for _, output in commands(block))
