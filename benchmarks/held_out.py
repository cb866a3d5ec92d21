"""Ours against the loop of the MixMin paper on text neither saw: python -m benchmarks.held_out [TABLES] [--share .25] [--seeds 5].

For every real table: held-out loss of the exact optimum less that of 100 exponentiated-gradient steps, nats per token, the mean and the largest
over the splits. Below 0, ours is better.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.problems import TABLES
from mixfast import ExpertTable, solver


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", type=Path, nargs="?", default=TABLES)
    parser.add_argument("--share", type=float, default=0.25)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    for level in ("token", "sequence"):
        worse = 0
        files = sorted((options.tables / level).glob("*.npz"))
        for file in files:
            table = ExpertTable.load(file)
            change = []
            for seed in range(options.seeds):
                report = solver.holdout(table, share=options.share, seed=seed)
                rows = {row.name: row.held_out_loss for row in report.rows}
                change.append(rows["mixfast"] - next(loss for name, loss in rows.items() if "eg" in name.lower()))
            worse += np.mean(change) > 0.0
            print(
                f"{level:<8}  {file.stem:<20}  mean {np.mean(change):+.1e}  largest {np.max(change):+.1e}", flush=True
            )
        print(f"{level}: ours is worse in the mean on {worse} of {len(files)}")


if __name__ == "__main__":
    main()
