"""A missing optional package is refused with the command that installs it."""

from __future__ import annotations

import sys

import pytest

from mixfast._text.optional import needed
from mixfast.errors import BackendError


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
