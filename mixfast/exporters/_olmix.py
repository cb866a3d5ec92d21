"""Olmix: the ``mix`` of a launch file."""

from __future__ import annotations

from mixfast._text.yaml import write_yaml
from mixfast.exporters._draft import Counts, Draft
from mixfast.exporters._olmo_core import repetition, say_repeated
from mixfast.exporters._result import Export
from mixfast.mixture import Mixture


def olmix(mixture: Mixture, *, tokens: Counts = None, budget: int | None = None) -> Export:
    """Write the ``mix`` of an Olmix launch file, in its flat form, with a ``repetition_factor`` for each domain.

    Written for allenai/olmix of 2026-03. ``tokens`` and ``budget`` are as for `olmo_core`; without them the factors
    are 1. Names are Olmix's, ``source:topic``.
    """
    draft = Draft.of("olmix", mixture)
    epochs = draft.epochs(tokens, budget)
    shares = draft.mixture.as_dict()
    if epochs is None:
        draft.notes.append(
            "repetition factors are 1, no domain may be repeated; with tokens and budget they are worked out"
        )
    else:
        say_repeated(draft, epochs)
    mix = {
        name: {"weight": share, "repetition_factor": 1.0 if epochs is None else repetition(epochs[name])}
        for name, share in shares.items()
    }
    return draft.done(write_yaml({"mix": mix}), ".yaml", shares)
