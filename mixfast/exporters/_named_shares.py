"""Named shares in files of their own: RegMix, DoReMi, maxtext, Energon."""

from __future__ import annotations

import json

from mixfast._text.names import listing
from mixfast.exporters._draft import Counts, Draft, Paths, yaml_text
from mixfast.exporters._grain_rounding import grain_note
from mixfast.exporters._result import Export, ExportError
from mixfast.mixture import Mixture


def regmix(mixture: Mixture) -> Export:
    """Write a mixture file of RegMix's TinyLlama code: ``train: {train_NAME: share}``, ``valid``, ``model_name``.

    Written for sail-sg/regmix of 2024-10. Keys are prefixes of packed files; names that begin with ``train_`` stay as
    they are. Each domain is validated on with ``valid_NAME: 1.0``.

    Raises
    ------
    ExportError
        If the files of one name, ``train_NAME-*``, are also those of another.
    """
    draft = Draft.of("regmix", mixture)
    bare = {name: name.removeprefix("train_") for name in draft.mixture}
    if special := [name for name in bare if set(name) & set("*?[")]:
        raise ExportError(f"regmix finds files by glob patterns of their names; rename {listing(map(repr, special))}")
    if both := [f"{a!r} and {b!r}" for a in bare.values() for b in bare.values() if b.startswith(f"{a}-")]:
        raise ExportError(f"regmix reads the files train_NAME-*, which would mix up {listing(both)}; rename one")
    if any(name == short for name, short in bare.items()):
        draft.notes.append("keys are train_ and valid_ with the name of the domain")
    draft.notes.append("model_name is the smallest of the models in RegMix's code; put yours")
    document = {
        "train": {f"train_{bare[name]}": share for name, share in draft.mixture.items()},
        "valid": {f"valid_{short}": 1.0 for short in bare.values()},
        "model_name": "tinyllama_1M",
    }
    return draft.done(yaml_text(document), ".yaml", draft.mixture)


def doremi(mixture: Mixture) -> Export:
    """Write the domain configuration of DoReMi: JSON of ``train_domain_weights`` and ``eval_domain_weights``.

    Written for sangmichaelxie/doremi. Both are the mixture.
    """
    draft = Draft.of("doremi", mixture)
    draft.notes.append("eval_domain_weights are the training shares")
    shares = draft.mixture.as_dict()
    return draft.done(_json({"train_domain_weights": shares, "eval_domain_weights": shares}), ".json", shares)


def maxtext(
    mixture: Mixture,
    *,
    paths: Paths | None = None,
    unit: str | None = None,
    tokens: Counts | None = None,
    documents: Counts | None = None,
) -> Export:
    """Write the JSON file of maxtext's ``grain_train_mixture_config_path``: ``{name: {path, weight}}``.

    Written for maxtext 0.2.5, ArrayRecord files. It draws documents and packs later, so counts
    are needed, or ``unit="sequences"``. The other way in, ``grain_train_files=PATTERN,w;...``, rounds weights to 4
    decimals.
    """
    draft = Draft.of("maxtext", mixture)
    places = draft.path(paths, "the pattern of the ArrayRecord files")
    shares = draft.elements(unit, tokens, documents, raw=True).as_dict()
    draft.notes += grain_note(shares)
    return draft.done(
        _json({name: {"path": places[name], "weight": share} for name, share in shares.items()}), ".json", shares
    )


def energon(
    mixture: Mixture,
    *,
    paths: Paths | None = None,
    unit: str | None = None,
    tokens: Counts | None = None,
    documents: Counts | None = None,
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
    return draft.done(yaml_text(document), ".yaml", shares)


def _json(document: dict[str, object]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
