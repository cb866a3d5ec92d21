"""An error about a missing optional package names the command that installs it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mixfast._text.optional import needed
from mixfast.errors import BackendError

ROOT = Path(__file__).resolve().parents[2]


def test_a_missing_package_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)

    def load():
        with needed("the law", "Numba", "mixfast[laws]", BackendError):
            import numba  # noqa: F401

    with pytest.raises(BackendError, match=r"the law needs Numba .*: pip install 'mixfast\[laws\]'$") as refused:
        load()
    assert isinstance(refused.value.__cause__, ImportError)


def test_a_requirement_without_an_extra_needs_no_quotes():
    with pytest.raises(ValueError, match=r"pip install torch$"), needed("it", "PyTorch", "torch", ValueError):
        raise ImportError


def test_other_errors_pass():
    with pytest.raises(KeyError), needed("it", "PyTorch", "torch", ValueError):
        raise KeyError


def test_extras_are_quoted_wherever_they_are_named():
    """Without quotes, zsh takes brackets for a file pattern."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    names = [
        name
        for name in listed.stdout.split("\0")
        if name.endswith((".py", ".md", ".toml", ".sh", "Makefile", ".yml", ".pyx"))
    ]
    assert len(names) > 300
    bare = re.compile(r"pip install (?:-\S+ )*mix" + r"fast\[")
    assert [
        name for name in names if (ROOT / name).is_file() and bare.search((ROOT / name).read_text(encoding="utf-8"))
    ] == []
