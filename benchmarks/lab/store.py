"""The trained models: three csv files to which lines are only appended, so that a laboratory can resume."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import mixfast


@dataclass(frozen=True)
class Job:
    """One model to be trained."""

    run: str
    kind: str
    recipe: str
    mixture: mixfast.Mixture
    seed: int


class Store:
    """runs.csv, ratios.csv and metrics.csv of a folder, joined on `run`."""

    def __init__(self, folder: Path, domains: Sequence[str], metrics: Sequence[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.domains, self.metrics = tuple(domains), tuple(metrics)
        facts = ("kind", "recipe", "seed", "windows", "operations", "seconds")
        # metrics.csv comes last: a run that is not in it was interrupted, and is trained again.
        self._files = {"runs": facts, "ratios": self.domains, "metrics": self.metrics}
        self._folder = folder
        self._rows: dict[str, dict[str, dict[str, str]]] = {}
        for name, columns in self._files.items():
            path = folder / f"{name}.csv"
            if not path.exists():
                path.write_text(",".join(("run", *columns)) + "\n")
            with path.open() as file:
                self._rows[name] = {row["run"]: row for row in csv.DictReader(file)}

    def __contains__(self, run: str) -> bool:
        return run in self._rows["metrics"]

    def add(self, job: Job, metrics: Mapping[str, float], **facts: float) -> None:
        """Append one finished run; `facts` are its windows, operations and seconds."""
        row = {
            "runs": {"kind": job.kind, "recipe": job.recipe, "seed": job.seed, **facts},
            "ratios": {name: repr(job.mixture[name]) if name in job.mixture else 0 for name in self.domains},
            "metrics": {name: round(float(metrics[name]), 6) for name in self.metrics},
        }
        for name, columns in self._files.items():
            cells = [job.run, *(str(row[name][column]) for column in columns)]
            with (self._folder / f"{name}.csv").open("a", newline="") as file:
                csv.writer(file, lineterminator="\n").writerow(cells)
            self._rows[name][job.run] = dict(zip(("run", *columns), cells, strict=True))

    def runs(self, wanted: Callable[[dict[str, str]], bool]) -> list[str]:
        """Return the runs whose row in runs.csv fulfils a condition, in the order in which they were trained."""
        return [run for run, row in self._rows["runs"].items() if run in self and wanted(row)]

    def facts(self, run: str) -> dict[str, str]:
        """Return a run's row in runs.csv."""
        return self._rows["runs"][run]

    def metric(self, run: str, name: str) -> float:
        """Return one metric of a run, nats per byte."""
        return float(self._rows["metrics"][run][name])

    def mixture(self, run: str) -> mixfast.Mixture:
        """Return the mixture that a run was trained on, with all domains."""
        return mixfast.Mixture(self.domains, [float(self._rows["ratios"][run][name]) for name in self.domains])

    def swarm(
        self,
        runs: Sequence[str],
        domains: Sequence[str],
        *,
        chosen: Sequence[str] | None = None,
        tokens: Mapping[str, int] | None = None,
        budget: int | None = None,
    ) -> mixfast.Swarm:
        """Return some runs as a swarm over some domains; `tokens` of their pools and `budget` of a run are optional."""
        ratios = np.array([[float(self._rows["ratios"][run][name]) for name in domains] for run in runs])
        values = np.array([[self.metric(run, name) for name in self.metrics] for run in runs])
        return mixfast.Swarm(
            ratios,
            values,
            domains=domains,
            metric_names=self.metrics,
            runs=runs,
            chosen=chosen,
            tokens=tokens,
            budget=budget,
        )
