"""Folders of shards for the benchmarks of scale: ``python -m benchmarks.shards FOLDER --rows 2e8 --domains 16``.

Each row is a token. Tokens come in documents of consecutive rows; a document belongs to one of the domains that have a share in the
truth (a third of all, Dirichlet distributed). Its tokens are draws around that domain's mean in a few dimensions, and the log-likelihoods of
the experts are the log-densities of unit Gaussians around their means. Three disturbances make the table less ideal than its truth: the difficulty
of a token (exponential, the same for all experts), noise of each number (uniform), and shares that drift from part to part. The
optimum is therefore inside of a face: several domains have a share, and most domains have none.

A part depends on the seed and its number only, so any number of processes write the same files.
"""

from __future__ import annotations

import argparse
import struct
import sys
import time
import zipfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import facts

# Rows that are computed at a time: their log-likelihoods stay in the cache.
_PIECE = 1 << 14


@dataclass(frozen=True)
class Shards:
    """A table of `rows` x `domains` log-likelihoods in `parts` files: part-00000.npz, ... or .npy."""

    rows: int
    domains: int
    parts: int = 64
    dtype: str = "float16"
    suffix: str = ".npz"
    seed: int = 18
    document: int = 64
    latent: int = 4
    noise: float = 0.5

    @property
    def nbytes(self) -> int:
        """Bytes of the log-likelihoods."""
        return self.rows * self.domains * np.dtype(self.dtype).itemsize

    @property
    def names(self) -> list[str]:
        """Return the names of the domains."""
        return [f"domain{k:02d}" for k in range(self.domains)]

    def rows_of(self, part: int) -> int:
        """Return the number of rows of a part; they differ by at most one."""
        return (part + 1) * self.rows // self.parts - part * self.rows // self.parts

    def world(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the means of the experts (K, latent) and the true shares (K,), most of them 0."""
        rng = np.random.default_rng([self.seed, self.domains])
        mean = rng.standard_normal((self.domains, self.latent))
        share = np.zeros(self.domains)
        support = max(2, round(self.domains / 3))
        share[rng.permutation(self.domains)[:support]] = rng.dirichlet(np.full(support, 2.0))
        return mean, share

    def part(self, number: int) -> np.ndarray:
        """Return the log-likelihoods (rows_of(number), K) of a part."""
        mean, share = self.world()
        rng = np.random.Generator(np.random.SFC64([self.seed, self.domains, number]))
        # The shares of a part differ from the truth by about 20 %.
        share = share * rng.gamma(25.0, size=self.domains)
        below = np.cumsum(share / share.sum())
        constant = -0.5 * (mean**2).sum(axis=1) - 0.5 * self.latent * np.log(2 * np.pi) - self.noise / 2
        slope, level = mean.T.astype(np.float32), constant.astype(np.float32)
        out = np.empty((self.rows_of(number), self.domains), dtype=self.dtype)
        for start in range(0, len(out), _PIECE):
            piece = out[start : start + _PIECE]
            documents = -(-len(piece) // self.document)
            own = np.minimum(np.searchsorted(below, rng.random(documents)), self.domains - 1)
            x = rng.standard_normal((len(piece), self.latent), dtype=np.float32)
            x += np.repeat(mean[own].astype(np.float32), self.document, axis=0)[: len(piece)]
            same = np.float32(-0.5) * np.einsum("nd,nd->n", x, x)
            same -= rng.standard_exponential(len(piece), dtype=np.float32)
            piece_loglik = x @ slope
            piece_loglik += level
            piece_loglik += same[:, None]
            random = rng.integers(0, 256, size=piece.shape, dtype=np.uint8)
            piece_loglik += random * np.float32(self.noise / 255.0)
            piece[...] = piece_loglik
        return out

    def write_part(self, number: int, folder: Path) -> None:
        """Write one part."""
        values = self.part(number)
        path = folder / f"part-{number:05d}{self.suffix}"
        if self.suffix == ".npy":
            np.save(path, values)
        else:
            np.savez(path, loglik=values, domains=np.array(self.names))

    def write(self, folder: Path, *, processes: int | None = None) -> list[Path]:
        """Write all parts into a new folder, and return their paths."""
        folder.mkdir(parents=True)
        work = partial(self.write_part, folder=folder)
        count = min(processes or facts.processors(), self.parts)
        if count == 1:
            for number in range(self.parts):
                work(number)
        else:
            with ProcessPoolExecutor(count) as pool:
                list(pool.map(work, range(self.parts)))
        return paths(folder)


def paths(folder: Path) -> list[Path]:
    """Return the parts of a folder in the order of their numbers."""
    return sorted(path for path in folder.iterdir() if path.name.startswith("part-"))


def loglik(path: Path) -> np.ndarray:
    """Map the log-likelihoods of one part; nothing is read yet."""
    if path.suffix == ".npy":
        return np.load(path, mmap_mode="r")
    with zipfile.ZipFile(path) as file:
        entry = file.getinfo("loglik.npy")
        with path.open("rb") as raw:
            raw.seek(entry.header_offset + 26)
            start = entry.header_offset + 30 + sum(struct.unpack("<HH", raw.read(4)))
            raw.seek(start)
            version = np.lib.format.read_magic(raw)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(raw)
            return np.memmap(path, dtype, "r", raw.tell(), shape)


def gap(folder: Path, weights: np.ndarray, *, processes: int | None = None, parts: int | None = None) -> float:
    """Frank-Wolfe gap over the simplex, nats, recomputed in float64 by the reference from all rows of a folder, or of its first parts."""
    w = np.maximum(np.asarray(weights, dtype=np.float64), 0.0)
    if not np.isfinite(w).all() or w.sum() <= 0:
        return np.inf
    w = w / w.sum()
    found = paths(folder)[:parts]
    count = min(processes or facts.processors(), len(found))
    work = partial(_slope, w=w)
    if count == 1:
        answers = list(map(work, found))
    else:
        with ProcessPoolExecutor(count) as pool:
            answers = list(pool.map(work, found))
    slope = np.sum([one for one, _ in answers], axis=0) / sum(rows for _, rows in answers)
    return float(w[w > 0] @ slope[w > 0] - slope.min())


def _slope(path: Path, w: np.ndarray) -> tuple[np.ndarray, int]:
    from mixfast import reference

    table = loglik(path)
    total = np.zeros(table.shape[1])
    for start in range(0, len(table), _PIECE):
        piece = np.asarray(table[start : start + _PIECE])
        total += reference.gradient(piece, np.ones(len(piece)), w)
    return total, len(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a folder of shards."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shards", description="Write a folder of shards.")
    parser.add_argument("folder", type=Path, help="a folder that does not exist yet")
    parser.add_argument("--rows", type=float, required=True, help="rows of all parts, for example 2e8")
    parser.add_argument("--domains", type=int, required=True)
    parser.add_argument("--parts", type=int, default=Shards.parts, help=f"default {Shards.parts}")
    parser.add_argument("--dtype", default=Shards.dtype, choices=["float16", "float32"], help=f"default {Shards.dtype}")
    parser.add_argument("--suffix", default=Shards.suffix, choices=[".npz", ".npy"], help=f"default {Shards.suffix}")
    parser.add_argument("--seed", type=int, default=Shards.seed, help=f"default {Shards.seed}")
    given = parser.parse_args(arguments)
    shards = Shards(int(given.rows), given.domains, given.parts, given.dtype, given.suffix, given.seed)
    began = time.perf_counter()
    shards.write(given.folder)
    seconds = time.perf_counter() - began
    print(
        f"{shards.rows} x {shards.domains} {shards.dtype}, {shards.nbytes / 1e9:.2f} GB in {shards.parts} parts, {seconds:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
