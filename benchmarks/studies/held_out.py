"""Compare our optimum with the loop of the MixMin paper on held-out text: python -m benchmarks.studies held_out.

For every real table: held-out loss of the exact optimum minus that of 100 exponentiated-gradient steps, nats per token, the mean and the
largest over the splits. Below 0, our optimum is better.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.problems import TABLES
from mixfast import ExpertTable, solver


def run(tables: Path = TABLES, share: float = 0.25, seeds: int = 5) -> None:
    """Print one line for each table of the folder, and how often ours is worse at each level."""
    for level in ("token", "sequence"):
        worse = 0
        files = sorted((tables / level).glob("*.npz"))
        for file in files:
            table = ExpertTable.load(file)
            change = []
            for seed in range(seeds):
                report = solver.holdout(table, share=share, seed=seed)
                rows = {row.name: row.held_out_loss for row in report.rows}
                change.append(rows["mixfast"] - next(loss for name, loss in rows.items() if "eg" in name.lower()))
            worse += np.mean(change) > 0.0
            print(
                f"{level:<8}  {file.stem:<20}  mean {np.mean(change):+.1e}  largest {np.max(change):+.1e}", flush=True
            )
        print(f"{level}: ours is worse in the mean on {worse} of {len(files)}")
