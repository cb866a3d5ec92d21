"""A folder is put into place as a whole, or nothing changes."""

import errno
import os

import pytest

from mixfast._text import atomic, folders, interrupts
from mixfast._text.folders import private_folder


def content(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_folder_appears_when_it_is_complete(tmp_path):
    others = set(interrupts.unfinished)  # those of tests that were not allowed to remove theirs
    for text in ("old", "new"):
        with folders.replacing_folder(tmp_path / "table") as made:
            (made / f"{text}.txt").write_text(text)
            before = content(tmp_path / "table") if text == "new" else None
            assert before == ({"old.txt": "old"} if before else None)
            assert str(made) in interrupts.unfinished
        assert content(tmp_path / "table") == {f"{text}.txt": text}
        assert os.listdir(tmp_path) == ["table"]
    assert interrupts.unfinished == others


def test_a_failure_changes_nothing(tmp_path, monkeypatch):
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "a").write_text("a")
    with pytest.raises(ZeroDivisionError), folders.replacing_folder(tmp_path / "table") as made:
        (made / "b").write_text(f"{1 / 0}")
    real = os.rename

    def second_fails(old, new):
        if (tmp_path / "table") == new and not os.path.exists(new) and os.path.exists(os.path.join(old, "b")):
            raise PermissionError(13, "Permission denied", str(old))
        real(old, new)

    monkeypatch.setattr(os, "rename", second_fails)
    with pytest.raises(PermissionError) as caught, folders.replacing_folder(tmp_path / "table") as made:
        (made / "b").write_text("b")
    assert caught.value.filename == str(tmp_path / "table")
    assert content(tmp_path / "table") == {"a": "a"}
    assert os.listdir(tmp_path) == ["table"]


@pytest.mark.parametrize("other", ["has taken the old one away", "has put its own there"])
def test_two_processes_that_write_one_folder_end_well(tmp_path, monkeypatch, other):
    place, rename = tmp_path / "table", os.rename
    place.mkdir()
    (place / "a").write_text("old")

    def while_another_process_acts(source, target):
        if source != place or (tmp_path / "acted").exists():
            rename(source, target)
            return
        (tmp_path / "acted").touch()
        if other == "has taken the old one away":
            rename(place, tmp_path / "theirs")
            raise FileNotFoundError(errno.ENOENT, "gone", str(source))
        rename(source, target)
        place.mkdir()
        (place / "a").write_text("theirs")

    monkeypatch.setattr(os, "rename", while_another_process_acts)
    with folders.replacing_folder(place) as made:
        (made / "a").write_text("new")
    assert content(place) == {"a": "new"}
    assert not list(tmp_path.glob(".mixfast-*"))


def test_a_link_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    with folders.replacing_folder(tmp_path / "link") as made:
        (made / "a").write_text("a")
    assert (tmp_path / "link").is_symlink()
    assert content(tmp_path / "elsewhere") == {"a": "a"}


def test_folders_of_a_command_that_is_ended_are_removed(tmp_path):
    with folders.replacing_folder(tmp_path / "table") as made:
        (made / "a").write_text("a")
        interrupts.remove_unfinished()
        assert os.listdir(tmp_path) == []
        made.mkdir()


def test_a_file_that_cannot_be_written_is_named_by_its_future_path(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic, "_flush", full)
    with pytest.raises(OSError, match="No space") as caught, folders.replacing_folder(tmp_path / "table") as made:
        atomic.write_text(made / "a", "a")
    assert caught.value.filename == str(tmp_path / "table" / "a")
    assert os.listdir(tmp_path) == []


def test_a_private_folder_is_one_that_nobody_else_may_change(tmp_path):
    place = tmp_path / "own"
    assert private_folder(place) == private_folder(place) == place
    assert place.stat().st_mode & 0o777 == 0o700
    place.chmod(0o770)
    with pytest.raises(PermissionError, match="this user alone"):
        private_folder(place)
    place.chmod(0o700)
    (tmp_path / "link").symlink_to(place)
    (tmp_path / "file").write_text("")
    for name in ("link", "file"):
        with pytest.raises(PermissionError, match="this user alone"):
            private_folder(tmp_path / name)
    # Whoever may write to the folder above can replace the folder, unless only owners may rename there.
    tmp_path.chmod(0o777)
    with pytest.raises(PermissionError, match="this user alone"):
        private_folder(place)
    tmp_path.chmod(0o1777)
    assert private_folder(place) == place
    # So can those who may rename a folder further above.
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    assert private_folder(deep / "own") == deep / "own"
    (tmp_path / "a").chmod(0o777)
    with pytest.raises(PermissionError, match="this user alone"):
        private_folder(deep / "own")
    # A link that somebody may change later is followed once.
    (tmp_path / "a").chmod(0o755)
    (tmp_path / "shortcut").symlink_to(deep)
    assert private_folder(tmp_path / "shortcut" / "own") == deep / "own"


def test_a_private_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    place = private_folder(tmp_path / "own")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(PermissionError, match="this user alone"):
        private_folder(place)
