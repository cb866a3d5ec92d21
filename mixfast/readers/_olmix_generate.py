"""Generate configurations of Olmix (YAML): the domains and limits of a swarm, and the settings of its sampler."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixfast._text.names import listing, misspelt, shown
from mixfast.designs import Olmix
from mixfast.errors import about_files
from mixfast.readers._document import document as read_document
from mixfast.readers._olmix_values import OlmixConfigError, is_null, known_keys, mapping, number, truth, whole
from mixfast.region import Region

_LEVELS = ("", "source_", "topic_")
_KEYS = {
    "the configuration": {"name", "data", "priors", "swarm", "max_tokens"},
    "data": {"sources", "dtype"},
    "source": {"name", "paths", "topics", "quality", "weight"},
    "topic": {"name", "paths", "quality", "weight"},
    "quality": {"name", "paths", "weight"},
    "priors": {"relative_sizes", "token_counts", "total_tokens"},
    "swarm": {
        "seed", "variants", "nonzero_weight", "manual_prior", "manual_topic_prior", "sample_multiplier", "existing_mix_file",
        "repetition_factor", "enable_bound", "mix_temperature", "source_mix_temperature", "topic_mix_temperature", "minimum_weight",
        "minimum_source_weight", "minimum_topic_weight", *(f"{end}_{level}strength" for end in ("min", "max") for level in _LEVELS),
    },
}  # fmt: skip

_MINIMUM, _ = Olmix().minima

# The sum of fixed shares may differ from 1 by this much, because of printed digits.
_ROUNDED = 1e-3


@dataclass(frozen=True, kw_only=True)
class OlmixGeneration:
    """The content of a generate configuration: ``design(region, runs, seed=seed, method=sampler)`` samples its swarm.

    Attributes
    ----------
    region : Region
        The leaves of the file's sources, in the order of its priors, with these priors. With its caps, a proxy run of
        ``max_tokens`` repeats no domain more than ``repetition_factor`` times.
    sampler : Olmix
    runs : int
        Olmix's ``variants``.
    seed : int
        It does not seed Olmix's random numbers: the distribution is the same, the mixtures are not.
    existing : str or None
        Olmix's ``existing_mix_file``, a pickle, which is not read, because a pickle can run code. Give its runs to `extend`.
    notes : tuple of str
        Notes on settings that Olmix's code does not follow, and on how the file was read.
    """

    region: Region
    sampler: Olmix
    runs: int
    seed: int
    existing: str | None
    notes: tuple[str, ...]


def olmix_generate(path: str | os.PathLike[str]) -> OlmixGeneration:
    """Read a generate configuration of Olmix (``olmix generate --config``; allenai/olmix of 2026-03).

    Parameters
    ----------
    path : path
        YAML, or JSON of the same content, with ``data.sources``, ``priors``, ``swarm`` and ``max_tokens``. Only names, weights and
        numbers are used; the files under ``paths`` are not opened.

    Returns
    -------
    OlmixGeneration

    Raises
    ------
    OlmixConfigError
        If a key is unknown, missing or given twice, a value is malformed, sources and priors name different domains, or Olmix's code
        would stop or ignore a setting.
    RegionError, InfeasibleError
        If the token counts do not suffice for a proxy run of ``max_tokens``.

    Examples
    --------
    >>> swarm = olmix_generate("generate.yaml")  # doctest: +SKIP
    >>> design(swarm.region, swarm.runs, seed=swarm.seed, method=swarm.sampler)  # doctest: +SKIP
    """
    path = Path(path)
    with about_files(path):
        content = known_keys(read_document(path, OlmixConfigError), _KEYS["the configuration"], "the configuration")
        return _generation(content)


def _generation(content: Mapping[str, Any]) -> OlmixGeneration:
    notes: list[str] = []
    swarm = known_keys(content.get("swarm") or {}, _KEYS["swarm"], "swarm")
    sources = _sources(known_keys(content.get("data"), _KEYS["data"], "data"))
    tokens = whole(content.get("max_tokens"), "max_tokens")
    epochs = number(swarm.get("repetition_factor", 1.0), "swarm.repetition_factor")
    prior, counts = _priors(known_keys(content.get("priors"), _KEYS["priors"], "priors"), sources, notes)
    total = math.fsum(prior.values())
    source_prior = _shares(swarm, "manual_prior", [source.name for source in sources])
    sampler = Olmix(
        **_levels(swarm, notes),
        # Olmix combines these shares with relative sizes unscaled; here the relative sizes are divided by their sum.
        source_prior={name: share / total for name, share in source_prior.items()},
        topic_prior=_topic_prior(swarm, sources),
        source_share=_source_share(sources, notes),
        topic_share=_topic_share(sources, prior, notes),
        nonzero=tuple(map(str, _listed(swarm.get("nonzero_weight") or [], "swarm.nonzero_weight"))),
        nonzero_in="draws",
        proxy_tokens=tokens,
        max_epochs=epochs,
        bound=truth(swarm.get("enable_bound", "true"), "swarm.enable_bound"),
        multiplier=whole(swarm.get("sample_multiplier", 0), "swarm.sample_multiplier") or Olmix.multiplier,
    )
    if sampler.nonzero:
        notes.append(
            "nonzero_weight applies to draws, as in Olmix's code: the minimum may still set one of these shares to 0 in a mixture"
        )
    existing = swarm.get("existing_mix_file")
    return OlmixGeneration(
        region=Region.from_tokens(counts, tokens, max_epochs=epochs, prior=prior),
        sampler=sampler,
        runs=whole(swarm.get("variants", 1), "swarm.variants"),
        seed=whole(swarm.get("seed", 42), "swarm.seed"),
        existing=None if existing is None else str(existing),
        notes=tuple(notes),
    )


@dataclass(frozen=True, kw_only=True)
class _Node:
    """A source, a topic or a quality: its full name, its weight, and its children."""

    name: str
    weight: float | None
    topics: tuple[_Node, ...] = ()
    quality: tuple[_Node, ...] = ()

    @property
    def leaves(self) -> list[_Node]:
        """The lowest nodes below it; itself if there are none."""
        return [leaf for node in (*self.topics, *self.quality) for leaf in node.leaves] or [self]


def _sources(data: Mapping[str, Any]) -> list[_Node]:
    nodes = [_node(entry, "source", "") for entry in _listed(data.get("sources"), "data.sources")]
    names = [leaf.name for source in nodes for leaf in source.leaves]
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise OlmixConfigError(f"data.sources names a domain twice: {listing(twice)}")
    if not nodes:
        raise OlmixConfigError("data.sources is empty, expected at least one source")
    # Olmix samples shares in this order.
    return sorted(nodes, key=lambda node: node.name)


def _node(entry: Any, kind: str, above: str) -> _Node:
    where = f"a {kind} of {above.rstrip(':')}" if above else "a source of data.sources"
    found = known_keys(entry, _KEYS[kind], where)
    if not isinstance(found.get("name"), str):
        raise OlmixConfigError(f"{where} must have a name, got {shown(found.get('name'))}")
    name = above + found["name"]
    ways = [way for way in ("paths", "topics", "quality") if way in found]
    if len(ways) != 1:
        offered = sorted(_KEYS[kind] & {"paths", "topics", "quality"})
        raise OlmixConfigError(
            f"the {kind} {shown(name)} must have exactly one of {listing(offered)}, got {listing(ways)}"
        )
    below: dict[str, tuple[_Node, ...]] = {"topics": (), "quality": ()}
    for way, part in (("topics", "topic"), ("quality", "quality")):
        entries = _listed(found.get(way) or [], f"{way} of {name}")
        below[way] = tuple(sorted((_node(e, part, f"{name}:") for e in entries), key=lambda node: node.name))
    weight = None if "weight" not in found else number(found["weight"], f"the weight of {name}")
    return _Node(name=name, weight=weight, **below)


def _priors(
    priors: Mapping[str, Any], sources: Sequence[_Node], notes: list[str]
) -> tuple[dict[str, float], dict[str, int]]:
    """Return the relative sizes and the token counts of the leaves, both in the order of the relative sizes."""
    leaves = [leaf.name for source in sources for leaf in source.leaves]
    sizes = {name: number(size, f"relative_sizes.{name}") for name, size in _map(priors, "relative_sizes").items()}
    counts = {name: whole(tokens, f"token_counts.{name}") for name, tokens in _map(priors, "token_counts").items()}
    for what, names in (("relative_sizes", sizes), ("token_counts", counts)):
        lacking, others = sorted(set(leaves) - set(names)), sorted(set(names) - set(leaves))
        if lacking or others:
            raise OlmixConfigError(
                f"data.sources and priors.{what} name different domains, and Olmix's code stops there. Only in data.sources: "
                f"{listing(lacking)}. Only in priors.{what}: {listing(others)}. {_below(lacking, others)}"
            )
    if not math.fsum(sizes.values()) > 0.0:
        raise OlmixConfigError("relative_sizes must have a positive sum")
    if list(sizes) != leaves:
        notes.append(
            "the priors are not in alphabetical order of sources and topics, so Olmix's code would assign shares to the wrong domains; "
            "here they are aligned by name"
        )
    return sizes, {name: counts[name] for name in sizes}


def _below(lacking: Sequence[str], others: Sequence[str]) -> str:
    """Advise on leaves and priors with different names."""
    above = {name.rpartition(":")[0] for name in others if name.rpartition(":")[2] in lacking}
    if lacking and len(above) == 1 and {f"{name}:{leaf}" for name in above for leaf in lacking} <= set(others):
        (source,) = above
        return f"The priors have the former as topics of {shown(source)}: make them topics of a source {shown(source)}, and list the same domains in both"
    return "A topic is called source:topic in the priors; list the same domains in both"


def _levels(swarm: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """Return strengths, temperatures and minima; those of sources and topics only if they differ from the common ones."""

    def given(key: str, usual: float) -> float:
        # As in Olmix's code, 0 means not given.
        return number(swarm.get(key, 0), f"swarm.{key}") or usual

    out: dict[str, Any] = {"strength": Olmix.strength, "temperature": Olmix.temperature}
    for level in _LEVELS:
        low, high = (
            given(f"{end}_{level}strength", usual) for end, usual in zip(("min", "max"), out["strength"], strict=True)
        )
        heat = given(f"{level}mix_temperature", out["temperature"])
        if heat > 1.0:
            notes.append(f"{level}mix_temperature is {heat:g}: Olmix's code ignores temperatures above 1")
        for what, value in (("strength", (min(low, high), max(low, high))), ("temperature", min(heat, 1.0))):
            out[f"{level}{what}"] = None if level and value == out[what] else value
        if level and low == high:
            notes.append(
                f"the smallest and the largest {level.rstrip('_')} strength are equal: Olmix's code stops, here every draw has this strength"
            )
    common = given("minimum_weight", _MINIMUM)
    out["minimum"] = (given("minimum_source_weight", common), given("minimum_topic_weight", common))
    return out


def _topic_prior(swarm: Mapping[str, Any], sources: Sequence[_Node]) -> dict[str, float]:
    """Return the prior of topics; refuse one that names only some topics of a source, which Olmix's code ignores."""
    topics = [[topic.name for topic in source.topics] for source in sources]
    given = _shares(swarm, "manual_topic_prior", [name for names in topics for name in names])
    for names in topics:
        missing = [name for name in names if name not in given]
        if missing and len(missing) < len(names):
            raise OlmixConfigError(
                f"swarm.manual_topic_prior names some topics of a source but not {listing(missing)}, so Olmix's code ignores it. "
                "Name all topics of the source"
            )
    return given


