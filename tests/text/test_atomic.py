"""Files are replaced whole or not at all, whatever is at the path and whatever fails."""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from mixfast._text import atomic
from mixfast._text.atomic import is_stream, replacing, write_text, write_together

OLD, NEW = "old\n" * 1000, "new\n" * 500_000


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def fail_with(number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    return fail


def test_the_new_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path) as handle:
        handle.write(b"new")
        handle.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, ValueError])
def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, end):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with replacing(path) as handle:
            handle.write(b"half")
            raise end

    with pytest.raises(end):
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
    write_together({one: "1", tmp_path / "two": b"2"})
    assert names(tmp_path) == ["one", "two"]


def test_together_renames_in_the_order_given(tmp_path, monkeypatch):
    real = os.replace
    order = []

    def fails_at_third(source, target):
        order.append(os.path.basename(target))
        if len(order) == 3:
            raise OSError(errno.EIO, "broken")
        real(source, target)

    monkeypatch.setattr(os, "replace", fails_at_third)
    with pytest.raises(OSError, match="broken"):
        write_together({tmp_path / name: name for name in ("c", "a", "b", "d")})
    assert order == ["c", "a", "b"]
    assert names(tmp_path) == ["a", "c"]


def test_together_all_are_on_the_disk_before_the_first_rename(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (done.append("flush"), fsync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("rename"), replace(*names)))
    write_together({tmp_path / "a": "1", tmp_path / "b": "2"})
    # The folder is flushed after each rename.
    assert done == ["flush", "flush", "rename", "flush", "rename", "flush"]


@pytest.mark.parametrize("call", ["write", "fsync", "replace", "close"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_failure_names_the_path_and_the_reason_and_leaves_nothing(tmp_path, monkeypatch, call, number):
    path = tmp_path / "a.txt"
    path.write_text(OLD)
    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail_with(number))
        with pytest.raises(OSError, match=os.strerror(number)) as refused:
            write_together({path: NEW})
    assert refused.value.errno == number
    assert refused.value.filename == str(path)
    assert ".tmp" not in str(refused.value)
    assert path.read_text() == OLD
    assert names(tmp_path) == ["a.txt"]


def test_a_file_system_that_cannot_flush_is_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", fail_with(errno.EINVAL))
    write_text(tmp_path / "a", "1")
    assert (tmp_path / "a").read_text() == "1"


def test_an_array_that_does_not_fit_has_a_reason(tmp_path):
    path = tmp_path / "a.npy"
    path.write_text(OLD)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as refused, replacing(path) as handle:
            np.lib.format.write_array(handle, np.zeros(1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert refused.value.filename == str(path)
    assert path.read_text() == OLD
    assert names(tmp_path) == ["a.npy"]


def test_permissions_are_kept_and_otherwise_the_usual(tmp_path):
    path = tmp_path / "a"
    write_text(path, "1")
    (tmp_path / "usual").write_text("1")
    assert path.stat().st_mode == (tmp_path / "usual").stat().st_mode
    for mode in (0o600, 0o664, 0o640):
        path.chmod(mode)
        write_text(path, "2")
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_nobody_else_reads_what_is_written_over_a_private_file(tmp_path):
    path = tmp_path / "a"
    path.write_text("1")
    path.chmod(0o644)
    with replacing(path):
        (temporary,) = (one for one in tmp_path.iterdir() if one != path)
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to others")
def test_the_owner_is_kept(tmp_path):
    path = tmp_path / "a"
    path.write_text("1")
    os.chown(path, 12345, 23456)
    write_text(path, "2")
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)


def test_another_group_gets_no_more_than_everybody(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_text("1")
    path.chmod(0o664)
    real = os.fstat

    def of_another(descriptor):
        found = list(real(descriptor))
        found[5] += 1
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", of_another)
    monkeypatch.setattr(os, "fchown", fail_with(errno.EPERM))
    write_text(path, "2")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_link_stays_a_link_and_its_target_is_written(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "real").write_text("old")
    (tmp_path / "sub" / "middle").symlink_to("real")
    (tmp_path / "link").symlink_to("sub/middle")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "sub" / "middle").is_symlink()
    assert (tmp_path / "sub" / "real").read_text() == "new"
    assert names(tmp_path / "sub") == ["middle", "real"]


def test_a_link_to_nothing_makes_its_target_and_one_in_a_circle_is_refused(tmp_path):
    (tmp_path / "link").symlink_to("none")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "none").read_text() == "new"
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(OSError, match="Too many levels") as refused:
        write_text(tmp_path / "circle", "new")
    assert refused.value.filename == str(tmp_path / "circle")


def test_what_others_put_at_the_temporary_name_is_not_touched(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "urandom", lambda size: bytes(size))
    (tmp_path / "victim").write_text("precious")
    planted = tmp_path / f".mixfast-{'0' * 16}.tmp"
    planted.symlink_to("victim")
    with pytest.raises(FileExistsError):
        write_text(tmp_path / "a", "new")
    assert planted.is_symlink()
    assert (tmp_path / "victim").read_text() == "precious"
    assert names(tmp_path) == [planted.name, "victim"]


def test_a_pipe_is_written_to(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    write_together({pipe: NEW})
    reader.join()
    assert found == [NEW.encode()]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert names(tmp_path) == ["pipe"]
    assert is_stream(pipe)
    assert not is_stream(tmp_path / "none")


def test_a_pipe_that_nobody_reads_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "_READ_WITHIN", 0.05)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no program reads this pipe") as refused:
        write_text(tmp_path / "pipe", "new")
    assert refused.value.filename == str(tmp_path / "pipe")


def test_an_archive_goes_through_a_pipe(tmp_path):
    pipe, copy = tmp_path / "pipe", tmp_path / "copy.npz"
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: copy.write_bytes(pipe.read_bytes()))
    reader.start()
    with replacing(pipe) as handle:
        np.savez(handle, a=np.arange(5))
    reader.join()
    assert np.load(copy)["a"].tolist() == [0, 1, 2, 3, 4]


