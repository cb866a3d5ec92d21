"""The two sizes of the laboratory: one for two cores and some hours, and one for a GPU."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.lab.model import Shape

RECIPES = {
    "proxy": "reads each text once, and is scored on the windows that methods choose by",
    "matched": "a proxy whose pools are so small that it repeats each domain as often as a final model of the same mixture",
    "judge": "a proxy that is scored on the windows of final models",
    "final": "has the natural amount of each text, and is scored on windows that no method has seen",
    "fresh": "a final model that has all text",
}


@dataclass(frozen=True)
class Recipe:
    """How one model is trained: windows of `shape.window` tokens, `batch` of them a step, AdamW with linear decay."""

    name: str
    shape: Shape
    steps: int
    batch: int
    rate: float

    @property
    def windows(self) -> int:
        """Windows that one run reads."""
        return self.steps * self.batch

    @property
    def operations(self) -> float:
        """Floating-point operations of one run: 6 for each matrix weight and token, including the head."""
        shape = self.shape
        weights = 12 * shape.width**2 * shape.layers + shape.width * shape.vocabulary
        return 6.0 * weights * self.windows * shape.window


@dataclass(frozen=True)
class Scale:
    """A laboratory: the recipes of proxies and final models, and how they are run."""

    name: str
    proxy: Recipe
    final: Recipe
    together: int
    """Models in one batch."""
    device: str
    dense: int
    sparse: int
    """Proxy runs of the swarm."""

    def recipe(self, name: str) -> Recipe:
        """Return the recipe of this name, one of RECIPES."""
        return self.final if name in ("final", "fresh") else self.proxy


CPU = Scale(
    name="cpu",
    proxy=Recipe("proxy", Shape(512, 64, 64, 2, 2, 2048), steps=250, batch=16, rate=8e-3),
    final=Recipe("final", Shape(512, 64, 96, 2, 3, 2048), steps=500, batch=16, rate=6e-3),
    together=4,
    device="cpu",
    dense=32,
    sparse=32,
)
# An expert of the smallest domain reads 2895 windows of these at most, and a natural mixture 50 410.
GPU = Scale(
    name="gpu",
    proxy=Recipe("proxy", Shape(4096, 256, 128, 4, 4, 8192), steps=360, batch=8, rate=4e-3),
    final=Recipe("final", Shape(4096, 256, 256, 6, 4, 8192), steps=1500, batch=16, rate=2e-3),
    together=32,
    device="cuda",
    dense=64,
    sparse=64,
)
SCALES = {"cpu": CPU, "gpu": GPU}
