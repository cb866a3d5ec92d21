"""Read the ``.wandb`` file that W&B writes during a run, online and offline, without the code of W&B.

The file is a log of records in blocks of 32 KiB, as LevelDB writes its logs. A record is a protobuf message ``Record`` of W&B. Protobuf keeps
the numbers of fields when a message changes; the numbers here are those of ``wandb_internal.proto``.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mixfast.readers.results._history import History, add_row, flat

MAGIC = b":W&B"
_BLOCK = 32768
# Magic bytes and version.
_PREFIX = 7
_HEADER = struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4

# Numbers of fields in Record, in the records within it, and in their items.
_HISTORY, _SUMMARY, _CONFIG, _RUN, _EXIT = 2, 3, 5, 17, 18
_ITEM, _REMOVED = 1, 2
_STEP, _STEP_NUMBER = 2, 1
_KEY, _NESTED_KEY, _VALUE = 1, 2, 16
_RUN_FIELDS = {1: "id", 3: "project", 6: "group", 8: "name", 12: "sweep"}
_RUN_CONFIG, _EXIT_CODE = 4, 1


@dataclass
class Log:
    """The content of a ``.wandb`` file.

    Attributes
    ----------
    history : dict of str to dict of int to float
        The numbers that were logged, by key and step; keys inside dictionaries are joined by dots.
    text : dict of str to None
        Keys of the history that hold no numbers.
    summary, config : dict of str to object
    fields : dict of str to str
        Id, name, project and group of the run.
    exit_code : int or None
        None if the run has not ended, or was killed.
    rest : int
        Number of bytes at the end that form no complete record.
    """

    history: History = field(default_factory=dict)
    text: dict[str, None] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)
    exit_code: int | None = None
    rest: int = 0


def read_log(data: bytes) -> Log:
    """Read a ``.wandb`` file up to its last complete record; raise ValueError if a record is damaged in another way."""
    log = Log(rest=len(data) - _PREFIX)
    for record, end in _records(data):
        for number, content in _fields(record):
            if isinstance(content, bytes):
                _add(log, number, content)
        log.rest = len(data) - end
    return log


def _add(log: Log, number: int, content: bytes) -> None:
    if number == _HISTORY:
        row = dict(_items(content))
        for inner, step in _fields(content):
            if inner == _STEP and isinstance(step, bytes):
                row.setdefault("_step", dict(_fields(step)).get(_STEP_NUMBER, 0))
        add_row(log.history, row, log.text)
    elif number == _SUMMARY:
        _update(log.summary, content)
    elif number == _CONFIG:
        _update(log.config, content)
    elif number == _RUN:
        for inner, value in _fields(content):
            if isinstance(value, bytes) and inner in _RUN_FIELDS:
                log.fields[_RUN_FIELDS[inner]] = value.decode()
            elif isinstance(value, bytes) and inner == _RUN_CONFIG:
                _update(log.config, value)
    elif number == _EXIT:
        code = dict(_fields(content)).get(_EXIT_CODE, 0)
        log.exit_code = code if isinstance(code, int) else None


def _records(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield each record and the place behind it; ends where the file was cut off or its checksum is wrong."""
    at = _PREFIX
    pieces: list[bytes] = []
    while at + _HEADER.size <= len(data):
        left = _BLOCK - at % _BLOCK
        if left < _HEADER.size:
            at += left
            continue
        checksum, length, kind = _HEADER.unpack_from(data, at)
        piece = data[at + _HEADER.size : at + _HEADER.size + length]
        if len(piece) < length or zlib.crc32(piece, zlib.crc32(bytes([kind]))) != checksum:
            return
        at += _HEADER.size + length
        if kind in (_FULL, _FIRST):
            pieces = []
        pieces.append(piece)
        if kind in (_FULL, _LAST):
            yield b"".join(pieces), at


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and the content of each field of a protobuf message."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            length, at = _varint(message, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a record has a field of the unknown kind {kind}")
        yield tag >> 3, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7


def _items(content: bytes, wanted: int = _ITEM) -> Iterator[tuple[str, Any]]:
    """Yield the keys and values of a history, a summary or a configuration; removed items have no value."""
    for number, item in _fields(content):
        if number != wanted or not isinstance(item, bytes):
            continue
        nested: list[str] = []
        key, text = "", b"null"
        for inner, part in _fields(item):
            if not isinstance(part, bytes):
                continue
            if inner == _KEY:
                key = part.decode()
            elif inner == _NESTED_KEY:
                nested.append(part.decode())
            elif inner == _VALUE:
                text = part
        yield from flat(json.loads(text), ".".join(nested) or key)


def _update(values: dict[str, Any], content: bytes) -> None:
    values.update(_items(content))
    for name, _ in _items(content, _REMOVED):
        for key in [key for key in values if key == name or key.startswith(f"{name}.")]:
            del values[key]
