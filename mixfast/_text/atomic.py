"""The one writer of files: a reader sees the old content or the new one, whole, whatever fails meanwhile.

What stands at the path decides how it is written:

- Nothing, or a file: the content goes to a temporary file beside it, ``.mixfast-<random>.tmp``, which is renamed to the path once it is
  whole. A file that is replaced hands on its permissions, and its owner where the system lets it; other names of the same file (hard
  links) keep the old content. A file without permission to write is refused, though its folder would allow the rename.
- A symbolic link: what it points to is written, and the link stays; if nothing is there, it is made.
- A pipe, a terminal or another character device, and what names an open descriptor (``/dev/stdout``, ``/dev/fd/63`` of a shell's
  ``>(command)``): it is a stream, which is written to and never replaced. A pipe must be read by a program within five seconds.
- A folder or a block device: refused.

The content and the rename are flushed to the disk (fsync) for every file, so that a power failure, too, leaves the old or the new one.
A folder without permission to write is refused even if the file in it could be written, for then it could only be written in place.

A failure is an `OSError` with the reason and the path that the caller gave. A process that is killed may leave the temporary file; all
other ends remove it, and signals that the command handles wait until files that are written together are all in place.
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
# Seconds that the reader of a pipe has to open it.
_READ_WITHIN = 5.0
# Names of open descriptors; those of another process's are ordinary paths.
_DESCRIPTOR = re.compile(r"/dev/(?:std(?P<name>in|out|err)|fd/(?P<dev>\d+))|/proc/(?P<pid>self|\d+)/fd/(?P<proc>\d+)")
_STANDARD = {"in": 0, "out": 1, "err": 2}
# What file systems answer that cannot flush: they have nothing to promise.
_NO_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


@contextmanager
def replacing(path: _Path) -> Iterator[IO[bytes]]:
    """Open what will be at ``path`` for writing; it is there when the block succeeds, and nothing has changed if it fails.

    What is written to a stream has left, though.
    """
    with _staged(path) as new:
        with new.opened() as handle:
            yield handle
        new.place()


def write_text(path: _Path, text: str) -> None:
    """Write ``text`` as UTF-8, with its line ends as they are."""
    write_together({path: text})


def write_together(files: Mapping[Any, str | bytes]) -> None:
    """Write all contents, texts as UTF-8; all are whole before the first is put into place, in the order given.

    If one cannot be written, none is. Streams are written when all files are whole.
    """
    contents = [text.encode("utf-8") if isinstance(text, str) else text for text in files.values()]
    with ExitStack() as stack:
        staged = [stack.enter_context(_staged(path)) for path in files]
        # The sort keeps the order among files and among streams.
        for new, content in sorted(zip(staged, contents, strict=True), key=lambda pair: pair[0].is_stream):
            with new.opened() as handle:
                handle.write(content)
        with uninterrupted():
            for new in staged:
                new.place()


def is_stream(path: _Path) -> bool:
    """Whether what is at ``path`` is written to as a stream, and so has no ending that says what it holds."""
    try:
        return _Staged(path).is_stream
    except OSError:
        return False


def check_writable(path: _Path) -> None:
    """Raise the `OSError` that writing would end in, as far as it shows before."""
    _Staged(path).check()


@contextmanager
def _staged(path: _Path) -> Iterator[_Staged]:
    new = _Staged(path)
    try:
        yield new
    finally:
        new.discard()


class _Staged:
    """The new content of a file, which lies beside it until it is put into place."""

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
        # The name is random, and short: that of the file may be as long as the system allows.
        self._temporary = os.path.join(folder, f".mixfast-{os.urandom(8).hex()}.tmp")
        self._made = False

    @contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """Open the new content for writing; when the block succeeds, it is whole and on the disk."""
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
            # Closed below the buffer: what a failed block left there is dropped, not written.
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
        # The file is whole whatever becomes of this: not every folder can be opened and flushed.
        with suppress(OSError):
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def check(self) -> None:
        """Refuse a file or a folder without permission to write."""
        with _naming(self._given):
            if self.is_stream:
                return
            if self._old is not None:
                self._refuse_protected()
            if not os.access(self._folder, os.W_OK | os.X_OK, effective_ids=True):
                # The exact reason, such as a file system that is mounted read-only.
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
            # What was printed before stands before it.
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
        """Refuse a file without permission to write: the rename would need none."""
        os.close(os.open(self._target, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC))

    def _make(self) -> int:
        """Make the temporary file."""
        self._made = True
        unfinished.add(self._temporary)
        # Until it has the owner and the permissions of the old file, nobody else may read it.
        mode = 0o666 if self._old is None else stat.S_IRUSR | stat.S_IWUSR
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(self._temporary, flags, mode)
        except OSError as problem:
            self._made = False
            if problem.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and self._old is not None:
                raise OSError(
                    problem.errno,
                    f"{problem.strerror}: no new file can be made in {self._folder}, and the old one is replaced by a whole new one only",
                ) from None
            raise

    def _keep_owner_and_mode(self, descriptor: int) -> None:
        """Give the new file what the old one has."""
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
                # Another group gets no more than everybody has.
                mode = mode & ~stat.S_IRWXG | (mode & stat.S_IRWXO) << 3 & mode
        os.fchmod(descriptor, mode)


class _Raw(io.RawIOBase):
    """A descriptor for writing, whose failures name the path that the caller gave.

    It has no `fileno`, so numpy writes arrays through `write`, in pieces; its own way loses the reason of a failure.
    """

    def __init__(self, descriptor: int, given: str) -> None:
        self.descriptor = descriptor
        self._given = given
        # Of what cannot be sought in: zip archives ask where they are.
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
    """Let a failure name the path that the caller gave."""
    try:
        yield
    except OSError as problem:
        raise OSError(problem.errno, problem.strerror, given) from None


def _followed(path: str) -> str:
    """Return the path with the links at its end followed, up to one that stands for an open descriptor."""
    for _ in range(_MOST_LINKS):
        if _descriptor(path) is not None:
            return path
        try:
            link = os.readlink(path)
        except OSError:  # no link, or nothing there
            return path
        path = os.path.join(os.path.dirname(path), link)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _descriptor(path: str) -> int | None:
    """Return the descriptor of this process that a path names."""
    found = _DESCRIPTOR.fullmatch(path)
    if found is None or found["pid"] not in (None, "self", str(os.getpid())):
        return None
    return _STANDARD[found["name"]] if found["name"] else int(found["dev"] or found["proc"])


def _stat(path: str) -> os.stat_result | None:
    """Return what is at a path; refuse what is not written to."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if stat.S_ISBLK(found.st_mode):
        raise OSError(errno.EINVAL, "a block device, such as a disk, is not written to")
    return found


def _read_stream(path: str) -> int:
    """Open a stream for writing; a pipe must have a reader soon, for without one it would be waited for as long as there is none."""
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
    """Wait until a file is on the disk, if its file system can say so."""
    try:
        os.fsync(descriptor)
    except OSError as problem:
        if problem.errno not in _NO_FLUSH:
            raise
