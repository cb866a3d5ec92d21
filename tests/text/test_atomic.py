"""Files are replaced whole or not at all."""

from __future__ import annotations

import os
import stat

import pytest

from mixfast._text.atomic import replacing, write_text, write_together


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_new_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path) as handle:
        handle.write(b"new")
        handle.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with replacing(path) as handle:
            handle.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_text_is_utf8_and_keeps_its_line_ends(tmp_path):
    write_text(tmp_path / "a.txt", "ü\r\nx\n")
    assert (tmp_path / "a.txt").read_bytes() == "ü\r\nx\n".encode()


def test_half_a_character_writes_nothing(tmp_path):
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a.txt", "\ud800")
    assert names(tmp_path) == []


def test_together_writes_all_or_none(tmp_path):
    one, two = tmp_path / "one", tmp_path / "missing" / "two"
    with pytest.raises(FileNotFoundError) as refused:
        write_together({one: "1", two: "2"})
    assert refused.value.filename == str(two)
    assert names(tmp_path) == []
    write_together({one: "1", tmp_path / "two": "2"})
    assert names(tmp_path) == ["one", "two"]


def test_together_renames_in_the_order_given(tmp_path, monkeypatch):
    real = os.replace
    order = []

    def fails_at_third(source, target):
        order.append(target.name)
        if len(order) == 3:
            raise OSError(5, "broken")
        real(source, target)

    monkeypatch.setattr(os, "replace", fails_at_third)
    with pytest.raises(OSError, match="broken"):
        write_together({tmp_path / name: name for name in ("c", "a", "b", "d")})
    assert order == ["c", "a", "b"]
    assert names(tmp_path) == ["a", "c"]


def test_permissions_are_kept_and_otherwise_the_usual(tmp_path):
    path = tmp_path / "a"
    write_text(path, "1")
    (tmp_path / "usual").write_text("1")
    assert path.stat().st_mode == (tmp_path / "usual").stat().st_mode
    path.chmod(0o600)
    write_text(path, "2")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_stays_a_link_and_a_device_a_device(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    write_text("/dev/null", "gone")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
