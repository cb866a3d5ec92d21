"""A lock has one holder at a time, whatever happens to the file, its holder or the file system."""

import errno
import os
import subprocess
import sys
import threading

import pytest

from mixfast._text.locks import locked, named_in, this_process

fcntl = pytest.importorskip("fcntl")


class Busy(Exception):
    pass


def taken(path, **changes):
    """Whether the lock of a path is held by another holder."""
    try:
        with locked(path, Busy, **{"patience": 0.0, "advice": "wait", **changes}):
            return False
    except Busy:
        return True


def held(path, **changes):
    return locked(path, Busy, **{"patience": 60.0, "advice": "wait", **changes})


def test_a_lock_is_held_within_the_block_and_leaves_nothing(tmp_path):
    path = tmp_path / "a.yaml"
    for there in (False, True):
        if there:
            path.write_text("x")
        with held(path):
            assert taken(path)
        assert not taken(path)
    assert [one.name for one in tmp_path.iterdir()] == ["a.yaml"]
    with pytest.raises(Busy, match=r"a\.yaml is in use by another process: wait"), held(path), held(path, patience=0.0):
        pass


def test_a_block_that_fails_lets_go(tmp_path):
    def fail():
        with held(tmp_path / "a.yaml"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not taken(tmp_path / "a.yaml")


def test_the_file_is_locked_not_its_links(tmp_path):
    path, link, dangling = tmp_path / "a.yaml", tmp_path / "link.yaml", tmp_path / "dangling.yaml"
    path.write_text("x")
    link.symlink_to(path)
    (tmp_path / "folder").mkdir()
    dangling.symlink_to(tmp_path / "folder" / "new.yaml")
    with held(link):
        assert taken(path)
    with held(dangling):
        assert taken(tmp_path / "folder" / "new.yaml")
        assert not taken(path)


def test_who_waited_for_a_file_that_was_replaced_waits_for_the_new_one(tmp_path, monkeypatch):
    """Otherwise the waiter, on the old file, and a newcomer, on the new one, would both hold the lock."""
    path, inside, leave, entered = tmp_path / "a.yaml", threading.Event(), threading.Event(), []
    path.write_text("old")

    def wait():
        with held(path):
            entered.append(path.read_text())
            inside.set()
            leave.wait(60)

    waiter = threading.Thread(target=wait)
    with held(path):
        asked = threading.Event()
        real = fcntl.flock
        monkeypatch.setattr(fcntl, "flock", lambda *given: (asked.set(), real(*given))[1])
        waiter.start()
        assert asked.wait(60)
        (tmp_path / "new").write_text("new")
        os.replace(tmp_path / "new", path)
    assert inside.wait(60)
    assert taken(path)
    leave.set()
    waiter.join()
    assert entered == ["new"]
    assert not taken(path)


def test_a_file_that_appears_while_its_folder_is_locked_is_locked_itself(tmp_path, monkeypatch):
    path, real = tmp_path / "a.yaml", fcntl.flock

    def appears(handle, kind):
        path.touch()
        real(handle, kind)

    monkeypatch.setattr(fcntl, "flock", appears)
    with held(path):
        assert taken(path)
        assert not taken(tmp_path / "b.yaml")


def test_a_file_that_is_only_a_lock_is_made(tmp_path):
    path = tmp_path / "lock"
    with held(path, make=True):
        assert path.exists()
        assert taken(path, make=True)
        path.unlink()
        # The path is then another file with another lock.
        assert not taken(path, make=True)
    with pytest.raises(FileNotFoundError), held(tmp_path / "missing" / "lock", make=True):
        pass


def test_a_child_that_was_forked_meanwhile_does_not_keep_the_lock(tmp_path):
    path, (until, go) = tmp_path / "a.yaml", os.pipe()
    path.touch()
    with held(path):
        child = os.fork()
        if child == 0:
            os.close(go)
            os.read(until, 1)
            os._exit(0)
    try:
        assert not taken(path)
    finally:
        os.close(until)
        os.close(go)
        os.waitpid(child, 0)


HOLD = """
import sys
from mixfast._text.locks import locked
with locked(sys.argv[1], RuntimeError, patience=0, advice=""):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.process
@pytest.mark.parametrize("there", [False, True])
def test_a_kill_lets_go(tmp_path, there):
    path = tmp_path / "a.yaml"
    if there:
        path.touch()
    process = subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"held\n"
        assert taken(path)
    finally:
        process.kill()
        process.communicate()
    assert not taken(path)
    assert [one.name for one in tmp_path.iterdir()] == ["a.yaml"] * there


@pytest.mark.parametrize("without", ["fcntl", errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_flock_a_file_beside_it_is_the_lock(tmp_path, monkeypatch, without):
    path, marker = tmp_path / "a.yaml", tmp_path / ".a.yaml.lock"
    path.touch()
    if without == "fcntl":
        monkeypatch.setitem(sys.modules, "fcntl", None)
    else:

        def refuses(handle, kind):
            raise OSError(without, os.strerror(without))

        monkeypatch.setattr(fcntl, "flock", refuses)
    with held(path):
        assert f"process {os.getpid()} on " in marker.read_text()
        with pytest.raises(
            Busy, match=rf"in use by process {os.getpid()} on .*: wait. If .* has ended, delete .*\.lock"
        ):
            held(path, patience=0.0).__enter__()
    assert not marker.exists()
    assert not taken(path)


def test_what_cannot_be_locked_is_an_error(tmp_path, monkeypatch):
    path = tmp_path / "a.yaml"
    path.touch()

    def refuses(number):
        def flock(handle, kind):
            raise OSError(number, os.strerror(number))

        return flock

    monkeypatch.setattr(fcntl, "flock", refuses(errno.EBADF))
    with pytest.raises(Busy, match="read-only"):
        held(path).__enter__()
    monkeypatch.setattr(fcntl, "flock", refuses(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        held(path).__enter__()
    assert [one.name for one in tmp_path.iterdir()] == ["a.yaml"]


def test_a_pipe_without_a_writer_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.yaml")
    with held(tmp_path / "a.yaml"):
        pass


def test_what_a_lock_says_of_its_holder_is_one_harmless_line(tmp_path):
    path = tmp_path / "lock"
    assert named_in(path) == "another process"
    path.write_bytes(b"")
    assert named_in(path) == "another process"
    path.write_text(this_process())
    assert named_in(path) == this_process()
    path.write_bytes(b"\x1b[2J\n\xff" + b"x" * 1000)
    assert named_in(path).isprintable()
    assert len(named_in(path)) < 250
