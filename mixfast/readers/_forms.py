"""The forms of a mixture in the files of loaders: how each is recognised, and where its shares are.

Each ``find`` takes a document and returns pairs of a name (or a path) and a number; None if the document has another form. With ``sure``,
which means that the caller has named the form, it raises an error that says what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mixfast._text.names import listing, shown
from mixfast.errors import MixtureError
from mixfast.readers._document import SHARES, Words

Pairs = list[tuple[str, Any]]

# Parts of a configuration that are not training data.
_HELD_OUT = ("eval", "valid", "test")
# Keys of a domain of Olmix that do not name its parts.
_PROPERTIES = ("weight", "repetition_factor")


@dataclass(frozen=True)
class Form:
    """The form of one loader's file.

    Attributes
    ----------
    name : str
        Name of the format in `exporters`.
    looks : str
        What the file must contain.
    find : callable
    divides : str
        "" if the shares must sum to 1; "relative" if the loader's weights are relative; "mended" if they should sum to 1, but the
        loader divides by the sum if they do not.
    places : bool
        Whether the file has paths instead of names.
    samples : bool
        Whether the loader's numbers are shares of samples, which are shares of tokens only if all samples have equal length.
    """

    name: str
    looks: str
    find: Callable[[Any, bool], Pairs | None]
    divides: str = ""
    places: bool = False
    samples: bool = False


# Mappings of domain to share.


def _flat(document: Any, sure: bool) -> Pairs | None:
    shares = document.get("mixture", document) if isinstance(document, Mapping) else None
    if not isinstance(shares, Mapping) or not shares:
        return _none(sure, "names and shares")
    if shares is document and not sure and not any(is_number(_bare(value)) for value in shares.values()):
        return None
    return list(shares.items())


def _regmix(document: Any, sure: bool) -> Pairs | None:
    train = document.get("train") if isinstance(document, Mapping) else None
    if not sure and not ({"valid", "model_name"} & set(document if isinstance(document, Mapping) else ())):
        return None
    return _shares(train, sure, "a mapping 'train' of domain to share")


def _doremi(document: Any, sure: bool) -> Pairs | None:
    found = _only(document, "train_domain_weights", Mapping)
    return _shares(found, sure, "a mapping 'train_domain_weights' of domain to share")


def _levanter(document: Any, sure: bool) -> Pairs | None:
    weights = _only(document, "train_weights", (Mapping, list))
    if isinstance(weights, list):
        _one_stage("train_weights", [each[0] for each in weights if isinstance(each, list) and len(each) == 2])
        weights = weights[0][1] if weights and isinstance(weights[0], list) and len(weights[0]) == 2 else None
    return _shares(weights, sure, "a mapping 'train_weights' of domain to weight")


def _shares(found: Any, sure: bool, looks: str) -> Pairs | None:
    if not isinstance(found, Mapping) or not found:
        return _none(sure, looks)
    return list(found.items())


def _module(document: Any, sure: bool) -> Pairs | None:
    found = document.get(SHARES) if isinstance(document, Mapping) else None
    return _shares(found, sure, f"a table {SHARES} of domain to share")


# Olmix and OLMo-core.


def _olmix(document: Any, sure: bool) -> Pairs | None:
    """Find a proposal of Olmix, or the ``mix`` of a launch file; the share of a nested domain is the product along its path."""
    if isinstance(document, list):
        if sure or any(isinstance(entry, Mapping) and "domain" in entry for entry in document):
            return _entries(document, ("domain",), "weight")
        return None
    mix = document.get("mix") if isinstance(document, Mapping) else None
    if not isinstance(mix, Mapping) or not mix:
        return _none(sure, "a mapping 'mix' of domain to share")
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
    sources = _only(document, "sources", list)
    if sources is None or not (sure or any(isinstance(each, Mapping) and "target_ratio" in each for each in sources)):
        return _none(sure, "a list 'sources' with a 'target_ratio' for each source")
    return _entries(sources, ("source_name", "name"), "target_ratio")


# Lists of data sets.


def _energon(document: Any, sure: bool) -> Pairs | None:
    train = _only(document, "splits", Mapping)
    train = train.get("train") if isinstance(train, Mapping) else None
    if isinstance(train, Mapping) and "blend_epochized" in train:
        raise MixtureError("blend_epochized gives the epochs of each data set, not its share")
    blend = (train.get("blend") or train.get("datasets")) if isinstance(train, Mapping) else None
    if not isinstance(blend, list) or not blend:
        return _none(sure, "a list 'splits: train: blend' of weights and paths")
    return _entries(blend, ("path",), "weight")


def _trl(document: Any, sure: bool) -> Pairs | None:
    datasets = _only(document, "datasets", list)
    rows = [each for each in datasets or () if isinstance(each, Mapping) and "[" in str(each.get("split", ""))]
    if rows and not any("fraction" in each for each in rows):
        raise MixtureError(
            f"axolotl's data sets hold numbers of rows ({shown(rows[0].get('split'))}), not shares; their shares of tokens depend on "
            "the lengths of the rows"
        )
    if datasets is None or not (sure or any(isinstance(each, Mapping) and "fraction" in each for each in datasets)):
        return _none(sure, "a list 'datasets' with a 'fraction' for each path")
    return _entries(datasets, ("path",), "fraction")


def _streaming(document: Any, sure: bool) -> Pairs | None:
    streams = _only(document, "streams", Mapping)
    looks = "a mapping 'streams' with a 'proportion' for each stream"
    if streams is None or not all(isinstance(each, Mapping) for each in streams.values()):
        return _none(sure, looks)
    if lacking := [name for name, each in streams.items() if "proportion" not in each]:
        raise MixtureError(
            f"expected {looks}; it is missing for {listing(lacking)}: the shares of 'repeat' and 'choose' depend on the sizes of the data"
        )
    return [(name, each["proportion"]) for name, each in streams.items()]


def _maxtext(document: Any, sure: bool) -> Pairs | None:
    found = document if isinstance(document, Mapping) else {}
    if not found or not all(isinstance(each, Mapping) and {"path", "weight"} <= set(each) for each in found.values()):
        return _none(sure, "a 'path' and a 'weight' for each name")
    return [(name, each["weight"]) for name, each in found.items()]


def _llama_factory(document: Any, sure: bool) -> Pairs | None:
    given = document if isinstance(document, Mapping) else {}
    names, numbers = (_by_comma(given.get(key)) for key in ("dataset", "interleave_probs"))
    if not names or not numbers:
        return _none(sure, "'dataset' and 'interleave_probs'")
    return _paired("dataset", names, "interleave_probs", numbers)


def _by_comma(given: Any) -> list[Any]:
    return [part.strip() for part in given.split(",")] if isinstance(given, str) else given or []


def _nanotron(document: Any, sure: bool) -> Pairs | None:
    stages = _only(document, "data_stages", list)
    if not stages:
        return _none(sure, "a list 'data_stages'")
    _one_stage(
        "data_stages", [each.get("start_training_step") if isinstance(each, Mapping) else each for each in stages]
    )
    dataset = _only(stages[0], "dataset", Mapping) or {}
    folders, weights = dataset.get("dataset_folder"), dataset.get("dataset_weights")
    if isinstance(folders, Mapping):
        return list(folders.items())
    if not isinstance(folders, list) or not isinstance(weights, list):
        raise MixtureError("the stage must hold 'dataset_folder' and 'dataset_weights', lists of the same length")
    return _paired("dataset_folder", folders, "dataset_weights", weights)


# Blends: a weight, a path, a weight, a path.


def _megatron(document: Any, sure: bool) -> Pairs | None:
    """Find a text, a list in JSON, or the blend under ``train`` in the file of ``--per-split-data-args-path``."""
    found = document.get("train") if isinstance(document, Mapping) else document
    if isinstance(found, Words) or (isinstance(found, list) and found and is_number(found[0])):
        return _blend(found)
    return _none(sure, "weights and paths in turn")


def _nemo(document: Any, sure: bool) -> Pairs | None:
    for key in ("paths", "data_path", "data_prefix"):
        found = _only(document, key, (list, Mapping, str))
        if isinstance(found, Mapping):
            found = found.get("train")
        words = found.split() if isinstance(found, str) else found
        if isinstance(words, list) and words and is_number(words[0]):
            return _blend(words)
    return _none(sure, "a list 'paths' of weights and paths in turn")


def _blend(words: Sequence[Any]) -> Pairs:
    weights, paths = words[::2], words[1::2]
    if len(weights) != len(paths) or not all(map(is_number, weights)) or any(map(is_number, paths)):
        place = next((i for i, word in enumerate(words) if is_number(word) == bool(i % 2)), len(words) - 1)
        raise MixtureError(
            f"a blend alternates weights and paths, got {len(words)} words; word {place + 1} is {shown(words[place])}"
        )
    return [(str(path), weight) for path, weight in zip(paths, weights, strict=True)]


# What the forms share.


def _none(sure: bool, looks: str) -> Pairs | None:
    """Return None for a document of another form; with ``sure``, refuse it."""
    if sure:
        raise MixtureError(f"expected {looks}")
    return None


def _under(document: Any, key: str, where: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a key at any depth of mappings, except in the parts for validation."""
    for name, value in document.items() if isinstance(document, Mapping) else ():
        if str(name).startswith(_HELD_OUT):
            continue
        if name == key:
            yield f"{where}{name}", value
        else:
            yield from _under(value, key, f"{where}{name}.")


