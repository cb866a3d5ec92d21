"""TRL: ``datasets`` with the fraction of rows of each."""

from __future__ import annotations

from mixfast.exporters._draft import Counts, Draft, Paths, Unit, in_order
from mixfast.exporters._result import Export
from mixfast.mixture import Mixture


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
        "TRL keeps the first rows of each data set, as many as no data set has to be repeated for; not when streaming"
    )
    document = {"datasets": [{"path": places[name], "fraction": share} for name, share in shares.items()]}
    return draft.yaml(document, shares)
