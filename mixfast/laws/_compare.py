"""`compare`: how well each law predicts each metric out of fold, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mixfast._engine.backend.blas import single_blas
from mixfast._text.numbers import decimals
from mixfast._text.progress import working
from mixfast._text.table import text_table
from mixfast.errors import BackendError
from mixfast.laws import _table
from mixfast.laws._ahead import Ahead
from mixfast.laws._candidate import Candidate
from mixfast.laws._doubts import no_better_than_the_mean, told_weak, told_worse
from mixfast.laws._fit import told_refused
from mixfast.laws._left_out import Progress
from mixfast.laws._problem import Problem
from mixfast.laws._report import MetricReport, known, mean_known
from mixfast.laws._robust import without_diverged
from mixfast.swarm import Swarm


@dataclass(frozen=True)
class Comparison:
    """Out-of-fold quality of several laws.

    Attributes
    ----------
    metrics : tuple of str
    reports : dict of law to dict of metric to MetricReport
        Metrics that a law cannot describe are missing.
    left_out : tuple of str
        Laws that were left out, for all metrics or for some, with the reason.
    notes : tuple of str
        Problems with the runs and metrics that the user should know about.
    untried : dict of law to str
        Laws out of `left_out` that could not be tried because a package is missing, with the reason. One of them may be better than the best
        of `reports`.
    """

    metrics: tuple[str, ...]
    reports: dict[str, dict[str, MetricReport]]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
    untried: dict[str, str] = field(default_factory=dict)

    @property
    def report(self) -> str:
        """A text table: the out-of-fold rmse of each metric under each law, with the smallest marked, its noise if it is known, and means over the metrics."""
        rows = []
        noisy = any(self._noise(metric) is not None for metric in self.metrics)
        blank = [""] if noisy else []
        for metric in self.metrics:
            errors = {law: ones[metric].rmse for law, ones in self.reports.items() if metric in ones}
            least = min(errors.values(), default=0.0)
            cells = {law: f"{error:.4g}{'*' if error == least else ' '}" for law, error in errors.items()}
            floor = [f"{known(self._noise(metric))} "] if noisy else []
            rows.append([metric, *floor, *(cells.get(law, "- ") for law in self.reports)])
        rows.append(["mean Spearman", *blank, *(f"{self._mean(law, 'spearman'):.4f} " for law in self.reports)])
        for name in ("regret", "optimism", "self_optimism"):
            means = (self._mean(law, name, in_sds=True) for law in self.reports)
            rows.append([f"mean {name.replace('_', '-')}, sd", *blank, *(f"{decimals(mean, 3)} " for mean in means)])
        return text_table(["out-of-fold rmse", *(["noise "] if noisy else []), *self.reports], rows)

    def __str__(self) -> str:
        return self.report

    def _noise(self, metric: str) -> float | None:
        """Return the standard deviation of a metric between seeds; None if it is not known."""
        return next((ones[metric].noise for ones in self.reports.values() if metric in ones), None)

    def _mean(self, law: str, name: str, *, in_sds: bool = False) -> float:
        """Return the mean of one quality of a law over its metrics, if asked in standard deviations of each metric."""
        ones = self.reports[law].values()
        return mean_known([one.in_sds(name) if in_sds else getattr(one, name) for one in ones])


def compare(
    swarm: Swarm,
    laws: Sequence[str] = tuple(_table.LAWS),
    *,
    metrics: Sequence[str] | None = None,
    seed: int = 0,
    folds: int = 5,
    progress: Progress | None = None,
) -> Comparison:
    """Measure out of fold how well each law predicts each metric. The parameters are those of `fit`."""
    problem = Problem.of(swarm, metrics, None, seed, folds, warned=2)
    if not problem.scored:
        raise ValueError(
            f"laws are compared out of fold, which needs 2 or more folds and at least 2 runs that were not chosen after looking at data; "
            f"got {folds} folds and {problem.testable} such runs"
        )
    every = range(len(problem.metrics))
    candidates, refused, left_out = [], dict[int, list[tuple[str, str]]](), []
    untried = dict[str, str]()
    made = [Candidate(_table.make(law), list(every)) for law in laws]
    ahead = Ahead(candidate.law for candidate in made)
    with working("comparing laws", len(made) * (1 + len(problem.splits)), "fit"), single_blas():
        for law, candidate in zip(laws, made, strict=True):
            ahead.wait(candidate.law)
            try:
                for j, why in problem.fit(candidate, progress).items():
                    refused.setdefault(j, []).append((law, why))
            except (ValueError, RuntimeError) as error:
                left_out.append(f"{law}: left out, {error}")
                if isinstance(error, BackendError):
                    untried[law] = str(error)
            else:
                candidates.append(candidate)
    reports: dict[str, dict[str, MetricReport]] = {candidate.law.name: {} for candidate in candidates}
    plan = [list(candidates) for _ in problem.metrics]
    counted = without_diverged(problem, plan)
    noise = problem.noise(counted)
    best = []
    for j in every:
        rivals = [candidate for candidate in plan[j] if j in candidate.columns]
        if not rivals:
            continue
        errors = {rival.law.name: rival.error(j, problem.y, counted[:, j]) for rival in rivals}
        for rival in rivals:
            reports[rival.law.name][problem.metrics[j]] = problem.report(j, rival, counted[:, j], errors, noise)
        best.append(reports[min(errors, key=lambda name: errors[name])][problem.metrics[j]])
    notes = [
        *problem.notes,
        *problem.diverged(counted),
        *told_weak(noise, problem.metrics),
        *no_better_than_the_mean(best),
        *told_worse(reports),
    ]
    return Comparison(
        problem.metrics,
        {law: found for law, found in reports.items() if found},
        (*left_out, *told_refused(refused, problem.metrics)),
        tuple(dict.fromkeys(notes)),
        untried,
    )
