"""Select what Olmix fits in a swarm: the metrics that count, the columns that they are made of, and the runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from mixfast._text.names import listing, shown
from mixfast.errors import AlignmentError
from mixfast.readers._mmlu import CATEGORIES, SUBJECTS, has_subjects
from mixfast.readers._olmix_values import OlmixConfigError
from mixfast.swarm import Swarm

Families = Mapping[str, Sequence[str]]


def counted_names(families: Families, metrics: Sequence[str], *, aggregate: bool, dropped: Sequence[str]) -> list[str]:
    """Return the metrics that Olmix averages, each as often as it counts; all metrics if no tasks are listed.

    Raises
    ------
    AlignmentError
        If one of them is not among ``metrics``.
    OlmixConfigError
        If none is left.
    """
    if SUBJECTS & set(metrics):
        raise AlignmentError(
            "the subjects of MMLU are single metrics here, and Olmix groups them into four categories: fit with --olmix-config, or leave out "
            "the subjects with --ignore"
        )
    names = list(families) if aggregate else _tasks(families) or list(metrics)
    if not aggregate and families:
        # Olmix replaces the subjects by the categories among the listed tasks, even if no subject is listed.
        listed = any(name in SUBJECTS for name in names)
        names = [name for name in names if name not in SUBJECTS]
        nothing_else = set(metrics) <= {*names, *CATEGORIES}
        names += [name for name in CATEGORIES if name not in names and (listed or (nothing_else and name in metrics))]
    left = [name for name in names if name not in set(dropped)]
    if not left:
        raise OlmixConfigError(f"filtering.drop_metrics drops every metric: {listing(names)}")
    if missing := [name for name in left if name not in set(metrics)]:
        raise AlignmentError(
            f"the configuration counts {listing(missing)}, which {'is' if len(missing) == 1 else 'are'} not among the metrics "
            f"{listing(metrics)}: fit with --olmix-config, or name an --objective"
        )
    return left


def wanted_columns(families: Families, columns: Sequence[str], *, where: str) -> list[str] | None:
    """Return the columns that the listed tasks are made of, None if no tasks are listed; ``where`` names the file.

    Raises
    ------
    AlignmentError
        If listed tasks are absent.
    OlmixConfigError
        If MMLU is incomplete.
    """
    tasks = set(_tasks(families))
    if not tasks:
        return None
    subjects = SUBJECTS if has_subjects(columns) else frozenset()
    made = set(CATEGORIES) if subjects else set()
    if absent := [name for name in _tasks(families) if name not in columns and name not in made]:
        raise AlignmentError(
            f"eval.tasks lists metrics that {where} does not have: {listing(absent)}; its columns are: {listing(columns)}"
        )
    if not subjects and tasks & SUBJECTS:
        raise OlmixConfigError(
            f"eval.tasks lists subjects of MMLU, but {where} also has columns of its categories: list the categories instead, or leave "
            "out these columns with --ignore"
        )
    return [name for name in columns if name in tasks or name in subjects]


def fitted_swarm(
    swarm: Swarm, families: Families, *, aggregate: bool, dropped: Sequence[str]
) -> tuple[Swarm, list[str]]:
    """Return the swarm with the metrics that count, and notes on how they were made.

    Raises
    ------
    OlmixConfigError
        If a family or the whole list becomes empty, or MMLU is incomplete.
    """
    notes: list[str] = []
    tasks = _tasks(families)
    whole, tasks = _with_categories(swarm, tasks, aggregate, notes)
    if twice := sorted({name for name in tasks if tasks.count(name) > 1}):
        notes.append(f"eval.tasks lists {listing(twice)} more than once, and each mention counts")
    counted = whole.select(dict.fromkeys(tasks)) if tasks else whole
    counted = _complete(counted, notes)
    if aggregate:
        counted = counted.combine(_means(families, counted.metrics, notes))
        if idle := [name for name in dropped if name in tasks]:
            notes.append(
                f"filtering.drop_metrics names members of families ({listing(idle)}), which still count in their families, as in Olmix; "
                "to drop them, remove them from eval.tasks"
            )
    left = counted_names(families, counted.metrics, aggregate=aggregate, dropped=dropped)
    return counted.select(dict.fromkeys(left)), notes


def _tasks(families: Families) -> list[str]:
    return [name for members in families.values() for name in members]


def _with_categories(swarm: Swarm, tasks: list[str], aggregate: bool, notes: list[str]) -> tuple[Swarm, list[str]]:
    """Replace the subjects of MMLU by its categories, in the swarm and among the tasks."""
    if not has_subjects(swarm.metrics):
        return swarm, tasks
    listed = bool(tasks)
    known = {name: {name: 1.0} for name in swarm.metrics if name not in SUBJECTS}
    rest = [name for name in tasks if name not in SUBJECTS]
    named = [name for name in rest if name in CATEGORIES]
    if aggregate:
        notes.append("the 57 subjects of MMLU became four categories, each the mean over its questions, as in Olmix")
        return swarm.combine({**known, **CATEGORIES}), rest
    if named:
        raise OlmixConfigError(
            f"eval.tasks lists {listing(named)}, which Olmix computes from the 57 subjects of MMLU and counts in any case, so that it would "
            "count twice: remove it from eval.tasks"
        )
    notes.append(
        "the 57 subjects of MMLU became four categories, each the mean over its questions, and each counts as one metric, as in Olmix"
        + ("; eval.tasks does not list them" if listed and len(rest) == len(tasks) else "")
    )
    return swarm.combine({**known, **CATEGORIES}), [*rest, *CATEGORIES] if listed else rest


def _complete(swarm: Swarm, notes: list[str]) -> Swarm:
    """Leave out the runs that lack a value of a metric that is fitted."""
    whole = np.asarray(np.isfinite(swarm.values).all(axis=1))
    if whole.all():
        return swarm
    if not whole.any():
        raise OlmixConfigError("every run lacks a value of some metric in eval.tasks; list metrics that the runs have")
    lost = [swarm.runs[row] for row in np.flatnonzero(~whole).tolist()]
    notes.append(f"runs that lack a value of a metric are left out, as in Olmix: {listing(lost)}")
    return swarm.subset(whole)


def _means(families: Families, metrics: Sequence[str], notes: list[str]) -> dict[str, dict[str, float]]:
    """Return the weights of the metrics in the mean of each family."""
    found = {}
    for family, tasks in families.items():
        # As in Olmix, the categories of MMLU replace its subjects.
        members = [name for name in tasks if name in metrics]
        if not members:
            raise OlmixConfigError(
                f"the family {shown(family)} of eval.tasks has only subjects of MMLU, which Olmix groups into four categories: list "
                f"{listing(CATEGORIES)} instead"
            )
        if lost := [name for name in tasks if name in SUBJECTS]:
            notes.append(
                f"{len(lost)} subjects of MMLU do not count in the family {shown(family)}, as in Olmix: list their categories there instead, "
                f"{listing(CATEGORIES)}"
            )
        found[family] = {name: members.count(name) / len(members) for name in members}
    return found


def train_runs(runs: int, *, n_test: int, train_split: float, seed: int) -> list[int]:
    """Return the positions of the runs that Olmix fits, in ascending order: the training part of scikit-learn's `train_test_split`.

    Raises
    ------
    OlmixConfigError
        If there are fewer runs than requested.
    """
    rows = np.arange(runs)
    if n_test > 0:
        # Olmix passes a share of the runs to scikit-learn, which rounds up.
        tested = math.ceil(n_test / runs * runs)
        if tested >= runs:
            raise OlmixConfigError(f"regression.n_test is {n_test}, and there are only {runs} runs")
        rows = rows[np.random.RandomState(seed).permutation(runs)[tested:]]
    if train_split not in (1.0, float(len(rows))):
        kept = int(train_split) if train_split > 1.0 else math.floor(train_split * len(rows))
        if not 0 < kept < len(rows):
            raise OlmixConfigError(
                f"regression.train_split is {train_split:g}, expected a share of the runs above 0, or a number of them up to {len(rows)}"
            )
        rows = rows[np.random.RandomState(seed).permutation(len(rows))[len(rows) - kept :]]
    return sorted(rows.tolist())
