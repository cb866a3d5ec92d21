"""Every block of the README runs: Python in one namespace, commands through `mixfast.cli.main`, in an empty folder."""

import doctest
import re
import shlex
from pathlib import Path

import pytest

from mixfast import cli
from mixfast.cli import _inputs

README = Path(__file__).resolve().parent.parent / "README.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
CHECKER = doctest.OutputChecker()
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def commands(block):
    """Each command line of a console block, and the output shown below it."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def test_the_readme_has_blocks_of_every_kind():
    assert {kind for kind, _ in BLOCKS} == {"console", "python", "yaml"}
    assert any(output for kind, block in BLOCKS if kind == "console" for _, output in commands(block))


def test_every_block_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "readme"}
    for place, (kind, block) in enumerate(BLOCKS):
        if kind == "python":
            exec(compile(block, f"README block {place}", "exec"), namespace)
            capsys.readouterr()
        elif kind == "yaml":
            (tmp_path / "counts.yaml").write_text(block)
            counts = _inputs.numbers("counts.yaml", _inputs.count)
            assert counts == {"web": 1_200_000_000_000, "code": 350_000_000_000, "books": 26_000_000_000}
        else:
            for command, output in commands(block):
                program, *arguments = shlex.split(command)
                assert program == "mixfast"
                status = cli.main(arguments)
                printed = capsys.readouterr()
                assert status == 0, f"{command}\n{printed.err}"
                if output and not CHECKER.check_output(output, printed.out, FLAGS):
                    pytest.fail(f"{command} printed\n{printed.out}\nand the README shows\n{output}", pytrace=False)