def _only(document: Any, key: str, kind: type | tuple[type, ...]) -> Any:
    """Return the only value of a kind under the key, or None."""
    found = [(where, value) for where, value in _under(document, key) if isinstance(value, kind) and value]
    if len(found) > 1:
        raise MixtureError(
            f"it has {shown(key)} {len(found)} times, as {listing(where for where, _ in found)}; keep the one for training"
        )
    return found[0][1] if found else None


def _one_stage(key: str, steps: list[Any]) -> None:
    if len(steps) > 1:
        raise MixtureError(
            f"{shown(key)} has {len(steps)} mixtures, from the steps {listing(steps)}: put the one to read into a file of its own"
        )


def _entries(entries: Sequence[Any], names: tuple[str, ...], share: str) -> Pairs:
    """Return the name (under the first of these keys that an entry has) and the share of each entry of a list."""
    pairs = []
    for place, entry in enumerate(entries, start=1):
        name = next((key for key in names if isinstance(entry, Mapping) and key in entry), None)
        if name is None or share not in entry:
            raise MixtureError(f"entry {place} must hold {shown(names[0])} and {shown(share)}, got {shown(entry)}")
        pairs.append((entry[name], entry[share]))
    return pairs


def _paired(one: str, names: Sequence[Any], other: str, numbers: Sequence[Any]) -> Pairs:
    if len(names) != len(numbers):
        raise MixtureError(
            f"{shown(one)} has {len(names)} entries and {shown(other)} has {len(numbers)}; give one number for each entry"
        )
    return list(zip(map(str, names), numbers, strict=True))


def is_number(given: Any) -> bool:
    """Whether a value is a number, or text that is a number."""
    try:
        return not isinstance(given, bool) and float(given) == float(given)
    except (TypeError, ValueError):
        return False


def number(name: str, given: Any) -> float:
    """Return a share as a number; ``20%`` is 0.2."""
    bare = _bare(given)
    if not is_number(bare):
        raise MixtureError(f"the share of {shown(name)} must be a number, got {shown(given)}")
    return float(bare) / (1.0 if bare is given else 100.0)


def _bare(given: Any) -> Any:
    """Return a value without the percent sign at its end."""
    return given[:-1] if isinstance(given, str) and given.endswith("%") else given


FORMS = {
    form.name: form
    for form in (
        Form("levanter", "train_weights", _levanter, divides="relative"),
        Form("doremi", "train_domain_weights", _doremi),
        Form("regmix", "train, beside valid or model_name", _regmix, divides="mended"),
        Form("olmix", "mix, or a list of domain and weight", _olmix, divides="mended"),
        Form("olmo-core", "sources with target_ratio", _olmo_core),
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
        Form("mixfast", "mixture, or domain: share", _flat),
    )
}
"""Every form that is read, by its name."""
