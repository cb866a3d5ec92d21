"""Fit configurations of Olmix (YAML): where the swarm is, what to fit and propose, under which limits.

Everything is aligned by name: priors, caps and weights in another order than the files' columns were a bug of theirs.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixfast._text.names import listing
from mixfast.errors import AlignmentError
from mixfast.readers._document import document as read_document
from mixfast.readers._olmix_values import OlmixConfigError, is_off, known_keys, mapping, number, truth, whole
from mixfast.region import Region
from mixfast.swarm import Swarm

_KEYS = {
    "": {"swarm", "priors", "eval", "regression", "proposer", "constraints", "filtering", "token_counts"},
    "swarm": {"ratios", "metrics"},
    "priors": {"relative_sizes", "token_counts", "total_tokens"},
    "eval": {"type", "tasks"},
    "regression": {"type", "seed", "n_test", "train_split", "aggregate_task_families"},
    "proposer": {"type", "temperature", "kl_reg", "use_natural_kl", "fit_only", "make_worst_mix"},
    "constraints": {"enabled", "target_tokens", "repetition_factor"},
    "filtering": {"keep_sources", "support_domains", "drop_metrics", "fixed_weight", "obj_weights"},
}
# What is understood but not offered here: given any other value than nothing, it is refused and not passed over.
_UNSUPPORTED = {
    "proposer": ("temperature", "make_worst_mix", "use_natural_kl"),
    "filtering": ("keep_sources", "support_domains", "fixed_weight"),
}
_REPETITION = 5.0  # Olmix's default where the file names none


@dataclass(frozen=True, kw_only=True)
class OlmixConfig:
    """What a fit configuration asks for.

    Attributes
    ----------
    ratios, metrics : Path
        Files of the swarm; relative paths in the file are relative to its folder.
    prior : dict of str to float
        ``relative_sizes`` divided by their sum; the shares of ``token_counts`` where they are not given.
    token_counts : dict of str to int, or None
    families : dict of str to tuple of str
        Metrics of each family of tasks, empty where the file lists none.
    regression, proposer : str
        Types, in Olmix's words: log_linear, lightgbm, ...; exact, simulation, search.
    seed : int
    train_split : tuple of float
        Share, or number where above 1, of the runs to fit.
    aggregate : bool
        Whether one law is fitted to the mean of each family.
    kl : float or None
        Weight of the divergence from the prior.
    fit_only : bool
    target_tokens : int or None
        None where the limits are switched off.
    max_epochs : float
    drop_metrics : tuple of str
    obj_weights : dict of str to float
        As written, by metric or by family.
    notes : tuple of str
        What in the file contradicts itself or lies in the wrong place, and how it was taken.
    """

    ratios: Path
    metrics: Path
    prior: dict[str, float]
    token_counts: dict[str, int] | None
    families: dict[str, tuple[str, ...]]
    regression: str
    proposer: str
    seed: int
    train_split: tuple[float, ...]
    aggregate: bool
    kl: float | None
    fit_only: bool
    target_tokens: int | None
    max_epochs: float
    drop_metrics: tuple[str, ...]
    obj_weights: dict[str, float]
    notes: tuple[str, ...]

    def swarm(self) -> Swarm:
        """Return the swarm without the metrics to drop; in bits per byte, as Olmix has it, where names tell no unit."""
        # Olmix minimises whatever it is given, so a "score" there is one in bits per byte.
        named = Swarm.from_csv(self.ratios, self.metrics, direction="min")
        unit = {
            name: "bits_per_byte" if unit in ("nats", "score") else unit
            for name, unit in zip(named.metrics, named.unit, strict=True)
        }
        whole = Swarm.from_csv(self.ratios, self.metrics, unit=unit, direction="min")
        return whole.select([name for name in whole.metrics if name not in set(self.drop_metrics)])

    def region(self, domains: Sequence[str]) -> Region:
        """Return the region of the limits, in the order of the swarm's domains.

        Raises
        ------
        AlignmentError
            If the file's domains are not the swarm's; both sets are shown.
        """
        prior = _aligned("relative_sizes of the configuration", self.prior, domains)
        if self.target_tokens is None:
            return Region(domains, prior=prior)
        if self.token_counts is None:
            raise OlmixConfigError("constraints are enabled, but priors has no token_counts to derive the caps from")
        counts = _aligned("token_counts of the configuration", self.token_counts, domains)
        return Region.from_tokens(counts, self.target_tokens, max_epochs=self.max_epochs, prior=prior)

    def objective(self, metrics: Sequence[str]) -> dict[str, float] | None:
        """Return weights of the metrics, summing to 1, or None for their plain mean.

        Weights of families are divided evenly among those of their metrics that are left. As in Olmix, metrics
        without a weight have the weight 1 before the division by the sum, unless families are weighed.

        Raises
        ------
        AlignmentError
            If a weight names neither a metric nor a family.
        """
        if not self.obj_weights:
            return None
        weights = dict.fromkeys(metrics, 0.0)
        by_family = set(self.obj_weights) <= set(self.families)
        if not by_family:
            dropped = set(self.drop_metrics)
            if unknown := [name for name in self.obj_weights if name not in weights and name not in dropped]:
                raise AlignmentError(
                    f"obj_weights names unknown metrics: {listing(unknown)}; the metrics are: {listing(metrics)}; the "
                    f"families are: {listing(self.families)}"
                )
            weights = {name: self.obj_weights.get(name, 1.0) for name in metrics}
        for family, weight in self.obj_weights.items() if by_family else ():
            members = [name for name in self.families[family] if name in weights]
            if not members and weight:
                raise AlignmentError(f"no metric of the family {family!r} is left: {listing(self.families[family])}")
            for name in members:
                weights[name] += weight / len(members)
        total = math.fsum(weights.values())
        if not total > 0.0:
            raise OlmixConfigError(f"obj_weights must have a positive sum, got {self.obj_weights}")
        return {name: weight / total for name, weight in weights.items()}


def olmix_config(path: str | os.PathLike[str]) -> OlmixConfig:
    """Read a fit configuration.

    Raises
    ------
    OlmixConfigError
        If a key is unknown, missing or given twice, a value is malformed, or something is asked for that is not offered.
    """
    path = Path(path)
    document = _section({"": read_document(path, OlmixConfigError)}, "")
    swarm, priors, regression, proposer, constraints, filtering, tests = (
        _section(document, key)
        for key in ("swarm", "priors", "regression", "proposer", "constraints", "filtering", "eval")
    )
    for part in ("ratios", "metrics"):
        if not isinstance(swarm.get(part), str):
            raise OlmixConfigError(f"{path}: swarm.{part} must be the path of a file, got {swarm.get(part)!r}")
    notes: list[str] = []
    counts = priors.get("token_counts")
    if "token_counts" in document:
        notes.append("token_counts stands beside priors and was taken for a part of it")
        if counts is not None:
            raise OlmixConfigError(f"{path}: token_counts is given twice, beside priors and in it; remove one")
        counts = document["token_counts"]
    tokens = None if counts is None else {name: whole(n, f"token_counts.{name}") for name, n in mapping(counts).items()}
    return OlmixConfig(
        ratios=path.parent / swarm["ratios"],
        metrics=path.parent / swarm["metrics"],
        prior=_prior(priors.get("relative_sizes"), tokens, notes),
        token_counts=tokens,
        families=_families(tests.get("tasks") or {}),
        regression=str(regression.get("type", "log_linear")),
        proposer=str(proposer.get("type", "exact")),
        seed=whole(regression.get("seed", 0), "regression.seed"),
        train_split=_split(regression.get("train_split", 1.0)),
        aggregate=truth(regression.get("aggregate_task_families"), "regression.aggregate_task_families"),
        kl=None if proposer.get("kl_reg") is None else number(proposer["kl_reg"], "proposer.kl_reg"),
        fit_only=truth(proposer.get("fit_only"), "proposer.fit_only"),
        target_tokens=_target(constraints),
        max_epochs=number(constraints.get("repetition_factor", _REPETITION), "constraints.repetition_factor"),
        drop_metrics=tuple(map(str, filtering.get("drop_metrics") or ())),
        obj_weights={
            name: number(weight, f"filtering.obj_weights.{name}")
            for name, weight in mapping(filtering.get("obj_weights") or {}).items()
        },
        notes=tuple(notes),
    )


def _section(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a section with only known keys, empty where the file has none."""
    where = key or "the configuration"
    section = document.get(key)
    if section is None and key not in ("", "swarm", "priors"):
        return {}
    found = known_keys(section, _KEYS[key], where)
    for name in _UNSUPPORTED.get(key, ()):
        if not is_off(found.get(name)):
            raise OlmixConfigError(f"{key}.{name} = {found[name]} is not offered here; remove it")
    return found


