"""Write a folder of files as a whole: it is filled beside its place and renamed to it when it is complete. Make folders for one user alone.

A folder at the place is replaced only if the caller has checked its content. It is first renamed and removed at the end, so a process
that is killed between both renames leaves the old folder beside its place, as ``.mixfast-<random>.tmp``.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mixfast._text.interrupts import unfinished, uninterrupted


@contextmanager
def replacing_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Make the future content of a folder in a temporary one, which is put into place if the block succeeds, else removed."""
    target = Path(os.path.realpath(path))
    new = _beside(target)
    with _naming(path):
        new.mkdir()
    unfinished.add(str(new))
    try:
        yield new
        with _naming(path):
            place_folder(new, target)
    except OSError as problem:
        # The caller knows a file that could not be written by its future path.
        if not (isinstance(problem.filename, str) and problem.filename.startswith(f"{new}{os.sep}")):
            raise
        future = os.path.join(path, os.path.relpath(problem.filename, new))
        raise OSError(problem.errno, problem.strerror, future) from None
    finally:
        shutil.rmtree(new, ignore_errors=True)
        unfinished.discard(str(new))


def place_folder(new: Path, target: Path) -> None:
    """Rename a complete folder to its place on the same file system; a folder that is there is removed."""
    old = None
    with uninterrupted():
        try:
            os.rename(new, target)
        except OSError as problem:
            # An empty folder is replaced by the rename.
            if problem.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            old = _beside(target)
            os.rename(target, old)
            try:
                os.rename(new, target)
            except OSError:
                os.rename(old, target)
                raise
    _flush(target.parent)
    if old is not None:
        shutil.rmtree(old)


def private_folder(path: Path) -> Path:
    """Make a folder that only its user can read and write, if there is none, and return its path.

    Raises
    ------
    OSError
        If it cannot be made or written to, or if another user made it, may write to it, or may replace it.
    """
    with suppress(FileExistsError):
        path.mkdir(mode=stat.S_IRWXU)
    found, above = path.lstat(), path.parent.stat()
    # A link at the path may be changed to point elsewhere, and a folder can be replaced by those who may write to the folder above, unless
    # that is "sticky", as /tmp is.
    private = (
        stat.S_ISDIR(found.st_mode)
        and found.st_uid == os.geteuid()
        and not found.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    )
    kept = not above.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or above.st_mode & stat.S_ISVTX
    if not (private and kept and above.st_uid in (0, os.geteuid())):
        raise PermissionError(errno.EPERM, "not a folder of this user alone", os.fspath(path))
    return path


def _beside(target: Path) -> Path:
    return target.with_name(f".mixfast-{os.urandom(8).hex()}.tmp")


def _flush(folder: Path) -> None:
    # The folder is complete even if this fails: not every file system can flush folders.
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Make errors name the path given by the caller."""
    try:
        yield
    except OSError as problem:
        raise OSError(problem.errno, problem.strerror, os.fspath(path)) from None
