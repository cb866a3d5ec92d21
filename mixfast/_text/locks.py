"""Lock a file against other processes and threads while it is read, changed and replaced.

The lock is `flock` on the file itself, so nothing is left behind: it is released when the process ends in any way, including SIGKILL. A file
that is replaced by renaming is another file afterwards, and a waiting process would get the lock of the old one. Therefore the path is
opened again after each wait, and the wait starts again if it is another file. The path is opened, not only looked up, because that makes NFS ask its server.

If the file does not exist, its folder is locked. NFS locks files for all machines, but folders only within one machine: two machines must not
create one file at the same moment. A read-only file cannot be locked on NFS, so it is refused.

Systems and file systems without `flock` (Windows, some Lustre mounts) use a second file beside the first, created with O_EXCL. A killed
process leaves it there; the error then names it.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from mixfast._text.names import named

# Seconds between two attempts.
_AGAIN = 0.02
# Errors of `flock` on file systems without locks.
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK)
# At most this many characters are read from a file that says who holds a lock.
_MOST = 200


def this_process() -> str:
    """Describe the holder of a lock for waiting processes: this process, its machine and the time."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"process {os.getpid()} on {socket.gethostname()}, since {now}"


def named_in(path: Path) -> str:
    """Return the holder of a lock as written in a file, as one harmless line."""
    try:
        said = path.read_bytes()[:_MOST].decode("utf-8", "replace").strip()
    except OSError:
        said = ""
    return named(said, _MOST) if said else "another process"


@contextmanager
def locked(
    path: str | os.PathLike[str], error: type[Exception], *, patience: float, advice: str, make: bool = False
) -> Iterator[None]:
    """Hold the lock of a file inside the block, or of its folder while the file does not exist.

    Parameters
    ----------
    path : path
        The target of a symbolic link is locked, not the link itself.
    error : type of Exception
        Raised if the lock is not free within ``patience`` seconds, or if locking is impossible.
    patience : float
        Seconds.
    advice : str
        What to do if the lock is not free.
    make : bool, default False
        Create the file if it does not exist, instead of locking its folder: for a file that only serves as a lock. It says who holds it.
    """
    target = Path(os.path.realpath(path))
    latest = time.monotonic() + patience
    try:
        import fcntl
    except ImportError:
        with _marked(target, error, latest, advice):
            yield
        return
    while True:
        handle = _opened(target, make)
        try:
            try:
                _wait(handle, latest)
            except TimeoutError:
                who = named_in(target) if make else "another process"
                raise error(f"{path} is in use by {who}: {advice}") from None
            except OSError as problem:
                if problem.errno in _NO_LOCKS:
                    break
                if problem.errno == errno.EBADF:
                    # NFS locks only files that are open for writing.
                    raise error(f"{path} cannot be locked, as it is read-only: allow writing to it") from None
                raise
            if _is_at(handle, target):
                if make:
                    _sign(handle)
                yield
                return
        finally:
            # Unlock explicitly: a child process forked meanwhile has the handle too.
            with suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_UN)
            os.close(handle)
    with _marked(target, error, latest, advice):
        yield


def _opened(target: Path, make: bool = False) -> int:
    """Open a file, or its folder if it does not exist. Never waits, even for a pipe without a writer."""
    flags = os.O_CLOEXEC | os.O_NONBLOCK
    try:
        return os.open(target, os.O_RDWR | flags | (os.O_CREAT if make else 0), 0o666)
    except FileNotFoundError:
        return os.open(target.parent, os.O_RDONLY | flags)
    except OSError as problem:
        refused = problem
        if problem.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR):
            raise
    try:
        return os.open(target, os.O_RDONLY | flags)
    except FileNotFoundError:
        raise refused from None


def _sign(handle: int) -> None:
    """Write the holder into a lock file, if the disk has room for that."""
    with suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, this_process().encode(), 0)


def _wait(handle: int, latest: float) -> None:
    """Wait for the lock of a handle; raise TimeoutError after the latest time."""
    import fcntl

    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= latest:
                raise TimeoutError from None
        time.sleep(_AGAIN)


def _is_at(handle: int, target: Path) -> bool:
    """Whether a handle belongs to the file that is at the path now."""
    try:
        again = _opened(target)
    except FileNotFoundError:
        return False
    try:
        return os.path.sameopenfile(handle, again)
    finally:
        os.close(again)


@contextmanager
def _marked(target: Path, error: type[Exception], latest: float, advice: str) -> Iterator[None]:
    """Lock by a second file that exists as long as the lock is held."""
    marker = target.with_name(f".{target.name}.lock")
    while True:
        try:
            handle = os.open(marker, os.O_CREAT | os.O_EXCL | os.O_WRONLY, stat.S_IRUSR | stat.S_IWUSR)
            break
        except FileExistsError:
            if time.monotonic() >= latest:
                raise error(
                    f"{target} is in use by {named_in(marker)}: {advice}. If that process has ended, delete {marker}"
                ) from None
        time.sleep(_AGAIN)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as opened:
            opened.write(this_process())
        yield
    finally:
        marker.unlink(missing_ok=True)
