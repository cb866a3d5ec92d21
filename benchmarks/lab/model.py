"""Train many small causal transformers as one: every parameter has a leading axis of runs, every product is batched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """Sizes of one model: V tokens, windows of T tokens, D wide, `layers` blocks of `heads` heads."""

    vocabulary: int
    window: int
    width: int
    layers: int
    heads: int
    hashes: int
    """Rows of the table of hashed pairs of tokens; with it, a small model does not have to learn which token follows which."""

    @property
    def parameters(self) -> int:
        """Parameters of one model."""
        block = 12 * self.width**2 + 2 * self.width
        return self.width * (self.vocabulary + self.hashes + self.window + 1) + self.layers * block


class Models(nn.Module):
    """R models of one shape; model r begins with the weights of seeds[r], independently of the other models."""

    def __init__(self, shape: Shape, seeds: Sequence[int]) -> None:
        super().__init__()
        self.shape = shape
        self.runs = runs = len(seeds)
        randoms = [torch.Generator().manual_seed(seed) for seed in seeds]

        def normal(*size: int, scale: float) -> nn.Parameter:
            return nn.Parameter(torch.stack([torch.randn(*size, generator=random) for random in randoms]) * scale)

        d, block = shape.width, range(shape.layers)
        self.token = normal(shape.vocabulary, d, scale=0.5 / math.sqrt(d))
        self.pair = normal(shape.hashes, d, scale=0.02)
        self.place = normal(shape.window, d, scale=0.02)
        self.qkv = nn.ParameterList(normal(d, 3 * d, scale=1 / math.sqrt(d)) for _ in block)
        self.out = nn.ParameterList(normal(d, d, scale=0.5 / math.sqrt(d * shape.layers)) for _ in block)
        self.up = nn.ParameterList(normal(d, 4 * d, scale=1 / math.sqrt(d)) for _ in block)
        self.down = nn.ParameterList(normal(4 * d, d, scale=0.5 / math.sqrt(4 * d * shape.layers)) for _ in block)
        self.norms = nn.ParameterList(nn.Parameter(torch.ones(runs, 1, d)) for _ in range(2 * shape.layers + 1))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return log p of tokens[:, :, 1:] given those before, nats: (R, B, T + 1) int64 -> (R, B, T) float32."""
        runs, batch, _ = tokens.shape
        shape, seen = self.shape, tokens[:, :, :-1]
        before = F.pad(seen[:, :, :-1], (1, 0))
        pair = (before * 1_000_003 + seen * 8_191) % shape.hashes
        x = _rows(self.token, seen) + _rows(self.pair, pair) + self.place[:, None]
        x = x.reshape(runs, batch * shape.window, shape.width)
        for layer in range(shape.layers):
            x = x + torch.bmm(self._attend(_norm(x, self.norms[2 * layer]), layer, batch), self.out[layer])
            h = torch.bmm(_norm(x, self.norms[2 * layer + 1]), self.up[layer])
            x = x + torch.bmm(F.relu(h).square(), self.down[layer])
        logits = torch.bmm(_norm(x, self.norms[-1]), self.token.transpose(1, 2))
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, :, 1:].reshape(-1), reduction="none")
        return -loss.view(runs, batch, shape.window)

    def clip(self, longest: float) -> None:
        """Clip each model's gradient to this length."""
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        length = sum(g.flatten(1).square().sum(1) for g in gradients).sqrt()  # type: ignore[union-attr]
        factor = (longest / length.clamp_min(longest)).detach()
        for g in gradients:
            g.mul_(factor.view(-1, *[1] * (g.dim() - 1)))

    def _attend(self, x: Tensor, layer: int, batch: int) -> Tensor:
        shape = self.shape
        qkv = torch.bmm(x, self.qkv[layer]).view(self.runs * batch, shape.window, 3, shape.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return mixed.transpose(1, 2).reshape(self.runs, batch * shape.window, shape.width)


def _rows(table: Tensor, index: Tensor) -> Tensor:
    """Return rows of each run's own table: (R, V, D), (R, B, T) -> (R, B, T, D)."""
    runs, size, width = table.shape
    start = torch.arange(runs, device=index.device).view(runs, 1, 1) * size
    return F.embedding(index + start, table.reshape(runs * size, width))


def _norm(x: Tensor, gain: Tensor) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],)) * gain
