"""Make the sample in the package: the experts' token table of the targets, the swarm, and larger models trained on proposed mixtures."""

from __future__ import annotations

import csv
import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

import mixfast
from benchmarks.lab.corpora import DOMAINS, TARGETS
from benchmarks.lab.laboratory import SEEN, VALIDATION, Laboratory
from benchmarks.lab.methods import KL, PASSES, WEAR
from benchmarks.lab.store import Job
from benchmarks.lab.swarm import proxies

WINDOWS = 150
"""Windows of each target: so many that the table stays below a megabyte."""
LIMIT = 1_000_000
SEEDS = 5
NAMES = {name: name if name.startswith("target_") else f"target_{name}" for name in TARGETS}


def make(lab: Laboratory, workers: int, folder: Path) -> None:
    """Train what is missing and write demo.npz, demo_tokens.yaml, demo_ratios.csv, demo_metrics.csv and demo_models.csv."""
    lab.train(proxies(lab), workers)
    arrays = table(lab)
    write_npz(folder / "demo.npz", arrays)
    size = (folder / "demo.npz").stat().st_size
    if size > LIMIT:
        raise ValueError(f"demo.npz has {size} bytes, more than {LIMIT}: take fewer windows")
    budget = lab.scale.final.windows * lab.scale.final.shape.window
    head = f"# Tokens that a run of {budget} tokens can find of each domain."
    lines = [head, *(f"{name}: {lab.supply[name]}" for name in DOMAINS)]
    (folder / "demo_tokens.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name, rows in zip(("ratios", "metrics"), swarm(lab), strict=True):
        _write_csv(folder / f"demo_{name}.csv", rows)
    _write_csv(folder / "demo_models.csv", models(lab, workers, folder / "demo.npz"))


def table(lab: Laboratory) -> dict[str, np.ndarray]:
    """Return the arrays of demo.npz: evenly spaced windows of each target under every expert, a row for each token."""
    scored = [lab.expert(name) for name in DOMAINS]
    have = SEEN["targets"].stop
    taken = np.arange(WINDOWS) * have // WINDOWS
    window = lab.scale.proxy.shape.window
    rows = [np.stack([expert[name][taken] for expert in scored], axis=2).reshape(-1, len(DOMAINS)) for name in TARGETS]
    count = WINDOWS * window
    return {
        "loglik": np.concatenate(rows).astype(np.float16),
        "domains": np.array(DOMAINS),
        "sequence": (np.arange(count * len(TARGETS)) // window).astype(np.int32),
        "group": (np.arange(count * len(TARGETS)) // count).astype(np.int32),
        "group_names": np.array([NAMES[name] for name in TARGETS]),
    }


def swarm(lab: Laboratory) -> tuple[list[list[Any]], list[list[Any]]]:
    """Return the lines of the ratios and the metrics: dense, sparse and repeated runs; losses in nats per byte."""
    runs = lab.store.runs(lambda row: row["kind"] in ("dense", "sparse", "replicate"))
    metrics = (*VALIDATION, *TARGETS)
    ratios = [["run", *DOMAINS], *([run, *(repr(lab.store.mixture(run)[name]) for name in DOMAINS)] for run in runs)]
    losses = [[run, *(f"{lab.store.metric(run, name):.6f}" for name in metrics)] for run in runs]
    return ratios, [["run", *(NAMES.get(name, name) for name in metrics)], *losses]


def models(lab: Laboratory, workers: int, path: Path) -> list[list[Any]]:
    """Train final models on five mixtures for the mean of the targets, and return their losses as lines of a csv."""
    known = mixfast.ExpertTable.load(path)
    region = lab.region(capped=True)
    with warnings.catch_warnings():
        # The warning is expected: its 100 steps end above the tolerance.
        warnings.simplefilter("ignore", mixfast.errors.NotConvergedWarning)
        paper = mixfast.solve(known, method="eg-paper").mixture
    mixtures = {
        "natural": region.prior,
        "uniform": region.project(np.full(len(DOMAINS), 1 / len(DOMAINS))),
        "eg-paper": region.project(paper.align(region.domains).weights),
        "mixfast": mixfast.solve(known, region).mixture.align(region.domains).weights,
        "mixfast, wear": mixfast.solve(known, lab.region(capped=True, max_epochs=PASSES), wear=WEAR, kl=KL)
        .mixture.align(region.domains)
        .weights,
    }
    jobs = [
        Job(
            f"sample-{name.replace(', ', '-')}-s{seed}",
            "sample",
            "final",
            mixfast.Mixture(region.domains, shares),
            seed,
        )
        for seed in range(SEEDS)
        for name, shares in mixtures.items()
    ]
    lab.train(jobs, workers)
    lines: list[list[Any]] = [["mixture", "seed", *(NAMES[name] for name in TARGETS), *DOMAINS]]
    for job, mixture in zip(jobs, [*mixtures] * SEEDS, strict=True):
        losses = [f"{lab.store.metric(job.run, name):.6f}" for name in TARGETS]
        shares = [f"{lab.store.mixture(job.run)[name]:.6f}" for name in DOMAINS]
        lines.append([mixture, job.seed, *losses, *shares])
    return lines


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a compressed npz; fixed dates, so that the same arrays give the same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for key, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            info = zipfile.ZipInfo(f"{key}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, member.getvalue(), compresslevel=9)


def _write_csv(path: Path, rows: list[list[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
