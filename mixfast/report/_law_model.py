"""The laws of a fit as data for the explorer's page, which evaluates the same formulas in JavaScript (`explorer/laws.js`, `gaussian.js`)."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np

from mixfast._engine.backend.arrays import Matrix
from mixfast.laws import Fit, State

Data = dict[str, Any]

# Numbers of all error bars of a law up to which they are float64, and up to which they are rounded to 24 bits; more are rounded to 20,
# or to 16 in epoch laws. The page of 64 domains, 52 metrics and 200 runs is then below 3 MB. Standard deviations change by less than 0.1 %; those
# of autoscale and bimix, which are small differences of large terms, by less than 1 %. The penalties of epoch laws prevent such terms.
_FEW, _SOME = 50_000, 400_000


def packed(numbers: Any, kind: str = "f8") -> dict[str, str]:
    """Return numbers as base64 of little-endian float64 ("f8"), float32 ("f4"), float16 ("f2"), 16-bit integers ("i2") or bytes ("u1")."""
    return {kind: base64.b64encode(np.ascontiguousarray(numbers, dtype=f"<{kind}").tobytes()).decode()}


def law_model(law: Fit) -> tuple[Data, dict[str, str]]:
    """Return the laws as data, and the metrics that the page cannot predict, with the reason.

    The data have the coefficients in float64, so that the page's predictions agree with `Fit.predict` up to rounding. What decides the error
    bars alone is rounded if it is many numbers: covariances to integers, rival laws to float32.
    """
    parts: list[Data] = []
    metrics: list[Data] = []
    lost: dict[str, str] = {}
    for part in law.parts:
        names = [law.metrics[j] for j in part.columns]
        why = _why_not(law, part.law)
        if why:
            lost |= dict.fromkeys(names, why)
            continue
        data = _FORMS[part.law.name](part.law.state(), list(part.own))
        if part.law.name == "epochs":
            # A domain without tokens has an infinite rate, and the page computes its epochs as Python does.
            data["rate"] = packed(law.rate)
        parts.append({"kind": part.law.name, "metrics": list(range(len(metrics), len(metrics) + len(names))), **data})
        metrics += [_metric(law, j) for j in part.columns]
    return {"domains": list(law.domains), "metrics": metrics, "laws": parts}, lost


def _why_not(law: Fit, part: Any) -> str:
    """Say why the page cannot evaluate a law; empty if it can."""
    name = getattr(part, "name", type(part).__name__)
    if name not in _FORMS:
        return f"the page has no formula for laws of the kind {name}"
    if law.features is not None and part.uses_features:
        return "the law uses features of mixtures, which need their table"
    if name == "gp" and len(part.state()["noise"]):
        return "the Gaussian process was fitted to several metrics together (tasks above 0)"
    if name == "epochs" and law.rate is None:
        return "the law is a function of epochs: give token counts and a budget"
    return ""


def _metric(law: Fit, j: int) -> Data:
    name = law.metrics[j]
    return {
        "name": name,
        "unit": law.unit[j],
        "law": law.law_of(name)[0].name,
        "sign": -1 if law.direction[j] == "max" else 1,
        "spread": float(law.spread.get(name, 0.0)),
    }


def _linear(state: State, own: list[int]) -> Data:
    return {
        **_arrays(state, own, ("noise", "intercept", "coef", "centre", "runs")),
        "covariance": _covariances(state, own),
    }


def _log_linear(state: State, own: list[int]) -> Data:
    return {**_arrays(state, own, ("noise", "gamma", "a")), "covariance": _covariances(state, own)}


def _autoscale(state: State, own: list[int]) -> Data:
    return {
        **_arrays(state, own, ("noise", "theta", "unit")),
        "tokens": state["tokens"],
        "covariance": _covariances(state, own),
    }


def _bimix(state: State, own: list[int]) -> Data:
    return {
        **_arrays(state, own, ("noise", "theta", "unit")),
        "floor": state["floor"],
        "covariance": _covariances(state | {"covariance": _merged(state)}, own),
    }


def _merged(state: State) -> Matrix:
    """Return the covariances (J, P, P) of a BiMix law in which all factors whose exponent is 0 are one coefficient, the first of them.

    The law depends on their sum alone. Their own errors are huge and cancel, which rounded numbers would not do.
    """
    theta, out = np.asarray(state["theta"]), np.array(state["covariance"], dtype=np.float64)
    for covariance, exponents in zip(out, theta[:, theta.shape[1] // 2 :], strict=True):
        same = np.flatnonzero(exponents == 0.0)
        if len(same) > 1:
            covariance[same[0]] = covariance[same].sum(axis=0)
            covariance[:, same[0]] = covariance[:, same].sum(axis=1)
            covariance[same[1:]] = covariance[:, same[1:]] = 0.0
    return out


def _epochs(state: State, own: list[int]) -> Data:
    names = ("noise", "floor", "b0", "a", "h", "rho", "p", "tau", "sign", "worst")
    kind = "f8" if _bits(state, own) == 64 else "f4"
    rivals = [
        [packed(rival, kind) for rival in np.asarray(state["rivals"])[j, : int(np.asarray(state["rival_count"])[j])]]
        for j in own
    ]
    return {
        **_arrays(state, own, names),
        "convex": bool(state["convex"]),
        "rivals": rivals,
        "covariance": _covariances(state, own, fewest=16),
    }


def _gaussian(state: State, own: list[int]) -> Data:
    processes = []
    for j in own:
        runs = np.flatnonzero(np.isfinite(np.asarray(state["y"])[:, j]))
        numbers = {
            name: np.asarray(state[name])[j].item() for name in ("constant", "scale", "floor", "logged", "widen")
        }
        processes.append(
            {
                **numbers,
                "theta": packed(state["theta"][j]),
                "weights": packed(np.asarray(state["alpha"])[j, runs]),
                "runs": runs.tolist(),
            }
        )
    inputs = {name: packed(state[name]) for name in ("x", "centre", "spread")}
    return {**inputs, "roots": int(state["shares"]), "processes": processes}


_FORMS: dict[str, Callable[[State, list[int]], Data]] = {
    "linear": _linear,
    "log_linear": _log_linear,
    "autoscale": _autoscale,
    "bimix": _bimix,
    "epochs": _epochs,
    "gp": _gaussian,
}


def _arrays(state: State, own: list[int], names: tuple[str, ...]) -> Data:
    return {name: packed(np.asarray(state[name], dtype=np.float64)[own]) for name in names}


def _covariances(state: State, own: list[int], fewest: int = 20) -> list[Data]:
    bits = _bits(state, own, fewest)
    return [_factor(np.asarray(state["covariance"])[j], bits) for j in own]


def _bits(state: State, own: list[int], fewest: int = 20) -> int:
    """Return how many bits each number of the error bars of these metrics has, by how many numbers there are."""
    count = sum(np.asarray(state["covariance"])[j].size // 2 for j in own)
    return 64 if count <= _FEW else 24 if count <= _SOME else fewest


def _factor(covariance: Matrix, bits: int) -> Data:
    """Return a covariance C as ``D R'R D`` over the coefficients that are uncertain: D as powers of 2, and R row by row, upper triangular.

    D is near the standard deviations, which may be decades apart. Directions with a negative variance, a rounding error, count as certain. An inverse is symmetric only up to rounding, which the large terms of such a variance do not forgive: only the
    mean of C and C' has the variances of C.
    """
    covariance = 0.5 * (covariance + covariance.T)
    deviation = np.sqrt(np.maximum(np.diagonal(covariance), 0.0))
    used = np.flatnonzero(deviation > 0.0)
    exponents = np.frexp(deviation[used])[1]
    scale = np.ldexp(1.0, exponents)
    values, vectors = np.linalg.eigh(covariance[np.ix_(used, used)] / np.outer(scale, scale))
    upper = np.asarray(np.linalg.qr(np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T, mode="r"))
    rows, columns = np.triu_indices(len(used))
    factor: Data = packed(upper[rows, columns]) if bits == 64 else _rounded(upper, bits)
    return {
        "used": None if len(used) == len(deviation) else used.tolist(),
        "exponents": packed(exponents, "i2"),
        "factor": factor,
    }


def _rounded(upper: Matrix, bits: int) -> Data:
    """Return an upper triangle row by row as integers of 16, 20 or 24 bits, and what the integers of each row are multiplied by.

    The last 8 of 24 bits are apart, and the last 4 of 20, of two numbers in a byte.
    """
    steps = np.maximum(np.abs(upper).max(axis=1), np.finfo(np.float32).tiny) / (2 ** (bits - 1) - 2 ** (bits - 16))
    rows, columns = np.triu_indices(len(upper))
    whole = np.rint(upper[rows, columns] / steps[rows]).astype(np.int64)
    low: Data = {}
    if bits == 24:
        low = {"low": packed(whole & 255, "u1")}
    elif bits == 20:
        last = np.append(whole & 15, 0) if len(whole) % 2 else whole & 15
        low = {"half": packed(last[::2] * 16 + last[1::2], "u1")}
    return {**packed(whole >> (bits - 16), "i2"), **low, "steps": packed(steps, "f4")}
