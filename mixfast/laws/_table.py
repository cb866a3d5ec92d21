"""The laws by name, made when they are asked for: each may need a package that others do not."""

from __future__ import annotations

import importlib

from mixfast.laws._protocol import Law, State

# name -> module, class, options. The order is that of reports.
LAWS: dict[str, tuple[str, str, dict[str, object]]] = {
    "linear": ("mixfast.laws.linear", "Linear", {}),
    "log_linear": ("mixfast.laws.log_linear", "LogLinear", {}),
    "autoscale": ("mixfast.laws.power", "AutoScale", {}),
    "bimix": ("mixfast.laws.power", "BiMix", {}),
    "lightgbm": ("mixfast.laws.boosted", "Boosted", {}),
    "gp": ("mixfast.laws.gaussian", "GaussianProcess", {}),
}


def make(name: str, **options: object) -> Law:
    """The law of that name, not fitted yet."""
    if name not in LAWS:
        raise ValueError(f"no law {name!r}; there are auto, {', '.join(LAWS)}, or an object with fit and predict")
    module, kind, given = LAWS[name]
    law: Law = getattr(importlib.import_module(module), kind)(**{**given, **options})
    return law


def from_state(state: State) -> Law:
    """The law that was saved."""
    name = state.get("name")
    if name not in LAWS:
        raise ValueError(f"the file holds a law {name!r}, and this version knows {', '.join(LAWS)}")
    module, kind, _ = LAWS[name]
    law: Law = getattr(importlib.import_module(module), kind).from_state(state["state"])
    return law
