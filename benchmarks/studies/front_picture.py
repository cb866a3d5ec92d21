"""The picture at the top of the README: python -m benchmarks.studies front_picture. It shows the demo's mixture before and after, and how the loss changed.

Left: the natural share of each domain and the share that `solve` finds, with at most four epochs of any domain. Right: how the loss of
larger models, trained on both mixtures with five seeds, differs on text that no expert scored (`mixfast/data/demo_models.csv`).
Prints the same numbers. The file has no background and text in a mid grey, so that it can be read on white and on black.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from html import escape
from pathlib import Path

import numpy as np

import mixfast
from benchmarks.facts import ROOT
from benchmarks.lab.judge import half_interval

DATA = ROOT / "mixfast" / "data"
TOKENS, EPOCHS = 512_000, 4
TARGETS = {
    "target_faq_perl": "Perl's FAQ",
    "target_foldoc": "FOLDOC, a dictionary",
    "target_fortunes": "fortunes",
    "target_doc_python": "Python's manual",
}
# Mid tones: readable on white and on black.
TEXT, NATURAL, SOLVED = "#7a828b", "#a3abb4", "#3f86d6"
WIDTH, ROW, TOP, BOTTOM = 860, 22, 78, 34
NAMES, BARS, SHARE = 126, 250, 0.30  # left panel: width of the names, length of a bar, and the share that it stands for
SCALE = 17.0  # right panel: the length of one per cent


def run(path: Path = ROOT / "docs" / "_static" / "before-and-after.svg") -> None:
    """Write the picture as svg and print its numbers."""
    natural, solved, epochs = shares()
    changes = effects()
    for name in sorted(solved, key=lambda name: -solved[name]):
        capped = "  at the cap" if epochs[name] > EPOCHS - 1e-6 else ""
        print(f"{name:16} natural {natural[name]:7.2%}  solved {solved[name]:7.2%}  epochs {epochs[name]:.2f}{capped}")
    for name, (mean, half) in changes.items():
        print(f"{name:22} {mean:+.1f} +- {half:.1f} %")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(picture(natural, solved, epochs, changes), encoding="utf-8")


def shares() -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Natural shares, solved shares, and the epochs of the solved ones."""
    table = mixfast.ExpertTable.load(DATA / "demo.npz")
    lines = (DATA / "demo_tokens.yaml").read_text(encoding="utf-8").splitlines()
    tokens = {name: int(count) for name, count in (line.split(": ") for line in lines if line[0] != "#")}
    region = mixfast.Region.from_tokens(tokens, TOKENS, max_epochs=EPOCHS)
    solution = mixfast.solve(table, region)
    natural = dict(zip(region.domains, region.prior.tolist(), strict=True))
    return natural, solution.mixture.as_dict(), solution.epochs or {}


def effects(mixture: str = "mixfast") -> dict[str, tuple[float, float]]:
    """Change of the loss against the natural mixture, per cent, and half of its 95 % interval over the seeds; the mean first."""
    rows = list(csv.DictReader((DATA / "demo_models.csv").open(encoding="utf-8")))
    found = [
        [
            [float(row[target]) for target in TARGETS]
            for row in sorted(rows, key=lambda row: int(row["seed"]))
            if row["mixture"] == name
        ]
        for name in ("natural", mixture)
    ]
    changes = 100.0 * (np.array(found[1]) / np.array(found[0]) - 1.0)
    columns = {"mean of the four": changes.mean(axis=1)} | dict(zip(TARGETS.values(), changes.T, strict=True))
    return {name: (float(values.mean()), half_interval(values.tolist())) for name, values in columns.items()}


