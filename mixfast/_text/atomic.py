"""The only writer of files: a reader sees either the whole old content or the whole new one, whatever fails.

The kind of the path decides how it is written:

- Nothing, or a file: the content is written to a temporary file beside it, ``.mixfast-<random>.tmp``, which is renamed to the path when it
  is complete. It gets the permissions of the replaced file, and its owner if the system allows; other names of the same file (hard
  links) keep the old content. A file without write permission is refused, although its folder would allow the rename.
- A symbolic link: its target is written, and the link stays; if the target does not exist, it is created.
- A pipe, a terminal or another character device, and a path of an open descriptor (``/dev/stdout``, ``/dev/fd/63`` of a shell's
  ``>(command)``): the path is a stream, which is written to and never replaced. A program must open a pipe for reading within five seconds.
- A folder or a block device: refused.

Content and rename are flushed to the disk (fsync) for every file, so that a power failure also leaves the old or the new content.
A folder without write permission is refused even if the file in it could be written, because it could only be written in place.

A failure is an `OSError` with the reason and the path given by the caller. Only a killed process can leave the temporary file; all
other ends remove it. Signals that the command handles wait until all files that are written together are in place.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Any

from mixfast._text.interrupts import unfinished, uninterrupted

_Path = str | os.PathLike[str]

# As many links are followed as Linux follows.
_MOST_LINKS = 40
_BUFFER = 1 << 17
# A pipe must be opened for reading within this many seconds.
_READ_WITHIN = 5.0
# Paths of open descriptors; those of other processes are ordinary paths.
_DESCRIPTOR = re.compile(r"/dev/(?:std(?P<name>in|out|err)|fd/(?P<dev>\d+))|/proc/(?P<pid>self|\d+)/fd/(?P<proc>\d+)")
_STANDARD = {"in": 0, "out": 1, "err": 2}
# Errors of file systems that do not support flushing.
_NO_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


@contextmanager
def replacing(path: _Path) -> Iterator[IO[bytes]]:
    """Open the future content of ``path`` for writing. It is put into place if the block succeeds; if it fails, nothing has changed.

    Output to a stream cannot be taken back.
    """
    with _staged(path) as new:
        with new.opened() as handle:
            yield handle
        new.place()


def write_text(path: _Path, text: str) -> None:
    """Write ``text`` as UTF-8, with its line ends unchanged."""
    write_together({path: text})


def write_together(files: Mapping[Any, str | bytes]) -> None:
    """Write all contents (texts as UTF-8). All files are complete before the first is put into place, in the given order.

    If one cannot be written, none is changed. Streams are written after all files are complete.
    """
    contents = [text.encode("utf-8") if isinstance(text, str) else text for text in files.values()]
    with ExitStack() as stack:
        staged = [stack.enter_context(_staged(path)) for path in files]
        # Sorting keeps the order among files and among streams.
        for new, content in sorted(zip(staged, contents, strict=True), key=lambda pair: pair[0].is_stream):
            with new.opened() as handle:
                handle.write(content)
        with uninterrupted():
            for new in staged:
                new.place()


def is_stream(path: _Path) -> bool:
    """Whether ``path`` is a stream, so that its ending says nothing about its content."""
    try:
        return _Staged(path).is_stream
    except OSError:
        return False


def check_writable(path: _Path) -> None:
    """Raise the `OSError` that writing would raise, as far as it can be known beforehand."""
    _Staged(path).check()


@contextmanager
def _staged(path: _Path) -> Iterator[_Staged]:
    new = _Staged(path)
    try:
        yield new
    finally:
        new.discard()


class _Staged:
    """The new content of a file, stored beside it until it is put into place."""

    def __init__(self, path: _Path) -> None:
        self._given = os.fsdecode(path)
        with _naming(self._given):
            self._target = _followed(self._given)
            self._descriptor = _descriptor(self._target)
            folder, name = os.path.split(self._target)
            if not name:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            self._old = _stat(self._target) if self._descriptor is None else None
        self.is_stream = self._descriptor is not None or (self._old is not None and not stat.S_ISREG(self._old.st_mode))
        self._folder = folder or os.curdir
        # The name is random and short: the name of the file may already have the maximum length.
        self._temporary = os.path.join(folder, f".mixfast-{os.urandom(8).hex()}.tmp")
        self._made = False

    @contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """Open the new content for writing; when the block succeeds, it is complete and on the disk."""
        with _naming(self._given):
            raw = _Raw(self._open(), self._given)
        handle = io.BufferedWriter(raw, _BUFFER)
        try:
            yield handle
            handle.flush()
            with _naming(self._given):
                if not self.is_stream:
                    self._keep_owner_and_mode(raw.descriptor)
                    _flush(raw.descriptor)
                raw.close()
        finally:
            # Close the descriptor below the buffer, so that the buffered output of a failed block is dropped.
            with suppress(OSError):
                raw.close()

    def place(self) -> None:
        """Rename the new content to the path."""
        if self.is_stream:
            return
        with _naming(self._given):
            os.replace(self._temporary, self._target)
        self._made = False
        unfinished.discard(self._temporary)
        # The file is complete even if this fails: not every folder can be opened and flushed.
        with suppress(OSError):
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def check(self) -> None:
        """Refuse a file or folder without write permission."""
        with _naming(self._given):
            if self.is_stream:
                return
            if self._old is not None:
                self._refuse_protected()
            if not os.access(self._folder, os.W_OK | os.X_OK, effective_ids=True):
                # Get the exact reason, such as a file system that is mounted read-only.
                os.close(self._make())
                self._made = True
                self.discard()

    def discard(self) -> None:
        """Remove the temporary file, if there is one."""
        if self._made:
            with suppress(OSError):
                os.unlink(self._temporary)
        unfinished.discard(self._temporary)

    def _open(self) -> int:
        if self._descriptor is not None:
            # Earlier output of the process must come first.
            for printed in (sys.stdout, sys.stderr):
                with suppress(AttributeError, OSError, ValueError):
                    printed.flush()
            return os.dup(self._descriptor)
        if self.is_stream:
            return _read_stream(self._target)
        if self._old is not None:
            self._refuse_protected()
        return self._make()

    def _refuse_protected(self) -> None:
        """Refuse a file without write permission, which the rename would not need."""
        os.close(os.open(self._target, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC))

    def _make(self) -> int:
        """Create the temporary file."""
        self._made = True
        unfinished.add(self._temporary)
        # Only the owner may read it until it has the owner and permissions of the old file.
        mode = 0o666 if self._old is None else stat.S_IRUSR | stat.S_IWUSR
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(self._temporary, flags, mode)
        except OSError as problem:
            self._made = False
            if problem.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and self._old is not None:
                raise OSError(
                    problem.errno,
                    f"{problem.strerror}: no new file can be created in {self._folder}, and an existing file is only replaced by a complete new one",
                ) from None
            raise

    def _keep_owner_and_mode(self, descriptor: int) -> None:
        """Give the new file the owner and permissions of the old one."""
        if self._old is None:
            return
        made, mode = os.fstat(descriptor), stat.S_IMODE(self._old.st_mode)
        if made.st_uid != self._old.st_uid:
            with suppress(OSError):
                os.fchown(descriptor, self._old.st_uid, -1)
        if made.st_gid != self._old.st_gid:
            try:
                os.fchown(descriptor, -1, self._old.st_gid)
            except OSError:
                # If the group differs, it gets only the permissions of everybody.
                mode = mode & ~stat.S_IRWXG | (mode & stat.S_IRWXO) << 3 & mode
        os.fchmod(descriptor, mode)


class _Raw(io.RawIOBase):
    """A descriptor for writing; its errors name the path given by the caller.

    It has no `fileno`, so that numpy writes arrays through `write` in pieces; numpy's direct way hides the reason of an error.
    """

    def __init__(self, descriptor: int, given: str) -> None:
        self.descriptor = descriptor
        self._given = given
        # Position in streams that cannot seek: zip archives ask for it.
        self._written = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        with _naming(self._given):
            count = os.write(self.descriptor, data)
        self._written += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with _naming(self._given):
            return os.lseek(self.descriptor, offset, whence)

    def tell(self) -> int:
        try:
            return os.lseek(self.descriptor, 0, os.SEEK_CUR)
        except OSError:
            return self._written

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self.descriptor)


@contextmanager
def _naming(given: str) -> Iterator[None]:
    """Make errors name the path given by the caller."""
    try:
        yield
    except OSError as problem:
        raise OSError(problem.errno, problem.strerror, given) from None


def _followed(path: str) -> str:
    """Return the path after following the links at its end, up to one that stands for an open descriptor."""
    for _ in range(_MOST_LINKS):
        if _descriptor(path) is not None:
            return path
        try:
            link = os.readlink(path)
        except OSError:  # not a link, or nothing at the path
            return path
        path = os.path.join(os.path.dirname(path), link)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _descriptor(path: str) -> int | None:
    """Return the descriptor of this process that a path names, or None."""
    found = _DESCRIPTOR.fullmatch(path)
    if found is None or found["pid"] not in (None, "self", str(os.getpid())):
        return None
    return _STANDARD[found["name"]] if found["name"] else int(found["dev"] or found["proc"])


def _stat(path: str) -> os.stat_result | None:
    """Return the status of a path; refuse folders and block devices."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if stat.S_ISBLK(found.st_mode):
        raise OSError(errno.EINVAL, "it is a block device, such as a disk, which is never written to")
    return found


def _read_stream(path: str) -> int:
    """Open a stream for writing. A pipe must get a reader soon; without the limit, opening it could wait forever."""
    latest = time.monotonic() + _READ_WITHIN
    while True:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as problem:
            if problem.errno != errno.ENXIO or not stat.S_ISFIFO(os.stat(path).st_mode):
                raise
            if time.monotonic() > latest:
                raise OSError(errno.ENXIO, "no program reads this pipe") from None
            time.sleep(0.01)
            continue
        os.set_blocking(descriptor, True)
        return descriptor


def _flush(descriptor: int) -> None:
    """Wait until a file is on the disk, if its file system supports this."""
    try:
        os.fsync(descriptor)
    except OSError as problem:
        if problem.errno not in _NO_FLUSH:
            raise