def _source_share(sources: Sequence[_Node], notes: list[str]) -> dict[str, float]:
    """Return the fixed shares of sources: of all sources, or of none."""
    given = {source.name: source.weight for source in sources if source.weight is not None}
    if missing := [source.name for source in sources if given and source.name not in given]:
        raise OlmixConfigError(
            f"some sources have a weight and {listing(missing)} has none; give all sources a weight or none"
        )
    return _fixed(given, "sources", notes)


def _topic_share(sources: Sequence[_Node], prior: Mapping[str, float], notes: list[str]) -> dict[str, float]:
    """Return the fixed shares of leaves within their sources; qualities without weights share by the prior."""
    out: dict[str, float] = {}
    for source in sources:
        given = {topic.name: topic.weight for topic in source.topics if topic.weight is not None}
        if missing := [topic.name for topic in source.topics if given and topic.name not in given]:
            raise OlmixConfigError(
                f"some topics of {shown(source.name)} have a weight and {listing(missing)} has none, which Olmix's code does not handle; "
                "give all topics of the source a weight or none"
            )
        shares = _fixed(given, f"the topics of {shown(source.name)}", notes)
        free = [node for node in (source, *source.topics) if node.name not in shares]
        if ignored := [part.name for node in free for part in node.quality if part.weight is not None]:
            notes.append(f"Olmix's code ignores the weights of {listing(ignored)}: their topic has none")
        for topic in source.topics:
            if topic.name in shares:
                out |= _among_qualities(topic, shares[topic.name], prior)
    return out


