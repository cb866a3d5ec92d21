"""Make `examples/assays.npz`, the cut of ToxCast that an example reads: ``python -m benchmarks.assays.cut``. It needs RDKit and the data beside the checkout.

Source: the ToxCast programme of the US EPA, a work of the US government in the public domain, as MoleculeNet cut it.

The rule, which was fixed before any model was fitted: `MOLECULES` molecules at random with the seed 0; of the assays, those with the most active
molecules among them, one of each kind. The first two words of a name, such as TOX21_p53, are its kind: repeats of an assay have the same.
"""

from __future__ import annotations

import numpy as np

from benchmarks.assays.data import fingerprints, toxcast
from benchmarks.facts import ROOT

MOLECULES, BITS, ASSAYS = 3000, 512, 16
OUT = ROOT / "examples" / "assays.npz"


def main() -> None:
    every = toxcast()
    chosen = np.sort(np.random.default_rng(0).permutation(len(every.smiles))[:MOLECULES])
    bits = fingerprints([every.smiles[row] for row in chosen], BITS)
    # A molecule that RDKit cannot read has no bits.
    read = bits.any(axis=1)
    bits, values = bits[read], every.values[chosen[read]]
    label = np.where(np.isnan(values), -1, values).astype(np.int8)
    first: dict[str, int] = {}
    for assay in np.argsort(-(label == 1).sum(axis=0), kind="stable").tolist():
        first.setdefault("_".join(every.names[assay].split("_")[:2]), assay)
    kept = list(first.values())[:ASSAYS]
    names = np.array([every.names[assay] for assay in kept])
    np.savez_compressed(OUT, bits=np.packbits(bits, axis=1), label=label[:, kept], assay=names)
    print(
        f"wrote {OUT.name}: {len(bits)} molecules, {BITS} bits, {len(kept)} assays, {OUT.stat().st_size / 1e3:.0f} kB"
    )
    for assay, name in zip(kept, names, strict=True):
        print(
            f"{name}: {(label[:, assay] >= 0).sum()} measured, {(label[:, assay] == 1).mean() * len(label):.0f} active"
        )


if __name__ == "__main__":
    main()
