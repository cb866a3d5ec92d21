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


@contextmanager
def new_folders(path: Path) -> Iterator[None]:
    """Make a folder, and those above it, for files that are written into it; if that fails, remove those that were made."""
    made: list[Path] = []
    try:
        for folder in (*reversed(path.parents), path):
            with suppress(FileExistsError):
                folder.mkdir()
                made.append(folder)
        yield
    except BaseException:
        for folder in reversed(made):
            with suppress(OSError):  # another process has put something there
                folder.rmdir()
        raise


def place_folder(new: Path, target: Path) -> None:
    """Rename a complete folder to its place on the same file system; a folder that is there is removed.

    If several processes do this at once, the last one remains.
    """
    replaced: list[Path] = []
    with uninterrupted():
        while not _renamed(new, target):
            old = _beside(target)
            try:
                os.rename(target, old)
            except FileNotFoundError:  # another process has just taken it away, and puts its own folder there
                continue
            replaced.append(old)
            try:
                if _renamed(new, target):
                    break
            except OSError:
                os.rename(replaced.pop(), target)
                raise
    _flush(target.parent)
    for old in replaced:
        shutil.rmtree(old)


def _renamed(new: Path, target: Path) -> bool:
    """Rename a folder; return False if a folder with content is at the target. An empty one is replaced."""
    try:
        os.rename(new, target)
    except OSError as problem:
        if problem.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def private_folder(path: Path) -> Path:
    """Make a folder that only its user can read and write, if there is none, and return its path without links.

    Raises
    ------
    OSError
        If it cannot be made or written to, or if another user made it, may write to it, or may replace it or a folder above it.
    """
    # Links above the folder are followed once, so that nobody can point them elsewhere afterwards.
    place = Path(os.path.realpath(path.parent)) / path.name
    with suppress(FileExistsError):
        place.mkdir(mode=stat.S_IRWXU)
    found = place.lstat()
    private = (
        stat.S_ISDIR(found.st_mode)
        and found.st_uid == os.geteuid()
        and not found.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    )
    if not (private and all(map(_keeps_its_folders, place.parents))):
        raise PermissionError(errno.EPERM, "not a folder of this user alone", os.fspath(path))
    return place


def _keeps_its_folders(folder: Path) -> bool:
    """Whether nobody but this user and root can rename what is in a folder: others cannot write to it, or it is "sticky", as /tmp is."""
    found = folder.stat()
    kept = not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or bool(found.st_mode & stat.S_ISVTX)
    return kept and found.st_uid in (0, os.geteuid())


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
