"""The command as one of many processes, as torchrun starts them: rank 0 is the ordinary command, and the others serve it in silence.

All end with the status of rank 0. If rank 0 ends without a word, rank 1 says so.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from os import _exit as exit_at_once
from typing import TextIO, cast

from mixfast._text.interrupts import remove_unfinished
from mixfast.cli._console import tell
from mixfast.cli._streams import Stream
from mixfast.errors import MixfastError
from mixfast.ranks import LeaderLost, Team, from_environment, rank_and_size, run

_REFUSED, _INTERRUPTED, _SURPRISED = 2, 130, 70
# Options that print something and end.
_ASIDE = ("-h", "--help", "--version", "--print-completion")


def together(given: Sequence[str], command: Callable[[], int], say: Callable[[str], int]) -> int:
    """Run a command on rank 0 while the other ranks serve; return its status on every rank.

    ``say`` prints an error and returns the status of refused input.
    """
    try:
        rank, _ = rank_and_size()
    except MixfastError as error:
        return say(str(error))
    if not given or any(word in _ASIDE for word in given):
        return command() if rank == 0 else 0
    if rank == 0:
        return _joined(command, say, rank)
    stderr = sys.stderr
    nothing = cast(TextIO, Stream(None))
    with redirect_stdout(nothing), redirect_stderr(nothing):
        return _joined(command, lambda message: _aloud(message, stderr), rank)


def _joined(command: Callable[[], int], say: Callable[[str], int], rank: int) -> int:
    team: Team | None = None

    def lead(team: Team) -> int:
        status = command()
        if status > 128:
            # The signal may be the answer of the launcher to the end of another rank.
            raise SystemExit(status)
        return status

    try:
        with from_environment() as ranks:
            team = Team.of(ranks)
            status = run(lead, ranks)
    except KeyboardInterrupt:
        status = _INTERRUPTED
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else _REFUSED
    except LeaderLost as error:
        status = say(str(error)) if rank == 1 else _REFUSED
    except MixfastError as error:
        # Those of the work itself are printed by the command; the other ranks get copies of what rank 0 prints.
        status = say(str(error)) if rank == 0 or team is None else _REFUSED
    except Exception:
        if rank == 0 or team is None:
            raise
        status = _SURPRISED
    if team is not None and team.failed:
        _leave(status)
    return status


def _leave(status: int) -> None:
    """End the process without waiting for a part of the work that is computed in the background for a rank that has ended."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    remove_unfinished()
    exit_at_once(status)


def _aloud(message: str, stderr: TextIO | None) -> int:
    if stderr is not None:
        with redirect_stderr(stderr):
            tell(f"error: {message}")
    return _REFUSED