def picture(
    natural: Mapping[str, float],
    solved: Mapping[str, float],
    epochs: Mapping[str, float],
    changes: Mapping[str, tuple[float, float]],
) -> str:
    """Draw both panels."""
    order = sorted(solved, key=lambda name: (-solved[name], -natural[name]))
    height = TOP + ROW * len(order) + BOTTOM
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
        'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" font-size="13">',
        "<title>Shares of 14 domains before and after solve, and the change of the loss on unseen text</title>",
        _text(0, 18, "Share of the training tokens", size=15, weight=600),
        *_key(0, 42, (("natural", NATURAL), ("found by mixfast", SOLVED))),
        _text(NAMES + BARS + 62, 42, "times read", anchor="end", size=12),
    ]
    for place, name in enumerate(order):
        y = TOP + ROW * place
        out += [
            _text(NAMES - 10, y + 4, name, anchor="end"),
            _bar(NAMES, y - 7, BARS * natural[name] / SHARE, 6, NATURAL),
            _bar(NAMES, y, BARS * solved[name] / SHARE, 8, SOLVED),
            _text(NAMES + BARS * max(solved[name], natural[name]) / SHARE + 6, y + 5, _per_cent(solved[name]), size=12),
            _text(NAMES + BARS + 62, y + 4, _epochs(epochs[name]), anchor="end", size=12),
        ]
    out.append(_text(0, height - 10, f"Given limit: no domain is read more than {EPOCHS} times.", size=12))
    out += _right(changes, height)
    return "\n".join([*out, "</svg>"]) + "\n"


def _right(changes: Mapping[str, tuple[float, float]], height: int) -> list[str]:
    """The panel of the changes: a bar, its interval and its number for each target."""
    left = 505
    out = [
        _text(left, 18, "Change of the loss on unseen text", size=15, weight=600),
        _text(left, 42, "larger models, five seeds, against the natural mixture", size=12),
    ]
    for place, (name, (mean, half)) in enumerate(changes.items()):
        y = TOP + 52 * place + (14 if place else 0)
        first = place == 0
        zero, end = WIDTH - 20, WIDTH - 20 + SCALE * mean
        low, high = zero + SCALE * (mean - half), zero + SCALE * (mean + half)
        out += [
            _text(left, y + 4, name, size=14 if first else 13, weight=600 if first else 400),
            _text(left, y + 22, f"{_signed(mean)} ± {half:.1f} %", size=14 if first else 13, weight=600, fill=SOLVED),
            _bar(end, y - 3, zero - end, 18, SOLVED, opacity=0.5),
            f'<path d="M{low:.1f} {y + 6}H{high:.1f}M{low:.1f} {y + 1}v10M{high:.1f} {y + 1}v10" stroke="{SOLVED}" stroke-width="2" fill="none"/>',
        ]
    bottom = TOP + 52 * (len(changes) - 1) + 42
    out.append(f'<path d="M{WIDTH - 20} {TOP - 12}V{bottom}" stroke="{TEXT}" stroke-width="1"/>')
    out.append(_text(WIDTH - 20, bottom + 16, "0", anchor="middle", size=12))
    out.append(_text(left, height - 10, "± and bars: 95 % interval over the seeds.", size=12))
    return out


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 13, weight: int = 400, fill: str = TEXT
) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" fill="{fill}">{escape(text)}</text>'


def _bar(x: float, y: float, length: float, height: float, fill: str, *, opacity: float = 1.0) -> str:
    return f'<rect x="{x:.1f}" y="{y:g}" width="{max(length, 0.0):.1f}" height="{height:g}" rx="1.5" fill="{fill}" fill-opacity="{opacity:g}"/>'


def _key(x: float, y: float, entries: tuple[tuple[str, str], ...]) -> list[str]:
    out = []
    for name, fill in entries:
        out += [_bar(x, y - 9, 18, 9, fill), _text(x + 24, y, name, size=12)]
        x += 40 + 7 * len(name)
    return out


def _per_cent(share: float) -> str:
    # Rounded first: the last bit of a share at its cap must not decide.
    return "0" if share < 5e-5 else f"{100 * round(share, 6):.2f} %"


def _epochs(times: float) -> str:
    return "0" if times < 0.005 else f"{times:.1f}"


def _signed(value: float) -> str:
    return f"{chr(0x2212) if value < 0 else '+'}{math.fabs(value):.1f}"
