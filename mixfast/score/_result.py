"""The result as a folder of parts: each holds the rows of some shards under all experts, and is written by one rank.

Parts are written into ``OUT.parts/result``, with a file ``joined-<number>.json`` beside it that says what a part holds, so that an
interrupted run finds them. When all are there, table.json is written, and the folder is renamed to its place.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mixfast._text.atomic import write_text
from mixfast._text.folders import place_folder
from mixfast.errors import ScoreError
from mixfast.score._join import join
from mixfast.score._plan import Plan
from mixfast.score._shards import Folder, divided
from mixfast.tables import PartEntry, check_folder_output, manifest_of, part_name, write_part

# Bytes of values in a part of the result: a part is the memory that joining takes, twice.
_PART_BYTES = 1 << 26
# Bytes of text for a token, to estimate the rows of a part before any text is scored.
_BYTES_A_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Joined:
    """A part of the result: its entry in table.json (None if it has no rows), its groups, and the documents that it leaves out."""

    entry: PartEntry | None
    groups: tuple[str, ...]
    left_out: tuple[int, ...]


def pieces(plan: Plan) -> list[range]:
    """Return the shards of each part of the result; they depend on texts and experts only, not on the ranks."""
    by_token = plan.settings.level == "token"
    rows = [
        sum(len(plan.documents[i].text) // _BYTES_A_TOKEN + 1 for i in shard) if by_token else len(shard)
        for shard in plan.shards
    ]
    each = len(plan.experts) * (4 if by_token else 8)
    return divided([count * each for count in rows], _PART_BYTES)


def write_joined(plan: Plan, store: Folder, number: int, shards: range) -> Joined:
    """Join the parts of some shards and write a part of the result, unless an earlier run has done so."""
    described = _described(plan, store, shards)
    file = store.path / f"joined-{number:05d}.json"
    if (found := _finished(store, file, described)) is not None:
        return found
    rows = join(plan, store, shards)
    store.result.mkdir(exist_ok=True)
    entry = write_part(store.result / part_name(number), rows.arrays) if rows.count else None
    made = Joined(entry, tuple(rows.arrays["group_names"].tolist()), tuple(rows.left_out))
    held = {**asdict(made), "entry": None if entry is None else entry._asdict()}
    write_text(file, json.dumps({**described, **held}) + "\n")
    return made


def _described(plan: Plan, store: Folder, shards: range) -> dict[str, Any]:
    """Return what the content of a part depends on, besides its texts and experts."""
    return {
        "run": store.description.fingerprint,
        "experts": [one.name for one in plan.experts],
        "per": plan.settings.per,
        "shards": [shards.start, shards.stop],
    }


def _finished(store: Folder, file: Any, described: dict[str, Any]) -> Joined | None:
    """Return a part of an earlier run if it is the same and complete."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if {key: found.get(key) for key in described} != described:
            return None
        entry = None if found["entry"] is None else PartEntry(**found["entry"])
        if entry is not None and PartEntry.of(store.result / entry.file, entry.rows) != entry:
            return None
        return Joined(entry, tuple(found["groups"]), tuple(found["left_out"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Whatever is damaged is made again: the parts of the experts are still there.
        return None


def finish(plan: Plan, store: Folder, made: Sequence[Joined]) -> None:
    """Write table.json, when all parts are complete, and put the folder into its place."""
    entries = [one.entry for one in made if one.entry is not None]
    groups = {name for one in made for name in one.groups}
    manifest = manifest_of(
        [one.name for one in plan.experts],
        "float32" if plan.settings.level == "token" else "float64",
        [name for name in plan.groups if name in groups],
        entries,
    )
    known = {entry.file for entry in entries}
    # Temporary files of killed processes, and parts of a run with fewer experts.
    for file in store.result.iterdir():
        if file.name not in known:
            file.unlink()
    manifest.write(store.result)
    # Hours may have passed since the first check.
    check_folder_output(store.out, ScoreError)
    try:
        place_folder(store.result, store.out)
    except OSError as problem:
        raise OSError(problem.errno, problem.strerror, os.fspath(store.out)) from None
