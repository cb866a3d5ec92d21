"""Join the processes that torchrun, Slurm or Ray Train have started, from environment variables."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from mixfast._engine.backend.threads import each
from mixfast._text.names import shown
from mixfast._text.optional import needed
from mixfast.errors import BackendError, RankError
from mixfast.ranks._protocol import LeaderLost, OneRank, Ranks
from mixfast.ranks._team import Team
from mixfast.ranks._torch import TorchRanks

# Time in which all ranks must have started: loading torch from a shared file system takes minutes.
_JOINING = timedelta(minutes=10)
# The messages of torch about host names that cannot be resolved concern nobody.
_LEVEL = "TORCH_CPP_LOG_LEVEL"


@contextmanager
def from_environment() -> Iterator[Ranks]:
    """Join the ranks given by the variables RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, which torchrun sets.

    Without RANK and WORLD_SIZE, this process is alone. An existing process group of torch.distributed is used and stays.

    Yields
    ------
    Ranks
        Valid within the ``with`` block.

    Raises
    ------
    RankError
        If the variables contradict each other, or not all ranks have started within 10 minutes.
    BackendError
        If torch is missing.

    Examples
    --------
    >>> from mixfast.ranks import from_environment
    >>> with from_environment() as ranks:
    ...     ranks.size
    1
    """
    rank, size = rank_and_size()
    if size == 1:
        yield OneRank()
        return
    os.environ.setdefault(_LEVEL, "ERROR")
    with needed("more than one rank", "torch", "torch", BackendError):
        import torch.distributed as distributed

    own = None
    if not distributed.is_initialized():
        _join(rank, size)
        own = distributed.group.WORLD
    elif "cpu:" not in str(distributed.get_backend_config()):
        own = distributed.new_group(backend="gloo")
    ranks = TorchRanks(own)
    try:
        yield ranks
    finally:
        Team.of(ranks).close()
        # A group whose operation was given up cannot be destroyed: torch would wait for the operation.
        if own is not None and not ranks.abandoned:
            distributed.destroy_process_group(own)
            ranks.release()
            del own


def rank_and_size() -> tuple[int, int]:
    """Return RANK and WORLD_SIZE; without them 0 and 1."""
    rank, size = _number("RANK", 0), _number("WORLD_SIZE", 1)
    if not 0 <= rank < size:
        raise RankError(
            f"RANK is {rank} and WORLD_SIZE {size}, expected RANK < WORLD_SIZE: start the ranks with torchrun"
        )
    return rank, size


def _join(rank: int, size: int) -> None:
    """Initialise torch.distributed; a signal interrupts the wait, and an error names the ranks that have not joined."""
    import socket

    import torch.distributed as distributed

    found: dict[str, Any] = {}

    def join(_: None) -> None:
        store, _, _ = next(distributed.rendezvous("env://", rank, size, timeout=_JOINING))
        store.set_timeout(_JOINING)
        store = distributed.PrefixStore("mixfast", store)
        store.set(f"joined {rank}", f"process {os.getpid()} on {socket.gethostname()}")
        found["store"] = store.clone() if hasattr(store, "clone") else None
        distributed.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=_JOINING)

    try:
        each(join, [None], threads=1)
    except (SystemExit, KeyboardInterrupt) as signal:
        missing = _missing(found.get("store"), size)
        if missing and isinstance(signal, SystemExit) and (rank == 0 or 0 in missing):
            raise _error(rank, f"was told to end before {_words(missing)} had joined; the launcher says why") from None
        raise
    except (RuntimeError, ValueError, OSError) as problem:
        missing = _missing(found.get("store"), size)
        said = str(problem).partition("\n")[0]
        raise _error(
            rank,
            f"waited for {_words(missing) or 'all ranks'} to join ({said}). Start all of the WORLD_SIZE = {size} ranks within "
            f"{_JOINING.seconds / 60:g} minutes, or unset RANK and WORLD_SIZE to run this process alone",
        ) from None


def _error(rank: int, said: str) -> RankError:
    return (LeaderLost if rank else RankError)(f"rank {rank} {said}")


def _missing(store: Any, size: int) -> list[int]:
    """Return the ranks that have not joined; none if that cannot be known at once."""
    absent: list[int] = []
    if store is not None:
        with suppress(Exception):
            store.set_timeout(timedelta(seconds=2))
            absent = [rank for rank in range(size) if not store.check([f"joined {rank}"])]
    return absent


def _words(ranks: list[int]) -> str:
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}" if ranks else ""


def _number(key: str, default: int) -> int:
    value = os.environ.get(key, str(default))
    if not value.isdigit():
        raise RankError(f"{key} is {shown(value)}, expected a number: start the ranks with torchrun")
    return int(value)
