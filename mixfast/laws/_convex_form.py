"""Which metrics of fitted laws are convex functions of the mixture, and their coefficients."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.objectives.epoch_exponents import EpochExponents
from mixfast._engine.objectives.exponentials import Convex
from mixfast.laws._protocol import Predictor
from mixfast.laws._target import Target


def convex_form(law: Predictor, target: Target) -> tuple[Convex | None, list[str]]:
    """Return the convex form of the metrics that count; or None and the names of those that have no convex form."""
    size, k = len(target.metrics), len(law.domains)
    a, linear, on, constant = np.zeros((size, k)), np.zeros((size, k)), np.zeros(size), np.zeros(size)
    rate = getattr(law, "rate", None)
    # A domain without tokens has an infinite rate, and no share.
    epochs = None if rate is None else EpochExponents.none(size, np.where(np.isfinite(rate), rate, 0.0))
    owner: dict[int, tuple[Any, list[int], list[int]]] = {}
    find = getattr(law, "law_of", None)
    for j in target.used:
        fitted, column = find(target.metrics[j]) if find is not None else (law, j)
        entry = owner.setdefault(id(fitted), (fitted, [], []))
        entry[1].append(j)
        entry[2].append(column)
    other: list[str] = []
    in_epochs = False
    for fitted, rows, columns in owner.values():
        sign = target.sign[rows]
        if getattr(fitted, "name", "") == "log_linear" and np.asarray(fitted.a).shape[1] == k and (sign > 0.0).all():
            a[rows], on[rows] = np.asarray(fitted.a)[columns], 1.0
            constant[rows] = np.exp(np.asarray(fitted.gamma)[columns])
        elif epochs is not None and _convex_in_epochs(fitted, columns, sign):
            on[rows], constant[rows] = np.exp(fitted.b0[columns]), sign * fitted.floor[columns]
            epochs.put(
                rows,
                gain=fitted.a[columns],
                harm=fitted.h[columns],
                rho=fitted.rho[columns],
                p=fitted.p[columns],
                tau=fitted.tau[columns],
            )
            in_epochs = True
        elif (plane := _plane(fitted, columns, k)) is not None:
            constant[rows], linear[rows] = sign * plane[0], sign[:, None] * plane[1]
        else:
            other += [target.metrics[j] for j in rows]
    return (None if other else Convex(a, on, linear, constant, epochs if in_epochs else None)), other


def _convex_in_epochs(fitted: Any, columns: list[int], sign: Vector) -> bool:
    """Whether these metrics of a fitted law are laws in epochs that are convex if they are minimised or maximised as asked."""
    return (
        getattr(fitted, "name", "") == "epochs"
        and bool(fitted.convex)
        and bool((np.asarray(fitted.sign)[columns] == sign).all())
    )


def _plane(fitted: Any, columns: list[int], k: int) -> tuple[Vector, Matrix] | None:
    """Return intercepts and coefficients of a law that is linear in the mixture alone; None for other laws."""
    if getattr(fitted, "name", "") != "linear" or not hasattr(fitted, "slopes"):
        return None
    even = np.full((1, k), 1.0 / k)
    try:
        values, gradients = fitted.slopes(even)
    except ValueError:  # a law that was fitted with features expects more columns
        return None
    values, gradients = np.asarray(values)[0, columns], np.asarray(gradients)[0, columns]
    return (values - gradients @ even[0], gradients) if gradients.shape == (len(columns), k) else None
