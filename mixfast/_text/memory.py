"""How much memory is available, for the content of a file or for the matrices of a fit."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

# The files in which Linux reports memory: for the machine, and for the container of this process (cgroups version 2 and 1).
_MACHINE = Path("/proc/meminfo")
_CONTAINER = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
# Up to so many bytes, the free memory is not looked up: small work takes less time than that.
_SMALL = 1 << 30


def available_memory() -> int | None:
    """Return the bytes of memory that this process can still get, swap included; None if the system does not say."""
    found: list[int] = []
    with suppress(OSError, ValueError, LookupError):
        lines = dict(line.split(":", 1) for line in _MACHINE.read_text(encoding="ascii").splitlines())
        found.append(sum(int(lines[name].split()[0]) for name in ("MemAvailable", "SwapFree")) * 1024)
    for limit in _CONTAINER:
        with suppress(OSError, ValueError):  # "max" means no limit
            found.append(int(limit.read_text(encoding="ascii")))
    return min(found, default=None)


def too_little_for(needed: int) -> int | None:
    """Return the bytes that are available if `needed` bytes are more than them, else None; also None if the system does not say."""
    if needed <= _SMALL:
        return None
    room = available_memory()
    return room if room is not None and needed > room else None
