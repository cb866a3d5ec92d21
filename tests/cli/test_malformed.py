"""Malformed files of every kind, in every command that reads them: a line that names the file, or an answer, but no traceback."""

import random

import malformed
import pytest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("scipy")  # for the Gaussian process
    return malformed.make(tmp_path_factory.mktemp("malformed"))


@pytest.mark.parametrize("name", malformed.READ_BY)
def test_a_malformed_file_is_refused_in_a_line(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    for seed in range(6):
        words, wrong, err = malformed.run(folder, name, random.Random(f"{name} {seed}"))
        assert not wrong, f"{wrong}: {' '.join(words)}\n{err[-2000:]}"


@pytest.mark.parametrize("name", malformed.READ_BY)
def test_the_good_files_are_read(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    words = [name if word == "FILE" else word for word in malformed.READ_BY[name][0]]
    (folder / "new.yaml").unlink(missing_ok=True)
    status, _, err = malformed.outcome(words)
    assert status == 0, err
