"""Molecules, their measurements and their fingerprints. The data lie beside the checkout; fingerprints are kept in the build folder."""

from __future__ import annotations

import csv
import gzip
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.facts import DATA, ROOT

FOLDER = DATA / "assays"
# Everything that can be computed again; git ignores it.
CACHE = ROOT / "build" / "assays"
RADIUS, BITS = 2, 1024


@dataclass(frozen=True)
class Assays:
    """M molecules measured in A assays."""

    smiles: tuple[str, ...]
    names: tuple[str, ...]
    values: NDArray[np.float32]  # (M, A), NaN where not measured

    def __post_init__(self) -> None:
        assert self.values.shape == (len(self.smiles), len(self.names))


def toxcast(path: Path = FOLDER / "toxcast.csv.gz") -> Assays:
    """Return the assays of ToxCast: 1 for active, 0 for inactive."""
    return _read(path)


def chembl(path: Path = FOLDER / "chembl_5thresh.csv.gz") -> Assays:
    """Return the targets of ChEMBL as assays: pChEMBL values."""
    return _read(path)


def _read(path: Path) -> Assays:
    with gzip.open(path, "rt", newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        header = next(lines)
        rows = list(lines)
    values = np.array([[np.nan if cell == "" else float(cell) for cell in row[1:]] for row in rows], dtype=np.float32)
    return Assays(tuple(row[0] for row in rows), tuple(header[1:]), values)


def fingerprints(smiles: Sequence[str], bits: int = BITS, folder: Path = CACHE) -> NDArray[np.uint8]:
    """Return the Morgan fingerprints (M, bits) of RDKit, 0 or 1. A molecule that RDKit cannot read has only zeros."""
    text = "\n".join([f"{RADIUS} {bits}", *smiles])
    path = folder / f"fingerprints-{hashlib.sha256(text.encode()).hexdigest()[:16]}.npy"
    if path.exists():
        packed: NDArray[np.uint8] = np.load(path)
    else:
        packed = np.packbits(_computed(smiles, bits), axis=1)
        folder.mkdir(parents=True, exist_ok=True)
        np.save(path, packed)
    return np.unpackbits(packed, axis=1, count=bits)


def _computed(smiles: Sequence[str], bits: int) -> NDArray[np.uint8]:
    from rdkit import Chem, RDLogger
    from rdkit.Chem import rdFingerprintGenerator

    RDLogger.DisableLog("rdApp.*")
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=RADIUS, fpSize=bits)
    out = np.zeros((len(smiles), bits), dtype=np.uint8)
    for row, text in zip(out, smiles, strict=True):
        molecule = Chem.MolFromSmiles(text)
        if molecule is not None:
            row[:] = generator.GetFingerprintAsNumPy(molecule)
    return out
