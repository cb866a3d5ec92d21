"""Processes that are ranks of one run, started without a launcher, which would end the others when one ends."""

from __future__ import annotations

import os
import socket
import subprocess
import sys


def environment(**more):
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("MIXFAST_", "TORCHELASTIC"))}
    return {**clean, "OMP_NUM_THREADS": "1", "MIXFAST_NUM_THREADS": "1", **more}


def started(size, *command, folders=None):
    """Start a command of Python as ranks; a folder for each may be given as `folders`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    return [
        subprocess.Popen(
            [sys.executable, *command],
            env=environment(RANK=str(rank), WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1", MASTER_PORT=port),
            cwd=None if folders is None else folders[rank],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]


def ended(processes, seconds=120.0):
    """Return status, stdout and stderr of each process."""
    try:
        said = [process.communicate(timeout=seconds) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *texts) for process, texts in zip(processes, said, strict=True)]
