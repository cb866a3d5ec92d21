"""Megatron-Energon: a metadataset with a blend."""

from __future__ import annotations

from mixfast.exporters._draft import Counts, Draft, Paths, Unit
from mixfast.exporters._result import Export
from mixfast.mixture import Mixture


def energon(
    mixture: Mixture, *, paths: Paths = None, unit: Unit = None, tokens: Counts = None, documents: Counts = None
) -> Export:
    """Write a metadataset of Megatron-Energon: ``splits.train.blend``, a list of ``weight`` and ``path``.

    Written for megatron-energon 7.4 (``MetadatasetV2``). Weights count samples, before they are packed, so counts are
    needed, or ``unit="sequences"``.
    """
    draft = Draft.of("energon", mixture)
    places = draft.path(paths, "the folder of the prepared data set")
    shares = draft.elements(unit, tokens, documents, raw=True).as_dict()
    document = {
        "__module__": "megatron.energon",
        "__class__": "MetadatasetV2",
        "splits": {"train": {"blend": [{"weight": share, "path": places[name]} for name, share in shares.items()]}},
    }
    return draft.yaml(document, shares)
