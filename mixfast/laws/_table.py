"""The laws by name. Each is imported when it is used, because it may need a package that others do not."""

from __future__ import annotations

import importlib
from typing import Any

from mixfast._text.names import did_you_mean, shown
from mixfast.laws._protocol import Law, State

# Module and class of each law, in the order of reports.
LAWS = {
    "linear": ("linear", "Linear"),
    "log_linear": ("log_linear", "LogLinear"),
    "autoscale": ("power", "AutoScale"),
    "bimix": ("power", "BiMix"),
    "epochs": ("epochs", "Epochs"),
    "lightgbm": ("boosted", "Boosted"),
    "gp": ("gaussian", "GaussianProcess"),
}


def make(name: str, **options: object) -> Law:
    """Make the law of this name, not fitted yet."""
    if name not in LAWS:
        raise ValueError(
            f"no law {shown(name)}{did_you_mean(name, ('auto', *LAWS))}; expected auto, {', '.join(LAWS)}, or an object with fit and predict"
        )
    law: Law = _class(name)(**options)
    return law


def from_state(name: str, state: State) -> Law:
    """Rebuild a saved law."""
    if name not in LAWS:
        raise ValueError(f"the file holds a law {shown(name)}, and this version knows {', '.join(LAWS)}")
    law: Law = _class(name).from_state(state)
    return law


def _class(name: str) -> Any:
    module, kind = LAWS[name]
    return getattr(importlib.import_module(f"mixfast.laws.{module}"), kind)