def test_streams_wait_until_all_files_are_whole(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    # The pipe has no reader: writing would be refused earlier.
    with pytest.raises(FileNotFoundError):
        write_together({tmp_path / "pipe": "1", tmp_path / "none" / "a": "2"})


def test_a_device_stays_one_and_a_full_one_is_named(tmp_path):
    write_text("/dev/null", "gone")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    (tmp_path / "link").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as refused:
        write_text(tmp_path / "link", "new")
    assert refused.value.filename == str(tmp_path / "link")
    assert names(tmp_path) == ["link"]


def test_a_socket_and_folders_are_refused_by_name(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        with pytest.raises(OSError, match="No such device") as refused:
            write_text(tmp_path / "socket", "new")
    assert refused.value.filename == str(tmp_path / "socket")
    for path in (tmp_path, f"{tmp_path}/"):
        with pytest.raises(OSError, match="directory") as refused:
            write_text(path, "new")
        assert refused.value.filename == str(path)
    assert names(tmp_path) == ["socket"]


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_an_open_descriptor_is_written_to_where_it_stands(tmp_path, name):
    """As in a shell: the file behind it is neither replaced nor truncated, and output before and after stays."""
    script = (
        "import sys; from mixfast._text.atomic import write_text\n"
        f"print('before'); write_text({name!r}, 'new\\n'); print('after')"
    )
    with (tmp_path / "out").open("w") as out:
        subprocess.run([sys.executable, "-c", script], stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "before\nnew\nafter\n"
    piped = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True)
    assert piped.stdout == b"before\nnew\nafter\n"
    assert names(tmp_path) == ["out"]


def test_the_longest_name_is_written_and_a_longer_one_named(tmp_path):
    write_text(tmp_path / ("a" * 255), "new")
    with pytest.raises(OSError, match="too long") as refused:
        write_text(tmp_path / ("a" * 256), "new")
    assert refused.value.filename == str(tmp_path / ("a" * 256))
    assert len(names(tmp_path)) == 1


def test_a_folder_without_permission_is_said(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_text("old")
    real = os.open

    def refuse(name, flags, *mode):
        return fail_with(errno.EACCES)() if flags & os.O_CREAT else real(name, flags, *mode)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError, match="no new file can be created in") as refused:
        write_text(path, "new")
    assert refused.value.filename == str(path)
    assert path.read_text() == "old"


def test_a_file_without_permission_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_text("old")
    real = os.open
    refuse = fail_with(errno.EACCES)
    monkeypatch.setattr(os, "open", lambda name, *rest: refuse() if name == str(path) else real(name, *rest))
    with pytest.raises(PermissionError):
        write_text(path, "new")
    assert names(tmp_path) == ["a"]


def test_two_processes_that_write_one_path_end_well(tmp_path):
    path = tmp_path / "a"
    spawn = multiprocessing.get_context("fork")
    writers = [spawn.Process(target=_write_often, args=(path, mark)) for mark in "xyz"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert path.read_text() in {mark * 5000 for mark in "xyz"}
    assert names(tmp_path) == ["a"]


def _write_often(path, mark):
    os.fsync = lambda descriptor: None
    for _ in range(100):
        write_text(path, mark * 5000)


@pytest.mark.parametrize("wait", [0.0, 0.002, 0.01, 0.03])
def test_a_killed_process_leaves_the_old_files_or_the_new(tmp_path, wait):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text(OLD)
    two.write_text(OLD)
    ready = multiprocessing.get_context("fork").Event()

    def write():
        ready.set()
        while True:
            write_together({one: NEW, two: NEW})
            write_together({one: OLD, two: OLD})

    writer = multiprocessing.get_context("fork").Process(target=write)
    writer.start()
    ready.wait()
    time.sleep(wait)
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    assert one.read_text() in (OLD, NEW)
    assert two.read_text() in (OLD, NEW)
    assert all(name in ("one", "two") or name.startswith(".mixfast-") for name in names(tmp_path))


def test_an_end_by_a_signal_handler_removes_the_temporary_file(tmp_path):
    script = (
        "import os, signal, sys, time; from mixfast._text.atomic import replacing\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n"
        f"with replacing({str(tmp_path / 'a')!r}) as handle:\n"
        "    handle.write(b'half'); handle.flush(); print('ready', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    process.stdout.readline()
    assert len(names(tmp_path)) == 1
    process.terminate()
    process.communicate()
    assert process.returncode == 3
    assert names(tmp_path) == []
