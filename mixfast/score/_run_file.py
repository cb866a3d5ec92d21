"""run.json: a description of what a run computes, so that its parts are never used for another run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mixfast._text.atomic import replacing
from mixfast._text.json import read_json
from mixfast._text.names import listing, named, shown
from mixfast.errors import ScoreError
from mixfast.score._part_file import regular_bytes

_FORMAT = 2
# The fields of an expert, and their names in messages.
_OF_EXPERT = {"model": "weights or config.json", "tokenizer": "tokenizer", "bos": "BOS"}


@dataclass(frozen=True, slots=True)
class Description:
    """Everything that the values of parts depend on.

    `texts` is a digest. `experts` maps the name of each expert to digests of its ``model`` and ``tokenizer`` and to ``bos``, the id of the
    first token of documents. `shard` is the number of bytes of text in a shard.
    """

    texts: str
    experts: dict[str, dict[str, Any]]
    level: str
    dtype: str
    window: int
    stride: int
    bos: str
    shard: int

    @property
    def fingerprint(self) -> str:
        """A digest of all fields."""
        return hashlib.sha256(json.dumps(self._document(), sort_keys=True).encode()).hexdigest()

    def write(self, file: Path) -> None:
        """Write run.json atomically."""
        with replacing(file) as handle:
            handle.write(json.dumps(self._document(), sort_keys=True, indent=1).encode())

    @classmethod
    def read(cls, file: Path) -> Description:
        """Read what `write` wrote; raise `ScoreError` for anything else."""
        try:
            return cls(**_checked(regular_bytes(file)))
        except _Invalid as problem:
            raise ScoreError(
                f"{file} is damaged ({problem}); delete {file.parent} and its parts to start again"
            ) from None

    def compare(self, before: Description, folder: Path) -> None:
        """Refuse parts that were computed from other inputs, and say what differs."""
        if before != self:
            raise ScoreError(
                f"{folder} has parts of another run; what differs: {self.differences(before, 'then', 'now')}. Repeat that run to finish "
                "it, choose another output, or delete the folder to start again"
            )

    def differences(self, before: Description, then: str, now: str) -> str:
        """Write what differs from another description; ``then`` and ``now`` introduce the values of both."""
        differs = []
        for each in fields(self):
            old, new = getattr(before, each.name), getattr(self, each.name)
            if old == new:
                continue
            if each.name == "experts":
                differs.append(_experts(old, new))
            elif each.name == "texts":
                differs.append("the texts")
            else:
                differs.append(f"{each.name} ({then} {named(old)}, {now} {named(new)})")
        return "; ".join(differs)

    def _document(self) -> dict[str, Any]:
        return {"format": _FORMAT, **asdict(self)}


class _Invalid(Exception):
    """Why a file is not a description of a run."""


def _experts(old: dict[str, dict[str, Any]], new: dict[str, dict[str, Any]]) -> str:
    """Name the experts that differ, and the fields that differ for experts of both runs."""
    apart = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    other = [what for key, what in _OF_EXPERT.items() if any(_differ(key, old, new, name) for name in apart)]
    return f"experts ({listing(apart)})" + (f", their {listing(other)}" if other else "")


def _differ(key: str, old: dict[str, dict[str, Any]], new: dict[str, dict[str, Any]], name: str) -> bool:
    return name in old and name in new and old[name][key] != new[name][key]


def _checked(data: bytes) -> dict[str, Any]:
    """Return the fields of a description; refuse missing ones and other types."""
    try:
        found = read_json(data.decode("utf-8"), _Invalid)
    except UnicodeDecodeError:
        raise _Invalid("not JSON: it is not UTF-8") from None
    if not isinstance(found, dict):
        raise _Invalid(f"it is a {type(found).__name__}, expected an object with named values")
    version = found.pop("format", None)
    if type(version) is not int or version != _FORMAT:
        raise _Invalid(
            f"its format is {shown(version)}, but this version of mixfast reads format {_FORMAT}; finish the run with the version that "
            "began it"
        )
    known = [each.name for each in fields(Description)]
    lacking, unknown = [name for name in known if name not in found], [name for name in found if name not in known]
    if lacking or unknown:
        raise _Invalid(f"missing: {listing(lacking)}; unknown: {listing(unknown)}")
    for name, value in found.items():
        kind = {"experts": dict, "window": int, "stride": int, "shard": int}.get(name, str)
        if type(value) is not kind:
            raise _Invalid(f"{name} is {shown(value)}, expected {_WORDS[kind]}")
    for name, value in found["experts"].items():
        if not isinstance(value, dict) or set(value) != set(_OF_EXPERT):
            raise _Invalid(f"expert {named(name)} is {shown(value)}, expected {listing(_OF_EXPERT)}")
        if (
            type(value["model"]) is not str
            or type(value["tokenizer"]) is not str
            or type(value["bos"]) not in (int, type(None))
        ):
            raise _Invalid(
                f"expert {named(name)} is {shown(value)}, expected two digests, and the id of a token or null"
            )
    return found


_WORDS = {dict: "an object with named values", int: "a whole number", str: "a string"}
