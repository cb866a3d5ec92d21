"""Search for the best mixture, for laws that are not convex; without proof."""

from __future__ import annotations

import numpy as np

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.optimise.regmix import simulate
from mixfast._engine.optimise.search import search
from mixfast._engine.optimise.simulation import simulate_rounds
from mixfast._text.names import shown
from mixfast._text.progress import long_work
from mixfast.errors import RegionError
from mixfast.laws import has_slopes
from mixfast.proposers._outcome import Outcome
from mixfast.proposers._task import Task

# Both sample mixtures around the prior.
_SIMULATIONS = {"regmix": simulate, "simulation": simulate_rounds}
# Penalty of a search for each unit by which a guard is exceeded, in units of the objective: more than any gain elsewhere.
_BROKEN = 1e3
# Smaller shares are replaced by this one in the slope of the KL term.
_LEAST = 1e-12


@long_work("searching")
def searched(task: Task, method: str) -> Outcome:
    """Search for the best mixture, or run the simulation of RegMix or Olmix.

    Raises
    ------
    ValueError
        kappa above 0 for a law without standard deviations.
    RegionError
        A simulation without a prior.
    """
    if task.kappa > 0.0 and not hasattr(task.law, "sd"):
        raise ValueError("kappa > 0 needs a law with standard deviations, and this one has none")
    criterion = _Criterion(task)
    simulation = _SIMULATIONS.get(method)
    if simulation is not None:
        if not task.region.has_prior:
            raise RegionError(
                f"method={shown(method)} samples mixtures around the prior, and the region has none: give Region a prior"
            )
        found = simulation(task.reach.region, criterion.score, seed=task.seed)
    else:
        starts = [task.reach.region.project(task.region.prior)]
        starts += [] if task.start is None else [task.start]
        slope = criterion.slope if has_slopes(task.law) else None
        found = search(task.reach, criterion.score, slope, np.array(starts), seed=task.seed)
    return Outcome(
        w=found.w,
        status="searched",
        value=found.value,
        method="search" if simulation is None else method,
        gap=None,
        trace=tuple(found.trace),
        weight=task.target.weight,
        limited=np.zeros(task.target.weight.size),
        seen=(found.seen, found.scores),
    )


class _Criterion:
    """What a search minimises: the objective with the KL term, risk aversion, and a penalty for guards that are exceeded."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def score(self, points: Matrix) -> Vector:
        """Values (M,) at mixtures (M, K), infinite if the law returns no finite number."""
        task = self.task
        values = np.asarray(task.law.predict(points), dtype=np.float64)
        out = task.target.score(values)
        if task.kappa > 0.0:
            out = out + task.kappa * task.target.spread(values, np.asarray(task.law.sd(points), dtype=np.float64))
        out = out + task.kl.values(self._inside(points))
        if task.most is not None:
            out = out + _BROKEN * task.unit * np.maximum(self._excess(values, task.most), 0.0).max(axis=1)
        return np.where(np.isfinite(out), out, np.inf)

    def slope(self, points: Matrix) -> Matrix:
        """Gradients (M, K) of the objective with the KL term and the penalty."""
        task = self.task
        values, gradients = (np.asarray(part, dtype=np.float64) for part in task.law.slopes(points))
        out = task.target.slope(values, gradients)
        if task.most is not None:
            excess, every = self._excess(values, task.most), np.arange(len(values))
            top = excess.argmax(axis=1)
            steep = _BROKEN * task.unit * (excess[every, top] > 0.0) * (task.target.sign / task.sizes)[top]
            out = out + steep[:, None] * gradients[every, top]
        if task.weight > 0.0:
            out = np.array(out)
            chosen = slice(None) if task.reach.usable is None else task.reach.usable
            out[:, chosen] += task.kl.slope(np.maximum(self._inside(points), _LEAST))
        return out

    def _excess(self, values: Matrix, most: Vector) -> Matrix:
        """Return by how much the metrics (M, J) exceed their guards, in units of `Task.sizes`."""
        out: Matrix = (values * self.task.target.sign - most) / self.task.sizes
        return out

    def _inside(self, points: Matrix) -> Matrix:
        """Return the shares of the usable domains."""
        return points if self.task.reach.usable is None else points[:, self.task.reach.usable]
