"""OLMo-core and Olmix: sources with ratios, paths and limits of repetition."""

from __future__ import annotations

import math

from mixfast.exporters._draft import Counts, Draft, Paths
from mixfast.exporters._result import Export
from mixfast.mixture import Mixture

# Margin in epochs: OLMo-core refuses a source that rounding of counts and whole sequences pushes over its limit.
_REPETITION_ROOM = 0.01


def olmo_core(mixture: Mixture, *, paths: Paths = None, tokens: Counts = None, budget: int | None = None) -> Export:
    """Write the ``SourceMixtureList`` of OLMo-core: ``target_ratio``, ``paths`` and, with counts, ``max_repetition_ratio``.

    Written for ai2-olmo-core 3.0. A domain may have several paths, and globs. OLMo-core refuses a domain that needs more tokens
    than it has, unless it may be repeated: ``tokens`` and ``budget``, given together, determine how often. ``paths`` gives
    the files of token ids, and the budget is ``requested_tokens`` of the data set's configuration.
    """
    draft = Draft.of("olmo-core", mixture)
    files = draft.paths(paths, "the files of token ids")
    epochs = draft.epochs(tokens, budget)
    shares = draft.mixture.as_dict()
    sources = [
        {"source_name": name, "target_ratio": share, "paths": list(files[name])}
        | ({} if epochs is None else {"max_repetition_ratio": repetition(epochs[name])})
        for name, share in shares.items()
    ]
    if epochs is None:
        draft.notes.append("no domain may be repeated; give tokens and budget to write max_repetition_ratio")
    else:
        draft.notes.append(f"max_repetition_ratio is for requested_tokens: {budget}")
        say_repeated(draft, epochs)
    return draft.yaml({"sources": sources}, shares)


def repetition(epochs: float) -> float:
    """Return the limit of repetition for a domain that is read this many times."""
    return max(1.0, math.ceil(100.0 * (epochs + _REPETITION_ROOM)) / 100.0)


def say_repeated(draft: Draft, epochs: dict[str, float]) -> None:
    """Note the domains that are read more than once."""
    repeated = [f"{name} {epoch:.4g}" for name, epoch in epochs.items() if epoch > 1.0]
    if repeated:
        draft.notes.append(f"domains read more than once, in epochs: {', '.join(repeated)}")


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
            "repetition factors are 1, so no domain may be repeated; give tokens and budget to compute them"
        )
    else:
        say_repeated(draft, epochs)
    mix = {
        name: {"weight": share, "repetition_factor": 1.0 if epochs is None else repetition(epochs[name])}
        for name, share in shares.items()
    }
    return draft.yaml({"mix": mix}, shares)
