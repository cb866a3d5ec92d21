"""Train several models at once, each on its own mixture, and score texts with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

import mixfast
from benchmarks.lab.corpora import Text
from benchmarks.lab.model import Models
from benchmarks.lab.scales import Recipe

WARM = 30
"""Steps of warm-up; then the learning rate falls linearly to 5 %."""


def train(
    recipe: Recipe,
    texts: Mapping[str, Text],
    mixtures: Sequence[mixfast.Mixture],
    pools: Mapping[str, int],
    seeds: Sequence[int],
    device: str,
) -> Models:
    """Return one model for each mixture.

    Model r reads the stream of `MixtureSampler(mixtures[r], pools, seed=seeds[r])`, so a domain has only its first `pools[domain]`
    windows; when they are used up, they are read again in a new order.
    """
    start = dict(zip(texts, np.cumsum([0, *(len(text.train) for text in texts.values())]), strict=False))
    windows = torch.from_numpy(np.concatenate([text.train for text in texts.values()]))
    read = []
    for mixture, seed in zip(mixtures, seeds, strict=True):
        used, _ = mixture.drop_zeros()
        place = mixfast.MixtureSampler(used, {name: pools[name] for name in used}, seed=seed).positions(
            0, recipe.windows
        )
        offset = np.array([start[name] for name in used.domains])
        read.append(torch.from_numpy(offset[place.domain] + place.index).view(recipe.steps, recipe.batch))
    order = torch.stack(read, 1)
    models = Models(recipe.shape, seeds).to(device)
    fused = torch.optim.AdamW(models.parameters(), lr=recipe.rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    for step in range(recipe.steps):
        rate = min((step + 1) / WARM, 1 - 0.95 * max(0, step - WARM) / (recipe.steps - WARM))
        for group in fused.param_groups:
            group["lr"] = recipe.rate * rate
        batch = windows[order[step]].to(device)
        fused.zero_grad()
        _loss(models, batch).backward()
        models.clip(1.0)
        fused.step()
    return models


@torch.compile(dynamic=False)
def _loss(models: Models, batch: torch.Tensor) -> torch.Tensor:
    # A sum over models: no model's gradient depends on another.
    return -models(batch).mean((1, 2)).sum()


@torch.no_grad()
def score(models: Models, windows: NDArray[np.int64], *, chunk: int = 32) -> NDArray[np.float32]:
    """Return log p of tokens 1.. of each window under each model, nats: (n, T + 1) -> (n, T, R)."""
    device = models.token.device
    parts = []
    for first in range(0, len(windows), chunk):
        piece = torch.from_numpy(windows[first : first + chunk]).to(device)
        parts.append(models(piece.expand(models.runs, -1, -1)).permute(1, 2, 0).cpu().numpy())
    return np.concatenate(parts)


def loss_per_byte(models: Models, text: Text, rows: slice) -> NDArray[np.float64]:
    """Return each model's loss on some held-out windows, nats per byte."""
    total = score(models, text.held[rows]).sum(axis=(0, 1), dtype=np.float64)
    return -total / text.held_bytes[rows].sum()
