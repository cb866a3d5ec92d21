"""Find the files of results below the given paths; a file that links reach twice is found once."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mixfast._text.names import shown
from mixfast._text.progress import now
from mixfast.readers.results._contents import Format, ResultsError

_WILD = frozenset("*?[")
# W&B keeps a link to the folder of its last run beside that folder.
_OTHER_NAMES = frozenset(["latest-run"])


@dataclass(frozen=True, slots=True)
class Found:
    """A file to read.

    Attributes
    ----------
    path : Path
        As it was given, or below a given folder.
    root : int
        Index of the given path that it belongs to.
    parts : tuple of str
        Components of its absolute path.
    base : int
        Number of components of the given folder, or of the folder of a given file.
    run : str or None
        The run, if the caller named it.
    document : object
        The content, if the caller holds it.
    changed : float
        Time of its last change, in seconds.
    is_given : bool
        Whether the caller gave the file itself, not its folder.
    """

    path: Path
    root: int
    parts: tuple[str, ...]
    base: int
    run: str | None = None
    document: Any = None
    changed: float = 0.0
    is_given: bool = False


@dataclass(frozen=True, slots=True)
class Root:
    """A path that the caller gave, or a run with its path or its content."""

    path: Path
    run: str | None = None
    document: Any = None


def roots_of(paths: object) -> list[Root]:
    """Return the given paths, with patterns replaced by what they match.

    Raises
    ------
    ResultsError
        If there is none, or one does not exist.
    """
    if isinstance(paths, Mapping):
        if isinstance(paths.get("results"), Mapping):
            raise ResultsError(
                "got the results of one run without its name; pass a mapping of run to results, such as {'run1': results}"
            )
        roots = [root for run, given in paths.items() for root in _of_run(str(run), given)]
    else:
        given = [paths] if isinstance(paths, (str, os.PathLike)) else paths
        if not isinstance(given, Iterable):
            raise ResultsError(f"paths must be a path, several, or a mapping of run to path, got {shown(paths)}")
        roots = [Root(path) for one in given for path in _matched(one)]
    if not roots:
        raise ResultsError("no paths were given; pass the folders or files of the runs")
    return roots


def _of_run(run: str, given: object) -> list[Root]:
    if not run.strip():
        raise ResultsError("a run needs a name that is not empty")
    if isinstance(given, Mapping):
        return [Root(Path(run), run, given)]
    several = [given] if isinstance(given, (str, os.PathLike)) else given
    if not isinstance(several, Iterable):
        raise ResultsError(f"run {shown(run)}: expected a path, several, or a dict of results, got {shown(given)}")
    return [Root(path, run) for one in several for path in _matched(one)]


def _matched(given: object) -> list[Path]:
    if not isinstance(given, (str, os.PathLike)):
        raise ResultsError(f"a path must be a str or os.PathLike, got {shown(given)}")
    text = os.fspath(given)
    if isinstance(text, bytes):
        text = os.fsdecode(text)
    if os.path.lexists(text):
        return [Path(text)]
    if _WILD & set(text) and (found := sorted(glob.glob(os.path.expanduser(text), recursive=True))):
        return [Path(one) for one in found]
    raise ResultsError(f"{text} {'matches nothing' if _WILD & set(text) else 'does not exist'}")


class Search:
    """The search for files of results in folders.

    Attributes
    ----------
    skipped : list of (str, str)
        Folders and links that were not read, each with the reason.
    seen : int
        Number of files and folders that were seen.
    """

    def __init__(self, formats: Sequence[Format]) -> None:
        patterns = [pattern for form in formats for pattern in form.files]
        self._names = [pattern for pattern in patterns if "/" not in pattern]
        self._tails = [pattern for pattern in patterns if "/" in pattern]
        self._visited: dict[tuple[int, int], Path] = {}
        # Links, which are followed last: what they lead to belongs to the folder where it lies.
        self._links: list[tuple[int, Path, tuple[str, ...]]] = []
        self.skipped: list[tuple[str, str]] = []
        self.seen = 0

    def files(self, roots: Sequence[Root]) -> Iterator[Found]:
        """Yield the files of all roots: those given, and those in folders that have a name of a known format."""
        given: list[tuple[int, Root, os.stat_result | None]] = []
        for at, root in sorted(enumerate(roots), key=lambda one: one[1].document is None and one[1].path.is_symlink()):
            told = None
            if root.document is None:
                try:
                    told = root.path.stat()
                except OSError as problem:
                    self._skip(root.path, _reason(problem))
                    continue
                # Before any folder is read, so that a given folder is not also read as a part of another.
                if not self._is_new(told, root.path):
                    continue
            given.append((at, root, told))
        for at, root, told in sorted(given, key=lambda one: one[0]):
            if told is None:
                yield Found(root.path, at, (root.run or "",), 0, root.run, root.document)
            elif stat.S_ISDIR(told.st_mode):
                base = _parts(root.path)
                for path, tail, changed in self._below(at, root.path, [()]):
                    yield Found(path, at, base + tail, len(base), root.run, changed=changed)
            elif stat.S_ISREG(told.st_mode):
                parts = _parts(root.path)
                yield Found(root.path, at, parts, len(parts) - 1, root.run, changed=told.st_mtime, is_given=True)
            else:
                self._skip(root.path, "neither a file nor a folder")
        # Links inside what links lead to are added on the way.
        for at, path, tail in self._links:
            root, base = roots[at], _parts(roots[at].path)
            for found, below, changed in self._linked(at, path, tail):
                yield Found(found, at, base + below, len(base), root.run, changed=changed)

    def without_results(self, roots: Sequence[Root], found: Sequence[Found]) -> tuple[str, ...]:
        """Return the given paths without files of results; if only one folder was given, its sub-folders without such files."""
        named = {where for where, _ in self.skipped}
        if len(roots) != 1:
            with_files = {one.root for one in found}
            empty = [os.fspath(root.path) for at, root in enumerate(roots) if at not in with_files]
        else:
            folder = roots[0].path
            below = {one.path.relative_to(folder).parts[:-1][:1] for one in found} if folder.is_dir() else {()}
            # Files in the folder itself: it is the run.
            empty = (
                []
                if () in below
                else [
                    os.fspath(one)
                    for one in _folders_in(folder)
                    if (one.name,) not in below and not _is_other_name(one)
                ]
            )
        return tuple(where for where in empty if where not in named)

    def _below(
        self, at: int, root: Path, stack: list[tuple[str, ...]]
    ) -> Iterator[tuple[Path, tuple[str, ...], float]]:
        """Yield the files below folders of a root with names of known formats: path, components below the root, time of the last change."""
        while stack:
            tail = stack.pop()
            folder = root.joinpath(*tail)
            now("in {}", folder)
            folders = []
            for entry in self._entries(folder):
                self.seen += 1
                is_known = self._is_known(entry.name, tail)
                try:
                    # Names with a leading dot are hidden, by convention.
                    if is_folder := entry.is_dir():
                        if entry.name.startswith(".") or _is_other_name(entry):
                            continue
                    elif not is_known:
                        continue
                    if entry.is_symlink():
                        self._links.append((at, root, (*tail, entry.name)))
                    elif is_folder:
                        if self._is_new(entry.stat(), folder / entry.name):
                            folders.append((*tail, entry.name))
                    else:
                        yield from self._file(folder / entry.name, (*tail, entry.name))
                except OSError as problem:
                    if is_known:
                        self._skip(folder / entry.name, _reason(problem))
            stack += reversed(folders)

    def _linked(self, at: int, root: Path, tail: tuple[str, ...]) -> Iterator[tuple[Path, tuple[str, ...], float]]:
        path = root.joinpath(*tail)
        try:
            told = path.stat()
            if not stat.S_ISDIR(told.st_mode):
                yield from self._file(path, tail)
            elif self._is_new(told, path):
                yield from self._below(at, root, [tail])
        except OSError as problem:
            self._skip(path, _reason(problem))

    def _file(self, path: Path, tail: tuple[str, ...]) -> Iterator[tuple[Path, tuple[str, ...], float]]:
        told = path.stat()
        if stat.S_ISREG(told.st_mode) and self._is_new(told, path):
            yield path, tail, told.st_mtime

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as found:
                return sorted(found, key=lambda entry: entry.name)
        except OSError as problem:
            self._skip(folder, _reason(problem))
            return []

    def _is_known(self, name: str, tail: tuple[str, ...]) -> bool:
        plain = name.removesuffix(".gz").removesuffix(".zst")
        if any(fnmatchcase(plain, pattern) for pattern in self._names):
            return True
        return any(fnmatchcase("/".join((*tail, plain)[-pattern.count("/") - 1 :]), pattern) for pattern in self._tails)

    def _is_new(self, told: os.stat_result, path: Path) -> bool:
        """Return whether a file or folder was not seen before; report one that was seen under another path."""
        first = self._visited.setdefault((told.st_dev, told.st_ino), path)
        if first is path:
            return True
        if os.path.abspath(first) != os.path.abspath(path):
            self._skip(path, f"the same as {first}, which is read already")
        return False

    def _skip(self, path: Path, reason: str) -> None:
        self.skipped.append((os.fspath(path), reason))


def _is_other_name(entry: os.DirEntry[str] | Path) -> bool:
    return entry.name in _OTHER_NAMES and entry.is_symlink()


def _reason(problem: OSError) -> str:
    return problem.strerror or str(problem)


def _folders_in(folder: Path) -> list[Path]:
    try:
        return sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith("."))
    except OSError:  # the search has named it
        return []


def _parts(path: Path) -> tuple[str, ...]:
    return tuple(Path(os.path.abspath(path)).parts)
