"""Megatron-Energon and MosaicML Streaming: a weight and a folder of prepared samples for each domain."""

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


def streaming(
    mixture: Mixture, *, paths: Paths = None, unit: Unit = None, tokens: Counts = None, documents: Counts = None
) -> Export:
    """Write the ``streams`` of MosaicML Streaming and llm-foundry: a ``proportion`` and a path for each domain.

    Written for mosaicml-streaming 0.13. In Python: ``[Stream(**stream) for stream in streams.values()]``. A path with
    a scheme (``s3://``) is ``remote``, any other ``local``. Proportions count samples: see ``unit`` of `export`.
    """
    draft = Draft.of("streaming", mixture)
    places = draft.path(paths, "the folder or URL of the shards")
    shares = draft.elements(unit, tokens, documents).as_dict()
    draft.notes.append("proportions are relative: epoch_size of the data set sets the length of an epoch")
    streams = {
        name: {"remote" if "://" in places[name] else "local": places[name], "proportion": share}
        for name, share in shares.items()
    }
    return draft.yaml({"streams": streams}, shares)
