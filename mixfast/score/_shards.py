"""Finished parts: a file for each expert and shard of documents, so that a run that was interrupted goes on."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mixfast._text.atomic import replacing
from mixfast._text.names import listing
from mixfast.errors import ScoreError
from mixfast.score._texts import Document

# Bytes of text of a shard: minutes of work on a CPU, seconds on a GPU; an interrupted run loses no more than that.
_SHARD_BYTES = 1 << 19
# Seconds that a file written by another machine may take to be seen in a shared folder.
_SEEN_WITHIN = 60.0
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Part:
    """What one expert says about one shard: tokens scored and bytes of each document, and the log-likelihoods.

    `loglik` has an entry for each scored token (level "token") or each document (level "sequence"); so has `token_bytes`
    at level "token" if it is known; otherwise it is empty.
    """

    count: NDArray[np.int64]
    n_bytes: NDArray[np.int64]
    loglik: NDArray[np.floating]
    token_bytes: NDArray[np.int64]


def shards(documents: Sequence[Document]) -> list[range]:
    """Cut documents into shards of about as much text each, which do not depend on the number of ranks."""
    sizes = np.array([len(one.prompt) + len(one.text) + 1 for one in documents], dtype=np.int64)
    place = (np.cumsum(sizes) - sizes) // _SHARD_BYTES
    starts = np.concatenate(([0], np.flatnonzero(np.diff(place)) + 1, [len(documents)]))
    return [range(start, stop) for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)]


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
    """The folder ``OUT.parts``, with a description of the run it belongs to."""

    def __init__(self, out: Path, description: dict[str, object]) -> None:
        self.path = out.with_name(f"{out.name}.parts")
        self.description = {"format": _FORMAT, "shard": _SHARD_BYTES, **description}
        text = json.dumps(self.description, sort_keys=True)
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()

    def open(self) -> None:
        """Make the folder, or refuse one that another run has left."""
        self.path.mkdir(exist_ok=True)
        told = self.path / "run.json"
        begun = any(self.path.glob("*.npz"))
        if begun and told.exists():
            self._compare(told)
        elif begun:
            raise ScoreError(
                f"{self.path} holds parts but no run.json, which says what they are of; delete the folder to start anew"
            )
        else:
            with replacing(told) as handle:
                handle.write(json.dumps(self.description, sort_keys=True, indent=1).encode())

    def _compare(self, told: Path) -> None:
        """Refuse a folder whose description is of another run, and say what differs."""
        try:
            before = json.loads(told.read_text(encoding="utf-8"))
        except ValueError as problem:
            raise ScoreError(f"{told} is damaged ({problem}); delete {self.path} to start anew") from None
        if before == self.description:
            return
        now = self.description
        differs = [key for key in sorted({*now, *before}) if before.get(key) != now.get(key)]
        shown = []
        for key in differs:
            old, new = before.get(key), now.get(key)
            if isinstance(old, dict) and isinstance(new, dict):
                names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
                shown.append(f"{key} ({listing(names)})")
            elif key == "texts":
                shown.append("the texts")
            else:
                shown.append(f"{key} (then {old}, now {new})")
        raise ScoreError(
            f"{self.path} has parts of another run; what differs: {listing(shown)}. Repeat that run to finish it, choose "
            "another output, or delete the folder to start anew"
        )

    def has(self, expert: str, shard: int) -> bool:
        """Say whether a part is finished."""
        return self._file(expert, shard).exists()

    def write(self, expert: str, shard: int, part: Part) -> None:
        """Write a part; it appears whole or not at all."""
        # Rank 0 has made the folder, but another machine may not see it yet.
        self.path.mkdir(exist_ok=True)
        with replacing(self._file(expert, shard)) as handle:
            np.savez(
                handle,
                run=np.array(self.fingerprint),
                count=part.count,
                n_bytes=part.n_bytes,
                loglik=part.loglik,
                token_bytes=part.token_bytes,
            )

    def read(self, expert: str, shard: int) -> Part:
        """Read a part, waiting a little for one of another machine."""
        file = self._file(expert, shard)
        latest = time.monotonic() + _SEEN_WITHIN
        while not file.exists():
            if time.monotonic() > latest:
                raise ScoreError(
                    f"{file} is missing though its rank is done: is it in a folder that all machines share?"
                )
            # Listing a folder makes network file systems refresh it.
            list(self.path.iterdir())
            time.sleep(0.5)
        try:
            with np.load(file, allow_pickle=False) as arrays:
                if str(arrays["run"]) != self.fingerprint:
                    raise ScoreError(f"{file} is a part of another run; delete {self.path} to start anew")
                return Part(arrays["count"], arrays["n_bytes"], arrays["loglik"], arrays["token_bytes"])
        except ScoreError:
            raise
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as problem:
            raise ScoreError(f"{file} is damaged ({problem}); delete it and run again") from None

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path)

    def _file(self, expert: str, shard: int) -> Path:
        # By name, not by place: the same experts in another order go on with these parts.
        return self.path / f"{hashlib.sha256(expert.encode()).hexdigest()[:16]}-{shard:06d}.npz"


class Memory:
    """The same for a run without a file: parts are kept in memory."""

    def __init__(self) -> None:
        self._parts: dict[tuple[str, int], Part] = {}

    def open(self) -> None:
        """Nothing is left of earlier runs."""

    def has(self, expert: str, shard: int) -> bool:
        """Say whether a part is finished."""
        return (expert, shard) in self._parts

    def write(self, expert: str, shard: int, part: Part) -> None:
        """Keep a part."""
        self._parts[expert, shard] = part

    def read(self, expert: str, shard: int) -> Part:
        """Return a part."""
        return self._parts[expert, shard]

    def remove(self) -> None:
        """Let go of all parts."""
        self._parts.clear()


Store: TypeAlias = Folder | Memory
