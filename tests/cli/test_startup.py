"""What a process loads before it does its work: each module of the lists costs every start of a program."""

import subprocess
import sys
from pathlib import Path

import pytest

import mixfast

DEMO = Path(mixfast.__file__).parent / "data" / "demo.npz"
# Rooms that a solve of a table does not use, and large modules of the standard library and other packages.
NOT_FOR_A_SOLVE = {
    "mixfast.baselines", "mixfast.designs", "mixfast.experts", "mixfast.exporters", "mixfast.laws", "mixfast.loaders", "mixfast.mde", "mixfast.proposers",
    "mixfast.ranks._watch", "mixfast.readers", "mixfast.reference", "mixfast.report", "mixfast.reuse", "mixfast.sampler", "mixfast.score", "mixfast.swarm",
    "asyncio", "cvxpy", "decimal", "difflib", "email", "html", "importlib.metadata", "matplotlib", "numba", "numpy.ma", "pandas", "pyarrow", "scipy", "sklearn",
    "socket", "torch", "tqdm", "urllib.request", "yaml",
}  # fmt: skip


def loaded(code, *arguments):
    """Return the modules that a new process has loaded in the end, without those of a bare interpreter."""
    command = "import sys; before = set(sys.modules)\n{}\nprint(*set(sys.modules) - before, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", command.format(code), *arguments], capture_output=True, text=True, check=True
    )
    return set(done.stderr.split())


@pytest.mark.process
def test_import_loads_numpy_at_most():
    modules = loaded("import mixfast")
    assert {name for name in modules if name.startswith("mixfast")} == {"mixfast", "mixfast._version"}
    assert not modules & {"typing", "numpy"}


@pytest.mark.process
@pytest.mark.parametrize("option", ["--help", "--version"])
def test_the_list_of_commands_needs_no_numpy(option):
    modules = loaded("from mixfast.cli import main; main(sys.argv[1:])", option)
    assert "mixfast.cli._main" in modules
    assert not modules & {"numpy", "mixfast._engine", "mixfast.ranks", "mixfast.cli._options", "mixfast.cli._solve"}


@pytest.mark.process
def test_a_solve_loads_its_own_rooms():
    modules = loaded("from mixfast.cli import main; main(sys.argv[1:])", "solve", str(DEMO), "--quiet")
    assert "mixfast.solver" in modules
    assert not modules & NOT_FOR_A_SOLVE
    others = {name for name in modules if name.startswith("mixfast.cli._")}
    assert "mixfast.cli._swarm" not in others
    assert "mixfast.cli._demo" not in others


@pytest.mark.process
def test_a_command_has_the_same_options_alone_and_among_all():
    from mixfast.cli._commands import HELP
    from mixfast.cli._main import build_parser

    every = build_parser()
    assert list(every.below) == list(HELP)
    for name in HELP:
        assert build_parser([name]).below[name].format_help() == every.below[name].format_help()
    assert build_parser(["--help"]).format_help() == every.format_help()
