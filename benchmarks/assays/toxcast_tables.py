"""The tables of the ToxCast part, made of its result files; `docs/explanation/assays.md` has them between markers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.assays.intervals import Paired, paired
from benchmarks.assays.store import read
from benchmarks.studies.scale_model import table

# Average precision is better if higher, the loss if lower.
METRICS = {
    "ensemble_ap": "AP, ensemble", "retrained_ap": "AP, retrained", "ensemble_loss": "log-loss, ensemble", "retrained_loss": "log-loss, retrained",
}  # fmt: skip
OURS, PLUS, ALONE = "exact, out-of-fold", "target and sources", "target only"
COMPARED = (
    *((OURS, other) for other in ("natural", "balanced", "best single source", "random search", "RegMix", "MixMin's loop")),
    *((other, "exact") for other in (OURS, "exact, KL", "exact, doubtful sources dropped", "exact, calibrated")),
    (OURS, ALONE), (PLUS, ALONE), (PLUS, "target and sources, natural"),
    *((f"{one}, rates matched", f"{other}, rates matched") for one, other in (("exact", "natural"), ("exact", ALONE), (PLUS, ALONE))),
    (f"{ALONE}, rates matched", ALONE),
    ("exact, rates matched", OURS), (f"{PLUS}, rates matched", PLUS),
)  # fmt: skip


# Settings.
MOLECULE, ASSAY, MANY = "by molecule", "by assay", "by molecule, many sources"


class Results:
    """The lines of both files."""

    def __init__(self, folder: Path) -> None:
        facts = {self._key(line): line for line in read(folder / "assays_toxcast_targets.csv")}
        self.lines = [line for line in read(folder / "assays_toxcast.csv") if self._key(line) in facts]
        self.facts = facts

    @staticmethod
    def _key(line: dict[str, str]) -> tuple[str, str, str]:
        return line["setting"], line["split"], line["target"]

    def values(
        self, method: str, metric: str, setting: str = MOLECULE, among: frozenset[str] | None = None
    ) -> dict[tuple[str, int], float]:
        """Return a metric of a method, by target and split; of some targets, if these are given."""
        return {
            (line["target"], int(line["split"])): float(line[metric])
            for line in self.lines
            if line["method"] == method and line["setting"] == setting and (among is None or line["target"] in among)
        }

    def difference(
        self, one: str, other: str, metric: str, setting: str = MOLECULE, among: frozenset[str] | None = None
    ) -> Paired:
        """Return one method minus another."""
        return paired(self.values(one, metric, setting, among), self.values(other, metric, setting, among))

    def mean(self, method: str, metric: str, setting: str = MOLECULE) -> float:
        """Return the mean over targets."""
        found = self.values(method, metric, setting)
        targets = {target for target, _ in found}
        return float(
            np.mean([np.mean([value for (name, _), value in found.items() if name == target]) for target in targets])
        )

    def thirds(self, fact: str, setting: str) -> list[tuple[str, frozenset[str]]]:
        """Return the lower, middle and upper third of the targets by a number that is known of them, each with its range."""
        by_target: dict[str, list[float]] = {}
        for (of, _, target), line in self.facts.items():
            if of == setting:
                by_target.setdefault(target, []).append(float(line[fact]))
        order = sorted(by_target, key=lambda target: (np.mean(by_target[target]), target))
        parts = [order[len(order) * i // 3 : len(order) * (i + 1) // 3] for i in range(3)]
        form = ".0f" if fact == "positives" else ".2f"
        ends = [[np.mean(by_target[part[i]]) for i in (0, -1)] for part in parts]
        return [
            (f"{low:{form}} to {high:{form}}", frozenset(part)) for (low, high), part in zip(ends, parts, strict=True)
        ]


def recorded(found: Results) -> str:
    """What the result files have."""
    keys = list(found.facts)
    rows = []
    for setting in (MOLECULE, MANY, ASSAY):
        sources = max(
            int(line["sources"]) for line in found.lines if (line["setting"], line["method"]) == (setting, "balanced")
        )
        targets, splits = ({key[i] for key in keys if key[0] == setting} for i in (2, 1))
        rows.append([setting, str(sources), str(len(targets)), str(len(splits))])
    return table(["setting", "sources", "targets", "splits"], rows)


def methods(found: Results) -> str:
    """The means of all methods, by molecule."""
    names = [line["method"] for line in found.lines if "weights" not in line["method"]]
    rows = [
        [name, *(f"{found.mean(name, metric):.3f}" for metric in METRICS), f"{found.mean(name, 'sources'):.1f}"]
        for name in dict.fromkeys(names)
    ]
    return table(["method", *METRICS.values(), "sources with a share"], rows)


def differences(found: Results, setting: str = MOLECULE) -> str:
    """The paired differences, by molecule."""
    rows = [
        [f"{one} - {other}", *(_cell(found.difference(one, other, metric, setting), metric) for metric in METRICS)]
        for one, other in COMPARED
    ]
    return table(["difference", *METRICS.values()], rows)


def many(found: Results) -> str:
    """The same differences with three times as many sources."""
    return differences(found, MANY)


def by_assay(found: Results) -> str:
    """The same differences when each assay is split alone."""
    return differences(found, ASSAY)


def when(found: Results) -> str:
    """When mixing helps: thirds of the targets by their positives, and by the closeness of the nearest source."""
    rows = []
    for setting, words in ((MOLECULE, "few sources"), (MANY, "many sources")):
        for fact, means in (("positives", "positives"), ("correlation", "correlation")):
            for span, among in found.thirds(fact, setting):
                cells = [
                    _cell(found.difference(one, other, metric, setting, among), metric)
                    for one, other in ((OURS, "natural"), (OURS, ALONE), (PLUS, ALONE))
                    for metric in ("ensemble_ap", "ensemble_loss")
                ]
                rows.append([f"{words}, {means} {span}", *cells])
    pairs = ("sources - natural", "sources - target", "both - target")
    return table(
        ["third of the targets", *(f"{pair}, {metric}" for pair in pairs for metric in ("AP", "log-loss"))], rows
    )


def weights(found: Results) -> str:
    """The retrained models with three scales of the row weights."""
    rows = []
    for method in ("exact", "MixMin's loop"):
        for scale, name in (
            ("largest weight is 1", method),
            ("paper", f"{method}, paper weights"),
            ("mean is 1", f"{method}, mean weights"),
        ):
            if found.values(name, "retrained_ap"):
                change = [
                    _cell(found.difference(name, method, metric), metric) if name != method else ""
                    for metric in ("retrained_ap", "retrained_loss")
                ]
                rows.append(
                    [
                        f"{method}, {scale}",
                        f"{found.mean(name, 'retrained_ap'):.3f}",
                        change[0],
                        f"{found.mean(name, 'retrained_loss'):.3f}",
                        change[1],
                    ]
                )
    return table(["mixture, scale", "AP, retrained", "difference", "log-loss, retrained", "difference"], rows)


def _cell(found: Paired, metric: str) -> str:
    """A difference, and how many targets are better."""
    better = found.above if metric.endswith("_ap") else found.below
    return f"{found} ({better}/{found.targets})"


TABLES = (recorded, methods, differences, many, by_assay, when, weights)
