"""Fit configurations of Olmix (YAML): the swarm, what to fit and propose, and the limits, as in its code of commit 9586977.

Everything is aligned by name; Olmix itself aligns priors, caps and weights by position, which is wrong if their order differs from the
files' columns. The meaning of each field is in docs/reference/files/olmix-config.md.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from mixfast._text.names import listing, misspelt, positions, shown
from mixfast.errors import AlignmentError, about_files
from mixfast.readers._document import document as read_document
from mixfast.readers._mmlu import SUBJECTS
from mixfast.readers._olmix_swarm import counted_names, fitted_swarm, train_runs, wanted_columns
from mixfast.readers._olmix_values import OlmixConfigError, is_off, known_keys, mapping, number, truth, whole
from mixfast.region import Region
from mixfast.swarm import Swarm, column_names

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
# Keys that are known but not supported: they are refused, not ignored, unless their value is null or false.
_UNSUPPORTED = {
    "proposer": ("make_worst_mix", "use_natural_kl"),
    "filtering": ("keep_sources", "support_domains", "fixed_weight"),
}
_REPETITION = 4.0  # Olmix's default if the file has none
_ROUNDING = 1e-12  # tolerance for a share at its limit
_PROPOSERS = ("exact", "simulation", "search")
_SEARCH = "search"  # the name of Olmix's proposer of the best run, and of the regression that it needs


@dataclass(frozen=True, kw_only=True)
class OlmixConfig:
    """The content of a fit configuration.

    Attributes
    ----------
    ratios, metrics : Path
        Files of the swarm; relative paths are relative to the folder of the configuration or, if that has no such file, to the
        current folder, as in Olmix.
    prior : dict of str to float
        ``relative_sizes`` divided by their sum; without them, the shares of ``token_counts``.
    token_counts : dict of str to int, or None
    families : dict of str to tuple of str
        Metrics of each family of tasks; empty if the file lists none.
    regression, proposer : str
        Types, with Olmix's names: log_linear, lightgbm, ...; exact, simulation, search.
    seed : int
    n_test : int
        Number of runs that are held out; if it is above 0, Olmix proposes nothing.
    train_split : float
        Share of the other runs that are fitted, or their number if above 1.
    aggregate : bool
        Whether one law is fitted to the mean of each family.
    kl : float or None
        Weight of the divergence from the prior, relative to the weights of `objective`.
    temperature : float or None
        Power of the prior that a simulation starts from.
    fit_only : bool
    target_tokens : int or None
        None if the limits are disabled.
    max_epochs : float
    drop_metrics : tuple of str
    obj_weights : dict of str to float
        As written, by metric, or by family if `aggregate` is true.
    notes : tuple of str
        Contradictions and misplaced keys in the file, and how they were read.
    """

    ratios: Path
    metrics: Path
    prior: dict[str, float]
    token_counts: dict[str, int] | None
    families: dict[str, tuple[str, ...]]
    regression: str
    proposer: str
    seed: int
    n_test: int
    train_split: float
    aggregate: bool
    kl: float | None
    temperature: float | None
    fit_only: bool
    target_tokens: int | None
    max_epochs: float
    drop_metrics: tuple[str, ...]
    obj_weights: dict[str, float]
    notes: tuple[str, ...]

    def swarm(self, *, ignore: Iterable[str] = ()) -> tuple[Swarm, tuple[str, ...]]:
        """Return the runs and metrics that Olmix fits, and notes on how they were made.

        Metrics are in bits per byte, as in Olmix, unless their names give a unit.

        Parameters
        ----------
        ignore : iterable of str
            Columns of the files that are neither domains nor metrics; patterns with ``*``. Only the metrics that count are read.

        Raises
        ------
        AlignmentError
            If listed tasks are absent.
        OlmixConfigError
            If nothing is left to fit, or MMLU is incomplete.
        """
        columns = column_names(self.metrics, "metrics")
        left = [name for name in columns if not any(fnmatchcase(name, pattern) for pattern in ignore)]
        wanted = wanted_columns(self.families, left, where=str(self.metrics))
        named = Swarm.from_csv(self.ratios, self.metrics, metric_names=wanted, ignore=ignore, direction="min")
        # Olmix minimises every metric, so a "score" there is in bits per byte.
        unit = {
            name: "bits_per_byte" if unit in ("nats", "score", "logprob", "reward", "error") else unit
            for name, unit in zip(named.metrics, named.unit, strict=True)
        }
        whole = Swarm.from_csv(
            self.ratios, self.metrics, metric_names=wanted, ignore=ignore, unit=unit, direction="min"
        )
        found, notes = fitted_swarm(whole, self.families, aggregate=self.aggregate, dropped=self.drop_metrics)
        rows = train_runs(len(found), n_test=self.n_test, train_split=self.train_split, seed=self.seed)
        if len(rows) < len(found):
            notes.append(
                f"{len(rows)} of {len(found)} runs are fitted, those that Olmix selects for n_test {self.n_test}, train_split "
                f"{self.train_split:g} and seed {self.seed}"
            )
            found = found.subset(rows)
        return found, tuple(notes)

    def region(self, domains: Sequence[str]) -> Region:
        """Return the region with the limits, in the order of the swarm's domains, and the prior of the KL term or of the simulation.

        Raises
        ------
        AlignmentError
            If the file's domains are not the swarm's; both sets are shown.
        """
        prior = _aligned("relative_sizes of the configuration", self.prior, domains)
        if self.temperature is not None and self.proposer == "simulation":
            prior = {name: share**self.temperature for name, share in prior.items()}
        if self.target_tokens is None:
            return Region(domains, prior=prior)
        if self.token_counts is None:
            raise OlmixConfigError("constraints are enabled, but priors has no token_counts, which the caps need")
        counts = _aligned("token_counts of the configuration", self.token_counts, domains)
        return Region.from_tokens(counts, self.target_tokens, max_epochs=self.max_epochs, prior=prior)

    def objective(self, metrics: Sequence[str]) -> dict[str, float]:
        """Return the weights of the metrics in Olmix's objective, to which `kl` is relative.

        Without ``obj_weights`` they sum to 1. With them, each metric that they do not name has weight 1, and nothing is divided by
        the sum. A metric counts as often as ``eval.tasks`` lists it; others count 0.

        Raises
        ------
        AlignmentError
            If a metric that counts is not among ``metrics``, or a weight names an unknown metric.
        OlmixConfigError
            If weights of families are given although each metric has its own law; Olmix ignores them.
        """
        names = counted_names(self.families, metrics, aggregate=self.aggregate, dropped=self.drop_metrics)
        if not self.obj_weights:
            return {name: names.count(name) / len(names) for name in names}
        self._check_weights(names)
        weights = {name: self.obj_weights.get(name, 1.0) * names.count(name) for name in names}
        if not math.fsum(weights.values()) > 0.0:
            raise OlmixConfigError(f"obj_weights must have a positive sum, got {self.obj_weights}")
        return weights

    def _check_weights(self, names: Sequence[str]) -> None:
        """Refuse weights of unknown metrics."""
        unknown = [name for name in self.obj_weights if name not in names and name not in self.drop_metrics]
        if not unknown:
            return
        if not self.aggregate and set(unknown) <= set(self.families):
            raise OlmixConfigError(
                f"obj_weights weighs families ({listing(unknown)}), but regression.aggregate_task_families is false, so Olmix ignores "
                "these weights: set aggregate_task_families to true, or weight metrics"
            )
        hint = "; subjects of MMLU count by category" if SUBJECTS & set(unknown) else ""
        raise AlignmentError(
            f"obj_weights names unknown metrics: {misspelt(unknown, names)}; the metrics that count are: {listing(names)}{hint}"
        )

    def check_proposal(self) -> None:
        """Refuse a configuration for which Olmix proposes nothing.

        Raises
        ------
        OlmixConfigError
            If only a fit is requested, or runs are held out.
        """
        if self.fit_only:
            raise OlmixConfigError("proposer.fit_only is true, so nothing is proposed: set it to false")
        if self.n_test:
            raise OlmixConfigError(
                f"regression.n_test is {self.n_test}, and Olmix proposes nothing while it holds out runs: set it to 0, and fit again"
            )

    def best_run(self, swarm: Swarm) -> tuple[str, float]:
        """Return the run that Olmix's search proposes, the one within the limits with the lowest mean of its metrics, and that mean.

        Raises
        ------
        OlmixConfigError
            If no run is within the limits.
        """
        names = counted_names(self.families, swarm.metrics, aggregate=self.aggregate, dropped=self.drop_metrics)
        means = swarm.values[:, positions(names, swarm.metrics)].mean(axis=1)
        allowed = (swarm.ratios <= self.region(swarm.domains).cap + _ROUNDING).all(axis=1)
        if not allowed.any():
            raise OlmixConfigError("no run is within the limits of constraints, so the search has nothing to propose")
        row = int(np.argmin(np.where(allowed, means, np.inf)))
        return swarm.runs[row], float(means[row])


def olmix_config(path: str | os.PathLike[str]) -> OlmixConfig:
    """Read a fit configuration.

    Raises
    ------
    OlmixConfigError
        If a key is unknown, missing or given twice, a value is malformed, or a feature is not supported.
    """
    with about_files(path):
        return _config(Path(path))


def _config(path: Path) -> OlmixConfig:
    document = _section({"": read_document(path, OlmixConfigError)}, "")
    swarm, priors, regression, proposer, constraints, filtering, tests = (
        _section(document, key)
        for key in ("swarm", "priors", "regression", "proposer", "constraints", "filtering", "eval")
    )
    for part in ("ratios", "metrics"):
        if not isinstance(swarm.get(part), str):
            raise OlmixConfigError(f"swarm.{part} must be the path of a file, got {shown(swarm.get(part))}")
    notes: list[str] = []
    counts = priors.get("token_counts")
    if "token_counts" in document:
        notes.append("token_counts is outside priors and was read as part of it")
        if counts is not None:
            raise OlmixConfigError("token_counts is given twice, outside priors and in it; remove one")
        counts = document["token_counts"]
    tokens = None if counts is None else {name: whole(n, f"token_counts.{name}") for name, n in mapping(counts).items()}
    found = OlmixConfig(
        ratios=_file(path, swarm["ratios"], notes),
        metrics=_file(path, swarm["metrics"], notes),
        prior=_prior(priors.get("relative_sizes"), tokens, notes),
        token_counts=tokens,
        families=_families(tests.get("tasks") or {}),
        regression=str(regression.get("type", "log_linear")),
        proposer=str(proposer.get("type", "exact")),
        seed=whole(regression.get("seed", 0), "regression.seed"),
        n_test=whole(regression.get("n_test", 0), "regression.n_test"),
        train_split=_split(regression.get("train_split", 1.0)),
        aggregate=truth(regression.get("aggregate_task_families"), "regression.aggregate_task_families"),
        kl=_number_or_none(proposer, "kl_reg"),
        temperature=_number_or_none(proposer, "temperature"),
        fit_only=truth(proposer.get("fit_only"), "proposer.fit_only"),
        target_tokens=_target(constraints),
        max_epochs=number(constraints.get("repetition_factor", _REPETITION), "constraints.repetition_factor"),
        drop_metrics=tuple(map(str, filtering.get("drop_metrics") or ())),
        obj_weights={
            name: number(weight, f"filtering.obj_weights.{name}")
            for name, weight in mapping(filtering.get("obj_weights") or {}).items()
        },
        notes=(),
    )
    _check(found)
    if found.temperature is not None:
        used = "the simulation samples around the prior raised to this power, and gains refer to it"
        notes.append(
            f"proposer.temperature is {found.temperature:g}: {used}"
            if found.proposer == "simulation"
            else f"proposer.temperature is {found.temperature:g}, which only proposer.type 'simulation' uses"
        )
    return replace(found, notes=tuple(notes))


def _check(config: OlmixConfig) -> None:
    """Refuse configurations that Olmix refuses."""
    if config.proposer not in _PROPOSERS:
        raise OlmixConfigError(f"proposer.type is {shown(config.proposer)}, expected one of {listing(_PROPOSERS)}")
    if config.aggregate and not config.families:
        raise OlmixConfigError("regression.aggregate_task_families needs the families of eval.tasks")
    if (config.proposer == _SEARCH) != (config.regression == _SEARCH):
        raise OlmixConfigError(
            f"proposer.type is {shown(config.proposer)} and regression.type is {shown(config.regression)}: the search for the best run requires both to be "
            f"{_SEARCH!r}"
        )
    if config.kl is not None and config.proposer != "exact":
        raise OlmixConfigError(
            f"proposer.kl_reg = {config.kl:g} needs proposer.type 'exact', got {shown(config.proposer)}: remove one of them"
        )


def _file(path: Path, given: str, notes: list[str]) -> Path:
    """Return a file of the swarm, in the folder of the configuration or, as in Olmix, in the current folder."""
    beside, here = path.parent / given, Path(given)
    if beside.exists() or not here.exists():
        return beside
    notes.append(f"{given} was found in the current folder; {path.parent} has no such file")
    return here


def _number_or_none(proposer: Mapping[str, Any], key: str) -> float | None:
    return None if proposer.get(key) is None else number(proposer[key], f"proposer.{key}")


def _section(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a section with only known keys; empty if the file has none."""
    where = key or "the configuration"
    section = document.get(key)
    if section is None and key not in ("", "swarm", "priors"):
        return {}
    found = known_keys(section, _KEYS[key], where)
    for name in _UNSUPPORTED.get(key, ()):
        if not is_off(found.get(name)):
            raise OlmixConfigError(f"{key}.{name} = {found[name]} is not supported; remove it")
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
            raise OlmixConfigError(f"eval.tasks.{family} must be a list of metrics, got {shown(members)}")
        families[family] = tuple(map(str, names))
    return families


def _target(constraints: Mapping[str, Any]) -> int | None:
    if not truth(constraints.get("enabled"), "constraints.enabled"):
        return None
    if constraints.get("target_tokens") is None:
        raise OlmixConfigError("constraints are enabled, but constraints.target_tokens is missing")
    return whole(constraints["target_tokens"], "constraints.target_tokens")


def _split(given: Any) -> float:
    # Earlier versions of Olmix had a list here, one number for each of several groups of runs.
    parts = given if isinstance(given, list) else [given]
    if len(parts) != 1:
        raise OlmixConfigError(f"regression.train_split must be one number, got {shown(given)}")
    return number(parts[0], "regression.train_split")


def _aligned(what: str, given: Mapping[str, Any], domains: Sequence[str]) -> dict[str, Any]:
    if set(given) != set(domains):
        raise AlignmentError.between(what, given, "the swarm", domains)
    return {name: given[name] for name in domains}
