"""A laboratory: its texts, the losses measured on them, and the training of requested runs."""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import mixfast
from benchmarks.lab.corpora import DOMAINS, LATER, NATURAL, TARGETS, Corpora
from benchmarks.lab.scales import RECIPES, SCALES, Scale
from benchmarks.lab.store import Job, Store

VALIDATION = tuple(f"val_{name}" for name in DOMAINS)
METRICS = (*VALIDATION, *(f"val_{name}" for name in LATER), *TARGETS)
MAX_EPOCHS = 4
# Experts and proxies are scored on the first part of the held-out windows, final models on another part: no mixture is
# evaluated on the windows that it was chosen by.
SEEN = {"targets": slice(0, 300), "validation": slice(0, 80)}
UNSEEN = {"targets": slice(300, 700), "validation": slice(80, 240)}


class Laboratory:
    """The texts under `corpora`, results in `folder`, and files that can be computed again in `cache`."""

    def __init__(self, scale: Scale, corpora: Path, folder: Path, cache: Path) -> None:
        self.scale, self.cache = scale, cache
        shape = scale.proxy.shape
        self.corpora = Corpora(corpora, cache, vocabulary=shape.vocabulary, window=shape.window)
        self._folder = folder

    @cached_property
    def store(self) -> Store:
        """Everything trained so far."""
        return Store(self._folder, NATURAL, METRICS)

    @cached_property
    def supply(self) -> dict[str, int]:
        """Available tokens of each domain for a final model; a final run reads as many as all DOMAINS have together."""
        share = mixfast.Mixture(DOMAINS, [NATURAL[name] / sum(NATURAL[name] for name in DOMAINS) for name in DOMAINS])
        windows = share.tokens(self.scale.final.windows)
        # Domains that are added later have their own.
        one = self.scale.final.windows / sum(NATURAL[name] for name in DOMAINS)
        windows |= {name: round(NATURAL[name] * one) for name in LATER}
        return {name: count * self.scale.final.shape.window for name, count in windows.items()}

    def region(self, *, capped: bool, max_epochs: float = MAX_EPOCHS) -> mixfast.Region:
        """Return the limits of a final run: no token is read more than `max_epochs` times; no limit without `capped`."""
        budget = self.scale.final.windows * self.scale.final.shape.window
        supply = {name: self.supply[name] for name in DOMAINS}
        found = mixfast.Region.from_tokens(supply, budget, max_epochs=max_epochs)
        return found if capped else mixfast.Region(DOMAINS, prior=found.prior)

    def timed(self, region: mixfast.Region) -> mixfast.Region:
        """Return the same limits as a region that knows the tokens and the budget of a final run, for laws in epochs."""
        budget = self.scale.final.windows * self.scale.final.shape.window
        supply = {name: self.supply[name] for name in DOMAINS}
        cap = dict(zip(region.domains, region.cap.tolist(), strict=True))
        return mixfast.Region.from_tokens(supply, budget, max_epochs=math.inf, cap=cap)

    def pools(self, recipe: str) -> dict[str, int]:
        """Return the windows of each domain that a run of a recipe can read: all, or the part that a final run has."""
        window = self.scale.final.shape.window
        natural = {name: self.supply[name] // window for name in NATURAL}
        if recipe == "final":
            return natural
        if recipe == "matched":
            # Pool and budget shrink alike, so a share is read as often as in a final run.
            part = self.scale.proxy.windows / self.scale.final.windows
            return {name: max(1, round(count * part)) for name, count in natural.items()}
        return {name: len(self.corpora[name].train) for name in NATURAL}

    def expert(self, domain: str) -> dict[str, NDArray[np.float32]]:
        """Return an expert's log-likelihoods of the tokens of each set, (windows, T)."""
        with np.load(self._table(f"expert-{domain}")) as kept:
            return {name: kept[name] for name in kept.files}

    def _table(self, run: str) -> Path:
        return self.cache / f"{self.scale.name}-{run}.npz"

    def _tableless(self, job: Job) -> bool:
        """Whether this is an expert whose table was deleted with the cache; it is trained again."""
        return job.kind == "expert" and not self._table(job.run).exists()

    def _suffices(self, name: str, windows: int) -> None:
        """Refuse a text with fewer windows than a proxy needs without repetition, or than a final model's supply."""
        if name in NATURAL:
            needed = max(self.scale.proxy.windows, self.supply[name] // self.scale.final.shape.window)
            if windows < needed:
                raise ValueError(
                    f"{name} has {windows} windows of text, and a run at scale {self.scale.name} may read {needed} different ones: "
                    "bring more text, or shorten the recipes in scales.py"
                )

    def train(self, jobs: Iterable[Job], workers: int) -> None:
        """Train the missing runs, several in one batch, and store their results."""
        left = {job.run: job for job in jobs if job.run not in self.store or self._tableless(job)}
        groups = [
            tuple(same[i : i + self.scale.together])
            for recipe in RECIPES
            for expert in (True, False)
            if (same := [job for job in left.values() if job.recipe == recipe and (job.kind == "expert") is expert])
            for i in range(0, len(same), self.scale.together)
        ]
        if not groups:
            return
        for name in (*NATURAL, *TARGETS):
            self._suffices(name, len(self.corpora[name].train))  # cut here, once, not by every worker
        print(f"{len(left)} runs to train", flush=True)
        begun = time.perf_counter()
        with multiprocessing.get_context("spawn").Pool(
            workers, _begin, (self.scale.name, self.corpora.folder, self.cache)
        ) as pool:
            for done, (group, found, seconds) in enumerate(pool.imap_unordered(_run, groups), 1):
                recipe = self.scale.recipe(group[0].recipe)
                for r, job in enumerate(group):
                    metrics = {name: values[r] for name, values in found.items()}
                    facts = {
                        "windows": recipe.windows,
                        "operations": recipe.operations,
                        "seconds": round(seconds / len(group), 2),
                    }
                    if job.run not in self.store:
                        self.store.add(job, metrics, **facts)
                print(f"{done}/{len(groups)} {group[0].run} ... {time.perf_counter() - begun:.0f} s", flush=True)


_WORKER: list[Laboratory] = []


def _begin(scale: str, corpora: Path, cache: Path) -> None:
    import torch

    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("high")
    _WORKER.append(Laboratory(SCALES[scale], corpora, cache, cache))


def _run(group: tuple[Job, ...]) -> tuple[tuple[Job, ...], dict[str, NDArray[np.float64]], float]:
    from benchmarks.lab.train import loss_per_byte, score, train

    lab = _WORKER[0]
    begun = time.perf_counter()
    recipe = lab.scale.recipe(group[0].recipe)
    texts = {name: lab.corpora[name] for name in NATURAL}
    pools = lab.pools(group[0].recipe)
    models = train(recipe, texts, [job.mixture for job in group], pools, [job.seed for job in group], lab.scale.device)
    rows = SEEN if group[0].recipe in ("proxy", "matched") else UNSEEN
    held = {
        name: (lab.corpora[name.removeprefix("val_")], rows["targets" if name in TARGETS else "validation"])
        for name in METRICS
    }
    found = {name: loss_per_byte(models, text, part) for name, (text, part) in held.items()}
    if group[0].kind == "expert":
        tables = {name: score(models, text.held[part]) for name, (text, part) in held.items()}
        for r, job in enumerate(group):
            np.savez(lab._table(job.run), **{name: table[:, :, r] for name, table in tables.items()})
    return group, found, time.perf_counter() - begun
