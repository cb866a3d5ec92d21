"""The forms of a mixture in the files of loaders: how each is recognised, and where its shares are.

Each ``find`` takes a document and returns pairs of a name (or a path) and a number; None if the document has another form. With ``sure``,
which means that the caller has named the form, it raises an error that says what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixfast._text.names import listing, shown
from mixfast.errors import MixtureError
from mixfast.readers._document import SHARES, Words
from mixfast.readers._form import (
    Form,
    Pairs,
    entries_of,
    is_number,
    no_form,
    number,
    only_value,
    paired,
    refuse_stages,
    without_percent,
)
from mixfast.readers._token_forms import are_counts, counted, natural, nested_counts

# Keys of a domain of Olmix that do not name its parts.
_PROPERTIES = ("weight", "repetition_factor")


# Mappings of domain to share.


def _flat(document: Any, sure: bool) -> Pairs | None:
    shares = document.get("mixture", document) if isinstance(document, Mapping) else None
    if not isinstance(shares, Mapping) or not shares:
        return no_form(sure, "names and shares")
    if shares is document and (found := nested_counts(document)) is not None:
        return found
    values = list(shares.values())
    if shares is document and not (
        sure or are_counts(values) or any(is_number(without_percent(each)) for each in values)
    ):
        return None
    return list(shares.items())


def _regmix(document: Any, sure: bool) -> Pairs | None:
    train = document.get("train") if isinstance(document, Mapping) else None
    if not sure and not ({"valid", "model_name"} & set(document if isinstance(document, Mapping) else ())):
        return None
    return _shares(train, sure, "a mapping 'train' of domain to share")


def _doremi(document: Any, sure: bool) -> Pairs | None:
    found = only_value(document, "train_domain_weights", Mapping)
    return _shares(found, sure, "a mapping 'train_domain_weights' of domain to share")


def _levanter(document: Any, sure: bool) -> Pairs | None:
    weights = only_value(document, "train_weights", (Mapping, list))
    if isinstance(weights, list):
        refuse_stages("train_weights", [each[0] for each in weights if isinstance(each, list) and len(each) == 2])
        weights = weights[0][1] if weights and isinstance(weights[0], list) and len(weights[0]) == 2 else None
    return _shares(weights, sure, "a mapping 'train_weights' of domain to weight")


def _shares(found: Any, sure: bool, looks: str) -> Pairs | None:
    if not isinstance(found, Mapping) or not found:
        return no_form(sure, looks)
    return list(found.items())


def _module(document: Any, sure: bool) -> Pairs | None:
    found = document.get(SHARES) if isinstance(document, Mapping) else None
    return _shares(found, sure, f"a table {SHARES} of domain to share")


# Olmix and OLMo-core.


def _olmix(document: Any, sure: bool) -> Pairs | None:
    """Find a proposal of Olmix, or the ``mix`` of a launch file; the share of a nested domain is the product along its path."""
    if isinstance(document, list):
        if sure or any(isinstance(entry, Mapping) and "domain" in entry for entry in document):
            return entries_of(document, ("domain",), "weight")
        return None
    mix = document.get("mix") if isinstance(document, Mapping) else None
    if not isinstance(mix, Mapping) or not mix:
        return no_form(sure, "a mapping 'mix' of domain to share")
    leaves: Pairs = []
    for name, node in mix.items():
        _add_leaves(str(name), node, 1.0, leaves)
    return leaves


def _add_leaves(name: str, node: Any, weight: float, leaves: Pairs) -> None:
    """Append the leaves below a node; a bare number is a weight."""
    if not isinstance(node, Mapping):
        leaves.append((name, weight * number(name, node)))
        return
    weight *= number(name, node.get("weight", 1.0))
    children = {key: child for key, child in node.items() if key not in _PROPERTIES}
    if not children:
        leaves.append((name, weight))
    for key, child in children.items():
        _add_leaves(f"{name}:{key}", child, weight, leaves)


def _olmo_core(document: Any, sure: bool) -> Pairs | None:
    """Find the ``sources`` of OLMo-core, with ``source_name``, or of a cookbook recipe, with ``name``."""
    sources = only_value(document, "sources", list)
    if sources is None or not (sure or any(isinstance(each, Mapping) and "target_ratio" in each for each in sources)):
        return no_form(sure, "a list 'sources' with a 'target_ratio' for each source")
    return entries_of(sources, ("source_name", "name"), "target_ratio")


# Lists of data sets.


def _energon(document: Any, sure: bool) -> Pairs | None:
    train = only_value(document, "splits", Mapping)
    train = train.get("train") if isinstance(train, Mapping) else None
    if isinstance(train, Mapping) and "blend_epochized" in train:
        raise MixtureError("blend_epochized gives the epochs of each data set, not its share")
    blend = (train.get("blend") or train.get("datasets")) if isinstance(train, Mapping) else None
    if not isinstance(blend, list) or not blend:
        return no_form(sure, "a list 'splits: train: blend' of weights and paths")
    return entries_of(blend, ("path",), "weight")


def _trl(document: Any, sure: bool) -> Pairs | None:
    datasets = only_value(document, "datasets", list)
    rows = [each for each in datasets or () if isinstance(each, Mapping) and "[" in str(each.get("split", ""))]
    if rows and not any("fraction" in each for each in rows):
        raise MixtureError(
            f"axolotl's data sets hold numbers of rows ({shown(rows[0].get('split'))}), not shares; their shares of tokens depend on "
            "the lengths of the rows"
        )
    if datasets is None or not (sure or any(isinstance(each, Mapping) and "fraction" in each for each in datasets)):
        return no_form(sure, "a list 'datasets' with a 'fraction' for each path")
    return entries_of(datasets, ("path",), "fraction")


def _streaming(document: Any, sure: bool) -> Pairs | None:
    streams = only_value(document, "streams", Mapping)
    looks = "a mapping 'streams' with a 'proportion' for each stream"
    if streams is None or not all(isinstance(each, Mapping) for each in streams.values()):
        return no_form(sure, looks)
    if lacking := [name for name, each in streams.items() if "proportion" not in each]:
        raise MixtureError(
            f"expected {looks}; it is missing for {listing(lacking)}: the shares of 'repeat' and 'choose' depend on the sizes of the data"
        )
    return [(name, each["proportion"]) for name, each in streams.items()]


def _maxtext(document: Any, sure: bool) -> Pairs | None:
    found = document if isinstance(document, Mapping) else {}
    if not found or not all(isinstance(each, Mapping) and {"path", "weight"} <= set(each) for each in found.values()):
        return no_form(sure, "a 'path' and a 'weight' for each name")
    return [(name, each["weight"]) for name, each in found.items()]


def _llama_factory(document: Any, sure: bool) -> Pairs | None:
    given = document if isinstance(document, Mapping) else {}
    names, numbers = (_by_comma(given.get(key)) for key in ("dataset", "interleave_probs"))
    if not names or not numbers:
        return no_form(sure, "'dataset' and 'interleave_probs'")
    return paired("dataset", names, "interleave_probs", numbers)


def _by_comma(given: Any) -> list[Any]:
    return [part.strip() for part in given.split(",")] if isinstance(given, str) else given or []


def _nanotron(document: Any, sure: bool) -> Pairs | None:
    stages = only_value(document, "data_stages", list)
    if not stages:
        return no_form(sure, "a list 'data_stages'")
    refuse_stages(
        "data_stages", [each.get("start_training_step") if isinstance(each, Mapping) else each for each in stages]
    )
    dataset = only_value(stages[0], "dataset", Mapping) or {}
    folders, weights = dataset.get("dataset_folder"), dataset.get("dataset_weights")
    if isinstance(folders, Mapping):
        return list(folders.items())
    if not isinstance(folders, list) or not isinstance(weights, list):
        raise MixtureError("the stage must hold 'dataset_folder' and 'dataset_weights', lists of the same length")
    return paired("dataset_folder", folders, "dataset_weights", weights)


# Blends: a weight, a path, a weight, a path.


def _megatron(document: Any, sure: bool) -> Pairs | None:
    """Find a text, a list in JSON, or the blend under ``train`` in the file of ``--per-split-data-args-path``."""
    found = document.get("train") if isinstance(document, Mapping) else document
    if isinstance(found, Words) or (isinstance(found, list) and found and is_number(found[0])):
        return _blend(found)
    return no_form(sure, "weights and paths in turn")


def _nemo(document: Any, sure: bool) -> Pairs | None:
    for key in ("paths", "data_path", "data_prefix"):
        found = only_value(document, key, (list, Mapping, str))
        if isinstance(found, Mapping):
            found = found.get("train")
        words = found.split() if isinstance(found, str) else found
        if isinstance(words, list) and words and is_number(words[0]):
            return _blend(words)
    return no_form(sure, "a list 'paths' of weights and paths in turn")


def _blend(words: Sequence[Any]) -> Pairs:
    weights, paths = words[::2], words[1::2]
    if len(weights) != len(paths) or not all(map(is_number, weights)) or any(map(is_number, paths)):
        place = next((i for i, word in enumerate(words) if is_number(word) == bool(i % 2)), len(words) - 1)
        raise MixtureError(
            f"a blend alternates weights and paths, got {len(words)} words; word {place + 1} is {shown(words[place])}"
        )
    return [(str(path), weight) for path, weight in zip(paths, weights, strict=True)]


FORMS = {
    form.name: form
    for form in (
        Form("levanter", "train_weights", _levanter, divides="relative"),
        Form("doremi", "train_domain_weights", _doremi),
        Form("regmix", "train, beside valid or model_name", _regmix, divides="mended"),
        Form("olmix", "mix, or a list of domain and weight", _olmix, divides="mended"),
        Form("olmo-core", "sources with target_ratio", _olmo_core),
        Form("token-counts", "token_counts or available_tokens", natural, divides="relative", counts=counted),
        Form("megatron", "weights and paths in turn", _megatron, divides="relative", places=True),
        Form("nemo", "paths, data_path or data_prefix", _nemo, divides="relative", places=True),
        Form("nanotron", "data_stages", _nanotron, divides="relative", places=True),
        Form("streaming", "streams with proportion", _streaming, divides="relative", samples=True),
        Form("energon", "splits: train: blend", _energon, divides="relative", places=True, samples=True),
        Form("maxtext", "path and weight by name", _maxtext, divides="relative", samples=True),
        Form("llama-factory", "dataset and interleave_probs", _llama_factory, samples=True),
        Form("trl", "datasets with fraction", _trl, places=True, samples=True),
        Form("python", f"{SHARES} = {{...}} of a module that mixfast exported", _module, samples=True),
        # Last: a flat mapping has no key that identifies it.
        Form("mixfast", "mixture, or domain: share, or token counts by domain, also nested", _flat),
    )
}
"""Every form that is read, by its name."""
