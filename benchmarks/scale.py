"""Solve a folder of shards in a process of its own, or in several ranks, and report what it took: ``python -m benchmarks.scale FOLDER``.

Under torchrun the ranks share the rows. Rank 0 writes a JSON object: the seconds of each repetition (from opening the folder to the certified answer), the
sweeps of all rows, the largest anonymous memory of any rank, the steps in which ranks exchanged numbers, the bytes that crossed, and the answer.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import facts


class Memory:
    """The largest anonymous memory of this process while the context is open, sampled every 5 ms; None if the system does not tell."""

    def __init__(self) -> None:
        self.megabytes: float | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            if (now := anonymous_megabytes()) is not None:
                self.megabytes = max(now, self.megabytes or 0.0)
            if self._done.wait(0.005):
                return


def anonymous_megabytes() -> float | None:
    """Return the anonymous memory of this process now: without the pages of mapped files."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((float(line.split()[1]) / 1e3 for line in lines if line.startswith("RssAnon")), None)


def count_sweeps(counts: list[int]) -> None:
    """Make each sum over all rows of a sharded table add 1 to ``counts[0]``."""
    from mixfast.tables import ShardedTable

    for name in ("reduce", "collect"):
        plain = getattr(ShardedTable, name)

        def counted(self: Any, *args: Any, _plain: Any = plain, **options: Any) -> Any:
            counts[0] += not self.sampled
            return _plain(self, *args, **options)

        setattr(ShardedTable, name, counted)


def _memory(state: dict[Any, Any], key: str) -> float:
    return state[key].megabytes or 0.0


def _watch(state: dict[Any, Any], key: str) -> None:
    state[key] = Memory().__enter__()


def solve(team: Any, folder: Path, *, tol: float, threads: int, repeats: int) -> dict[str, Any]:
    """Solve the folder and return the report; rank 0 calls this."""
    import mixfast

    counts = [0]
    count_sweeps(counts)
    team.each(_watch, "benchmarks.memory")
    seconds, sweeps = [], []
    steps, sent = team.steps, team.bytes_sent
    for _ in range(repeats):
        counts[0] = 0
        began = time.perf_counter()
        table = mixfast.ExpertTable.load(folder, ranks=team)
        found = mixfast.solve(table, tol=tol, threads=threads)
        weights = found.mixture.weights
        seconds.append(time.perf_counter() - began)
        sweeps.append(counts[0])
    return {
        "seconds": seconds, "sweeps": sweeps[-1], "rows": table.n_rows, "domains": table.n_domains, "bytes": table.nbytes,
        "ranks": team.size, "threads": threads, "status": found.status, "value": found.value, "gap": found.gap, "weights": weights.tolist(),
        "megabytes": max(team.each(_memory, "benchmarks.memory")), "steps": (team.steps - steps) / repeats,
        "sent": (team.bytes_sent - sent) / repeats,
    }  # fmt: skip


def run(
    folder: Path, *, ranks: int = 1, threads: int = 1, tol: float = 1e-8, repeats: int = 1, nodes: Sequence[Any] = ()
) -> dict[str, Any]:
    """Start the process or processes, and return the report of rank 0.

    `nodes` are places that a rank each is started in (see `benchmarks.wire`), instead of `ranks` processes of this place.
    """
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary, "report.json")
        own = [
            "-m", "benchmarks.scale", str(folder), "--threads", str(threads), "--tol", str(tol), "--repeats", str(repeats), "--out", str(out),
        ]  # fmt: skip
        torchrun = ["-m", "torch.distributed.run"]
        environment = os.environ | dict.fromkeys(facts.POOLS, str(threads))
        if nodes:
            commands = [
                [*node.command, sys.executable, *torchrun, "--nproc-per-node", "1", *_rendezvous(nodes, number), *own]
                for number, node in enumerate(nodes)
            ]
        elif ranks > 1:
            commands = [[sys.executable, *torchrun, "--standalone", "--nproc-per-node", str(ranks), *own]]
        else:
            commands = [[sys.executable, *own]]
        started = [
            subprocess.Popen(
                command, cwd=facts.ROOT, stderr=subprocess.PIPE, text=True,
                env=environment | ({"GLOO_SOCKET_IFNAME": nodes[number].interface} if nodes else {}),
            )
            for number, command in enumerate(commands)
        ]  # fmt: skip
        errors = [process.communicate()[1] for process in started]
        if any(process.returncode for process in started):
            raise RuntimeError("\n".join(errors)[-4000:])
        report: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return report


def _rendezvous(nodes: Sequence[Any], number: int) -> list[str]:
    words = ["--nnodes", str(len(nodes)), "--node-rank", str(number)]
    return [*words, "--master-addr", nodes[0].address, "--master-port", "29518"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run this process: alone, or as one rank."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale", description="Solve a folder of shards and report what it took."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=1, help="threads of a rank (default 1)")
    parser.add_argument("--tol", type=float, default=1e-8, help="gap in nats (default 1e-8)")
    parser.add_argument("--repeats", type=int, default=1, help="how often the folder is solved (default 1)")
    parser.add_argument("--out", type=Path, help="file for the report; default: stdout")
    given = parser.parse_args(arguments)
    from mixfast import ranks

    with ranks.from_environment() as processes:

        def work(team: Any) -> dict[str, Any]:
            return solve(team, given.folder, tol=given.tol, threads=given.threads, repeats=given.repeats)

        report = ranks.run(work, processes)
        if processes.rank == 0:
            text = json.dumps(report)
            print(text) if given.out is None else given.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
