"""Questions and answers as bytes. Collective operations need equally many bytes from all ranks, so both have a frame of fixed size.

What does not fit into its frame crosses in a second operation.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from mixfast.errors import MixfastError, RankError

# A question is a function and its arguments: usually one mixture, of 8 bytes for each domain.
_QUESTION = struct.Struct("<BQQ")
_FRAME = 4096
_ANSWER = struct.Struct("<BQ")
# Room in the frame of every answer: small answers and the beginnings of no error need a second operation.
_ROOM = 256
ASK, END = 1, 2
_VECTOR, _PICKLED, _ERROR = 0, 1, 2


def send_question(broadcast: Callable[[bytes], bytes], kind: int, payload: bytes, expect: int) -> int:
    """Send a question from rank 0; return how many bytes crossed."""
    head = _QUESTION.pack(kind, len(payload), expect)
    inside = _FRAME - len(head)
    broadcast(head + payload[:inside].ljust(inside, b"\0"))
    if len(payload) > inside:
        broadcast(payload[inside:])
    return _FRAME + max(len(payload) - inside, 0)


def receive_question(broadcast: Callable[[bytes], bytes]) -> tuple[int, bytes, int]:
    """Receive a question on another rank: its kind, its payload, and the bytes expected in an answer."""
    frame = broadcast(bytes(_FRAME))
    kind, length, expect = _QUESTION.unpack_from(frame)
    inside = frame[_QUESTION.size : _QUESTION.size + length]
    return kind, inside + (broadcast(bytes(length - len(inside))) if length > len(inside) else b""), expect


def packed(answer: object) -> tuple[int, bytes]:
    """Return an answer as bytes, with their kind."""
    if isinstance(answer, np.ndarray) and answer.dtype == np.float64 and answer.ndim == 1:
        return _VECTOR, answer.tobytes()
    return _PICKLED, pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)


def packed_error(error: BaseException) -> tuple[int, bytes]:
    """Return an error as bytes, with their kind; an error that cannot be pickled is replaced by one that can."""
    try:
        data = pickle.dumps(error, pickle.HIGHEST_PROTOCOL)
        pickle.loads(data)
    except Exception:
        data = pickle.dumps(RankError(f"{type(error).__name__}: {error}"), pickle.HIGHEST_PROTOCOL)
    return _ERROR, data


def exchange(
    all_gather: Callable[[bytes], list[bytes]], kind: int, payload: bytes, expect: int
) -> tuple[list[tuple[int, bytes]], int]:
    """Exchange answers; return those of all ranks with their kinds, and how many bytes this rank sent."""
    room = max(expect, _ROOM)
    frames = all_gather(_ANSWER.pack(kind, len(payload)) + payload[:room].ljust(room, b"\0"))
    heads = [_ANSWER.unpack_from(frame) for frame in frames]
    inside = [frame[_ANSWER.size : _ANSWER.size + length] for frame, (_, length) in zip(frames, heads, strict=True)]
    more = max(length for _, length in heads) - room
    if more > 0:
        rest = all_gather(payload[room:].ljust(more, b"\0"))
        inside = [
            part + tail[: length - len(part)] for part, tail, (_, length) in zip(inside, rest, heads, strict=True)
        ]
    return [(kind, part) for part, (kind, _) in zip(inside, heads, strict=True)], _ANSWER.size + room + max(more, 0)


def unpacked(kind: int, payload: bytes, rank: int | None = None) -> Any:
    """Return an answer, or raise the error; with a rank, the message of the error begins with it."""
    if kind == _VECTOR:
        return np.frombuffer(payload, dtype=np.float64)
    answer = pickle.loads(payload)
    if kind == _ERROR:
        raise answer if rank is None else of_rank(answer, rank)
    return answer


def of_rank(error: BaseException, rank: int) -> BaseException:
    """Return an error of the same class whose message begins with the rank."""
    if isinstance(error, MixfastError):
        return type(error)(f"rank {rank}: {error}")
    if isinstance(error, OSError) and error.strerror:
        return type(error)(error.errno, f"{error.strerror} (on rank {rank})", error.filename)
    error.add_note(f"raised on rank {rank}")
    return error
