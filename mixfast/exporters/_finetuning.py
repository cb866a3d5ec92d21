"""Loaders for fine-tuning, which sample rows: axolotl, LLaMA-Factory and TRL."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mixfast._text.names import listing
from mixfast.exporters._draft import Counts, Draft, Paths, Unit, checked_budget, in_order, most_changed
from mixfast.exporters._result import Export, ExportError
from mixfast.mixture import Mixture

# Relative change of a share by rounding to whole rows from which on a note reports it.
_SAID = 1e-2


def axolotl(
    mixture: Mixture, *, paths: Paths = None, tokens: Counts = None, documents: Counts = None, budget: int | None = None
) -> Export:
    """Write the ``datasets`` of an axolotl configuration, each cut to the rows it contributes: ``split: train[:N]``.

    Written for axolotl 0.21, which has no shares: it reads all rows of all data sets (its ``weight`` is the fraction of a
    data set's own rows to keep). Of domain k, with N_k tokens in D_k rows, the first ``D_k * share_k * budget / N_k`` rows
    are kept; ``documents`` counts rows. The values of the export are numbers of rows.

    ``paths`` gives the file or the name on the hub of each domain. Folders written by ``save_to_disk`` are read without
    their split. ``budget`` is the tokens of one epoch; the default is the largest number that needs no row twice. It is
    refused if a domain has fewer tokens than its share of it.
    """
    draft = Draft.of("axolotl", mixture)
    places = draft.path(paths, "the file or the name on the hub")
    why = "axolotl has no shares, so each domain is cut to the number of rows that gives its share"
    supply, rows = draft.lengths(tokens, documents, why)
    scarcest = min(draft.mixture, key=lambda name: supply[name] / draft.mixture[name])
    most = int(supply[scarcest] / draft.mixture[scarcest])
    if budget is None:
        budget = most
        draft.notes.append(
            f"{budget} tokens in all, the largest number that needs no row twice; all rows of {scarcest} are kept"
        )
    fractions = draft.mixture.epochs(supply, checked_budget(budget))
    # A budget equal to the largest one may exceed it by rounding.
    over = [f"{name} {fraction:.4g} times" for name, fraction in fractions.items() if fraction > 1.0 + 1e-9]
    if over:
        raise ExportError(
            f"axolotl repeats no rows, and a budget of {budget} reads {listing(over)}; the largest budget without repetition is {most}"
        )
    kept = {name: min(rows[name], max(1, round(rows[name] * fraction))) for name, fraction in fractions.items()}
    draft.notes.append(in_order(kept))
    draft.notes.append(
        "shares became numbers of rows, the first of each data set; set the type of each data set yourself"
    )
    draft.notes += _row_note(draft.mixture, {name: kept[name] * supply[name] / rows[name] for name in kept})
    document = {"datasets": [{"path": places[name], "split": f"train[:{number}]"} for name, number in kept.items()]}
    return draft.yaml(document, kept)


def _row_note(mixture: Mixture, tokens: Mapping[str, float]) -> list[str]:
    """Return the note on the share that rounding to whole rows changes most, if the change is large enough."""
    total = math.fsum(tokens.values())
    made = {name: count / total for name, count in tokens.items()}
    return [
        f"rounded to whole rows, at least one for each domain, {total:.6g} tokens in all: {name} becomes {made[name]:.6g}, not "
        f"{mixture[name]:.6g}; a larger budget or shorter rows reduce the difference"
        for name in most_changed(made, mixture, _SAID)
    ]


def llama_factory(mixture: Mixture, *, unit: Unit = None, tokens: Counts = None, documents: Counts = None) -> Export:
    """Write the ``dataset``, ``mix_strategy`` and ``interleave_probs`` of a LLaMA-Factory configuration.

    Written for llamafactory 0.9.5. Domains are the names of ``dataset_info.json``. Probabilities count examples, so
    counts are needed, or ``unit="sequences"``.

    Raises
    ------
    ExportError
        If a name contains a comma, which separates names there, or counts are missing.
    """
    draft = Draft.of("llama-factory", mixture)
    broken = [name for name in draft.mixture if "," in name or name != name.strip()]
    if broken:
        raise ExportError(
            f"llama-factory splits its list of names at commas and strips them; rename {listing(map(repr, broken))}"
        )
    shares = draft.elements(unit, tokens, documents, raw=True).as_dict()
    draft.notes.append("names are looked up in dataset_info.json")
    document = {
        "dataset": ",".join(shares),
        "mix_strategy": "interleave_over",
        "interleave_probs": ",".join(map(repr, shares.values())),
    }
    return draft.yaml(document, shares)


def trl(
    mixture: Mixture, *, paths: Paths = None, unit: Unit = None, tokens: Counts = None, documents: Counts = None
) -> Export:
    """Write the ``datasets`` of a TRL configuration, a ``path`` and a ``fraction`` for each domain.

    Written for trl 1.16, where the fraction is the share of rows in the mixture; earlier versions have no such key.
    Counts are needed, or ``unit="sequences"``.
    """
    draft = Draft.of("trl", mixture)
    places = draft.path(paths, "the path or the name on the hub")
    shares = draft.elements(unit, tokens, documents, raw=True).as_dict()
    draft.notes.append(in_order(shares))
    draft.notes.append(
        "TRL keeps the first rows of each data set, so many that none has to be repeated; it does not do so when streaming"
    )
    document = {"datasets": [{"path": places[name], "fraction": share} for name, share in shares.items()]}
    return draft.yaml(document, shares)
