"""Cut the sample of `mixfast demo` from the real tables: python -m benchmarks.make_demo_sample [TABLES] [DESTINATION].

TABLES is the folder of the real tables (default ../shared/data/tables), DESTINATION defaults to mixfast/data. The same
tables give the same bytes; mixfast/data/README.md says what the rows are.
"""

from __future__ import annotations

import csv
import io
import re
import sys
import zipfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
TARGETS = ("faq_perl", "foldoc", "fortunes")
# As many whole windows as keep the file below 1 MB.
WINDOWS = 45
LIMIT = 1_000_000


def cut(tables: Path) -> dict[str, np.ndarray]:
    """Return the arrays of the sample: `WINDOWS` evenly spaced windows of each target, with every expert."""
    rows, sequence, group = [], [], []
    experts: np.ndarray | None = None
    for code, target in enumerate(TARGETS):
        with np.load(tables / "token" / f"target_{target}.npz") as data:
            window, loglik, names = data["sequence"], data["loglik"], data["experts"]
        if experts is not None and not np.array_equal(names, experts):
            raise ValueError(f"target_{target} has other experts than {TARGETS[0]}")
        experts = names
        chosen = np.arange(WINDOWS) * ((int(window.max()) + 1) // WINDOWS)
        taken = np.isin(window, chosen)
        rows.append(loglik[taken].astype(np.float16))
        sequence.append(np.searchsorted(chosen, window[taken]) + code * WINDOWS)
        group.append(np.full(int(taken.sum()), code))
    return {
        "loglik": np.concatenate(rows),
        "domains": np.array(experts),
        "sequence": np.concatenate(sequence).astype(np.int32),
        "group": np.concatenate(group).astype(np.int32),
        "group_names": np.array(TARGETS),
    }


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a compressed npz; fixed dates, so that the same arrays give the same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for key, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            info = zipfile.ZipInfo(f"{key}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, member.getvalue(), compresslevel=9)


def train_bytes(tables: Path) -> dict[str, int]:
    """Return the bytes of each expert's training file, from "Expert training" in the README of the tables."""
    section = (
        (tables / "README.md").read_text(encoding="utf-8").partition("## Expert training")[2].partition("\n## ")[0]
    )
    return {name: int(count) for name, count in re.findall(r"^\| (\w+) \| (\d+) \| \d+ \|", section, re.MULTILINE)}


def swarm(tables: Path) -> tuple[list[list[str]], list[list[str]]]:
    """Return the lines of the swarm's ratios and metrics: the runs of one budget, those trained at an optimum marked as chosen."""
    found = []
    for name in ("ratios", "metrics"):
        with (tables / "swarm" / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            header, *lines = csv.reader(file)
        # Experts had twice the budget of the others.
        lines = [line for line in lines if not line[0].startswith("expert_")]
        if name == "ratios":
            header.append("chosen")
            for line in lines:
                line.append(str(int(line[0].startswith("mixmin_"))))
        found.append([header, *lines])
    return found[0], found[1]


def main(arguments: list[str]) -> None:
    """Write demo.npz, demo_tokens.yaml, demo_ratios.csv and demo_metrics.csv."""
    tables = Path(arguments[0]) if arguments else ROOT.parent / "shared" / "data" / "tables"
    destination = Path(arguments[1]) if len(arguments) > 1 else ROOT / "mixfast" / "data"
    arrays, counts = cut(tables), train_bytes(tables)
    if set(counts) != set(arrays["domains"].tolist()):
        raise ValueError(
            f"the README counts the bytes of {sorted(counts)}, the tables have {sorted(arrays['domains'])}"
        )
    destination.mkdir(parents=True, exist_ok=True)
    write_npz(destination / "demo.npz", arrays)
    lines = ["# Bytes of the file each expert was trained on. The experts read bytes, so one byte is one token."]
    lines += [f"{name}: {counts[name]}" for name in arrays["domains"].tolist()]
    (destination / "demo_tokens.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name, table in zip(("demo_ratios.csv", "demo_metrics.csv"), swarm(tables), strict=True):
        with (destination / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(table)
    size = (destination / "demo.npz").stat().st_size
    if size > LIMIT:
        raise ValueError(f"demo.npz has {size} bytes, more than {LIMIT}: take fewer windows")
    sys.stdout.write(
        f"demo.npz: {arrays['loglik'].shape[0]} rows x {arrays['loglik'].shape[1]} experts, {size} bytes\n"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