def _prior(given: Any, tokens: Mapping[str, int] | None, notes: list[str]) -> dict[str, float]:
    if given is None and tokens is None:
        raise OlmixConfigError("priors needs relative_sizes or token_counts")
    sizes: dict[str, float] = (
        dict(tokens or {})
        if given is None
        else {name: number(size, f"relative_sizes.{name}") for name, size in mapping(given).items()}
    )
    total = math.fsum(sizes.values())
    if not total > 0.0:
        raise OlmixConfigError(f"the prior must have a positive sum, got {total}")
    shares = {name: size / total for name, size in sizes.items()}
    if given is not None and abs(total - 1.0) > 1e-3:
        notes.append(f"relative_sizes sum to {total:.6g} and were divided by it")
    if given is not None and tokens is not None:
        if set(tokens) != set(shares):
            raise AlignmentError.between("relative_sizes", shares, "token_counts", tokens)
        supply = sum(tokens.values())
        apart = max(abs(shares[name] - count / supply) for name, count in tokens.items()) if supply else 0.0
        if apart > 1e-3:
            notes.append(f"relative_sizes differ from the shares of token_counts by up to {apart:.3g}")
    return shares


def _families(tasks: Any) -> dict[str, tuple[str, ...]]:
    families = {}
    for family, members in mapping(tasks).items():
        # In-loop tasks map an id to the metric, offline tasks are a list of metrics.
        names = members.values() if isinstance(members, Mapping) else members
        if isinstance(names, str) or not isinstance(names, Iterable):
            raise OlmixConfigError(f"eval.tasks.{family} must be a list of metrics, got {members!r}")
        families[family] = tuple(map(str, names))
    return families


def _target(constraints: Mapping[str, Any]) -> int | None:
    if not truth(constraints.get("enabled"), "constraints.enabled"):
        return None
    if constraints.get("target_tokens") is None:
        raise OlmixConfigError("constraints are enabled, but constraints.target_tokens is missing")
    return whole(constraints["target_tokens"], "constraints.target_tokens")


def _split(given: Any) -> tuple[float, ...]:
    return tuple(number(part, "regression.train_split") for part in (given if isinstance(given, list) else [given]))


def _aligned(what: str, given: Mapping[str, Any], domains: Sequence[str]) -> dict[str, Any]:
    if set(given) != set(domains):
        raise AlignmentError.between(what, given, "the swarm", domains)
    return {name: given[name] for name in domains}
