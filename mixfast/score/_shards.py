"""Finished parts: a file for each expert and shard of documents, so that an interrupted run can continue."""

from __future__ import annotations

import hashlib
import re
import shutil
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np

from mixfast._text.locks import locked
from mixfast.errors import MixfastWarning, ScoreError
from mixfast.score._part_file import Part, Place, read_part, write_part
from mixfast.score._run_file import Description
from mixfast.score._texts import Document

# Bytes of text in a shard: minutes of work on a CPU, seconds on a GPU. An interrupted run loses at most one shard for each rank.
_SHARD_BYTES = 1 << 19
# Seconds until a file written by another machine must be visible in a shared folder.
_SEEN_WITHIN = 60.0
# Files of a run in its folder: the description, the lock, parts, what is known of joined parts, and temporary files of processes that
# were killed.
_OURS = re.compile(r"run\.json|run\.lock|[0-9a-f]{16}-[0-9]{6}\.npz|joined-[0-9]{5,}\.json|\..*\.(tmp|lock)")
# An ending run may remove its folder between two steps of the next run.
_ATTEMPTS = 5


def shards(documents: Sequence[Document]) -> list[range]:
    """Divide documents into shards with about the same amount of text, whatever the number of ranks."""
    return divided([len(one.prompt) + len(one.text) + 1 for one in documents], _SHARD_BYTES)


def divided(sizes: Sequence[int], most: int) -> list[range]:
    """Divide things of these sizes into consecutive ranges of about the same size, `most`."""
    ends = np.cumsum(np.asarray(sizes, dtype=np.int64))
    place = (ends - sizes) // most
    starts = np.concatenate(([0], np.flatnonzero(np.diff(place)) + 1, [len(sizes)]))
    return [range(start, stop) for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)]


def shard_bytes() -> int:
    """Return the approximate number of bytes of text in a shard."""
    return _SHARD_BYTES


def documents_digest(documents: Sequence[Document]) -> str:
    """Return a digest of texts, prompts, names and groups."""
    found = hashlib.sha256()
    for one in documents:
        for text in (one.name, one.group, one.prompt, one.text):
            data = text.encode()
            found.update(len(data).to_bytes(8, "little"))
            found.update(data)
    return found.hexdigest()


class Folder:
    """The folder ``OUT.parts``: parts, a description of their run, and a lock that lets one run at a time use it."""

    def __init__(self, out: Path, description: Description, sizes: Sequence[int]) -> None:
        self.out = out
        self.path = out.with_name(f"{out.name}.parts")
        self.description = description
        self.sizes = sizes

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Make the folder, or refuse that of another run, finished or not; no other run can use it inside the block."""
        with ExitStack() as stack:
            self._lock(stack)
            self._describe()
            yield

    def _lock(self, stack: ExitStack) -> None:
        advice = (
            f"another run writes {self.out}. Wait until it ends, choose another output, or end that process; its finished parts are "
            "kept"
        )
        for _ in range(_ATTEMPTS):
            try:
                self.path.mkdir(exist_ok=True)
                lock = locked(self.path / "run.lock", ScoreError, patience=0.0, advice=advice, make=True)
                return stack.enter_context(lock)
            except FileNotFoundError:
                continue
            except OSError as problem:
                raise ScoreError(f"{self.path} cannot be used for parts: {problem.strerror}") from None
        raise ScoreError(
            f"other runs removed {self.path} {_ATTEMPTS} times while this one began; choose another output"
        )

    def _describe(self) -> None:
        file = self.path / "run.json"
        begun = any(self.path.glob("*.npz"))
        if file.exists():
            before = Description.read(file)
            if begun:
                self.description.compare(before, self.path)
        elif begun:
            raise ScoreError(
                f"{self.path} holds parts but no run.json to describe them; delete the folder to start again"
            )
        self.description.write(file)

    def has(self, expert: str, shard: int) -> bool:
        """Return whether a part is finished."""
        return self._file(expert, shard).exists()

    def write(self, expert: str, shard: int, part: Part) -> None:
        """Write a part atomically."""
        # Rank 0 has made the folder, but another machine may not see it yet.
        self.path.mkdir(exist_ok=True)
        write_part(self._file(expert, shard), self._place(expert, shard), part)

    def read(self, expert: str, shard: int) -> Part:
        """Read a part; wait up to a minute for one that another machine wrote."""
        file = self._file(expert, shard)
        latest = time.monotonic() + _SEEN_WITHIN
        while not file.exists():
            if time.monotonic() > latest:
                raise ScoreError(
                    f"{file} is missing although its rank has finished: is the folder shared by all machines?"
                )
            # Listing a folder makes network file systems refresh it.
            list(self.path.iterdir())
            time.sleep(0.5)
        return read_part(file, self._place(expert, shard))

    @property
    def result(self) -> Path:
        """The folder of joined parts, which becomes the result when it is complete."""
        return self.path / "result"

    def remove(self) -> None:
        """Delete what runs have written, and the folder, unless it holds anything else."""
        try:
            shutil.rmtree(self.result, ignore_errors=True)
            # The lock comes last: until then no other run begins.
            for file in sorted(self.path.iterdir(), key=lambda file: file.name == "run.lock"):
                if _OURS.fullmatch(file.name) and (file.is_file() or file.is_symlink()):
                    file.unlink()
            self.path.rmdir()
        except OSError as problem:
            warnings.warn(
                f"{self.path} is no longer needed but could not be removed: {problem.strerror}",
                MixfastWarning,
                stacklevel=4,
            )

    def _place(self, expert: str, shard: int) -> Place:
        return Place(self.description.fingerprint, expert, shard, self.description.level, self.sizes[shard])

    def _file(self, expert: str, shard: int) -> Path:
        # By name, not by position: the same experts in another order can continue with these parts.
        return self.path / f"{hashlib.sha256(expert.encode()).hexdigest()[:16]}-{shard:06d}.npz"


class Memory:
    """The store of a run without a file: parts are kept in memory."""

    def __init__(self) -> None:
        self._parts: dict[tuple[str, int], Part] = {}

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Do nothing: there are no parts of earlier runs, and no other run has access."""
        yield

    def has(self, expert: str, shard: int) -> bool:
        """Return whether a part is finished."""
        return (expert, shard) in self._parts

    def write(self, expert: str, shard: int, part: Part) -> None:
        """Keep a part."""
        self._parts[expert, shard] = part

    def read(self, expert: str, shard: int) -> Part:
        """Return a part."""
        return self._parts[expert, shard]

    def remove(self) -> None:
        """Free all parts."""
        self._parts.clear()


Store: TypeAlias = Folder | Memory
