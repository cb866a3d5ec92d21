"""Shares by name, without paths: the code of DoReMi and of RegMix."""

from __future__ import annotations

from bisect import bisect_left

from mixfast._text.names import listing, shown
from mixfast.exporters._draft import Draft
from mixfast.exporters._result import Export, ExportError
from mixfast.mixture import Mixture


def doremi(mixture: Mixture) -> Export:
    """Write the domain configuration of DoReMi: JSON of ``train_domain_weights`` and ``eval_domain_weights``.

    Written for sangmichaelxie/doremi. Both have the shares of the mixture.
    """
    draft = Draft.of("doremi", mixture)
    draft.notes.append("eval_domain_weights are the training shares")
    shares = draft.mixture.as_dict()
    return draft.json({"train_domain_weights": shares, "eval_domain_weights": shares}, shares)


def regmix(mixture: Mixture) -> Export:
    """Write a mixture file of RegMix's TinyLlama code: ``train: {train_NAME: share}``, ``valid``, ``model_name``.

    Written for sail-sg/regmix of 2024-10. Keys are prefixes of packed files; names that begin with ``train_`` are not
    changed. Each domain is a validation set, ``valid_NAME: 1.0``.

    Raises
    ------
    ExportError
        If the pattern of one name, ``train_NAME-*``, also matches files of another.
    """
    draft = Draft.of("regmix", mixture)
    bare = {name: name.removeprefix("train_") for name in draft.mixture}
    if special := [name for name in bare if set(name) & set("*?[")]:
        raise ExportError(f"regmix finds files by glob patterns of their names; rename {listing(map(repr, special))}")
    ordered = sorted(bare.values())
    # If any name begins with "a-", the first name that does not sort before "a-" does.
    after = [(a, ordered[at]) for a in ordered if (at := bisect_left(ordered, f"{a}-")) < len(ordered)]
    if both := [f"{shown(a)} and {shown(b)}" for a, b in after if b.startswith(f"{a}-")]:
        raise ExportError(f"regmix reads the files train_NAME-*, which would mix up {listing(both)}; rename one")
    if any(name == short for name, short in bare.items()):
        draft.notes.append("keys are the names of the domains after train_ and valid_")
    draft.notes.append("model_name is the smallest model in RegMix's code; replace it by yours")
    document = {
        "train": {f"train_{bare[name]}": share for name, share in draft.mixture.items()},
        "valid": {f"valid_{short}": 1.0 for short in bare.values()},
        "model_name": "tinyllama_1M",
    }
    return draft.yaml(document, draft.mixture)