def _among_qualities(topic: _Node, share: float, prior: Mapping[str, float]) -> dict[str, float]:
    """Divide a topic's share among its qualities by their weights, or by the prior if none has one."""
    parts = {part.name: part.weight or 0.0 for part in topic.quality}
    if all(part.weight is None for part in topic.quality):
        parts = {name: prior[name] for name in parts}
    total = math.fsum(parts.values())
    return {name: share * part / total if total else 0.0 for name, part in parts.items()} or {topic.name: share}


def _fixed(given: Mapping[str, float], what: str, notes: list[str]) -> dict[str, float]:
    """Return fixed shares divided by their sum, which must be 1 up to rounding."""
    total = math.fsum(given.values())
    if given and abs(total - 1.0) > _ROUNDED:
        raise OlmixConfigError(f"the weights of {what} sum to {total:.6g}, expected 1")
    if given and abs(total - 1.0) > 1e-6:
        notes.append(f"the weights of {what} sum to {total:.6g} and were divided by it")
    return {name: share / total for name, share in given.items()}


def _shares(swarm: Mapping[str, Any], key: str, known: Iterable[str]) -> dict[str, float]:
    given = {name: number(share, f"swarm.{key}.{name}") for name, share in _map(swarm, key, {}).items()}
    names = tuple(known)
    if unknown := [name for name in given if name not in set(names)]:
        raise OlmixConfigError(f"swarm.{key} names {misspelt(unknown, names)}; there are: {listing(names)}")
    return given


def _map(section: Mapping[str, Any], key: str, usual: Any = None) -> dict[str, Any]:
    found = section.get(key, usual)
    if not isinstance(found, Mapping):
        raise OlmixConfigError(f"{key} must be a mapping of name to number, got {shown(found)}")
    return mapping(found)


def _listed(given: Any, what: str) -> list[Any]:
    if is_null(given) or not isinstance(given, list):
        raise OlmixConfigError(f"{what} must be a list, got {shown(given)}")
    return given
