"""The command demo: the full workflow on a small real table, with a line on the meaning of each number."""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mixfast import solver
from mixfast._text.atomic import write_together
from mixfast._text.folders import new_folders
from mixfast._text.numbers import count, percent
from mixfast._text.outputs import COUNTS, RUNS, TABLE, check_output
from mixfast._text.table import text_table
from mixfast.cli import _options as shared
from mixfast.cli._answer import Answer
from mixfast.cli._console import say, show
from mixfast.cli._documents import answer as print_answer
from mixfast.cli._info import info_report, table_found
from mixfast.cli._reading import numbers
from mixfast.cli._refusals import InputError, refuse_without
from mixfast.cli._solve_report import held_out_report, solve_found, solve_report
from mixfast.cli._streams import nobody_reads
from mixfast.region import Region
from mixfast.tables import ExpertTable

DATA = Path(__file__).resolve().parent.parent / "data"
_SAMPLE = {
    "demo.npz": TABLE,
    "demo_tokens.yaml": COUNTS,
    "demo_ratios.csv": RUNS,
    "demo_metrics.csv": RUNS,
    "demo_models.csv": RUNS,
}
_BUDGET, _EPS = 512_000, 1e-3
# The 97.5 % quantile of Student's t with 4 degrees of freedom: the models were trained with five seeds.
_STUDENT = 2.776
_KL = (0.0, 0.001, 0.01, 0.1, 1.0)

_WHAT = """\
Fourteen small language models (experts), each trained on one domain of real text, scored four texts that none of them has
seen: questions and answers on Perl, a computing dictionary, fortune cookies, and the manual of Python. How much of each
domain should one model be trained on to do well on all four? (Source of the numbers: mixfast/data/README.md.)"""

_READ_INFO = """\
How to read it: each row is one token of a target text, each column one expert. `only doc_perl` is the loss of the best
single expert; the expert for DNA is far worse. On average over the targets, `uniform mixture` (equal shares) beats every
single expert."""

_READ_SOLVE = """\
How to read it
  share         fraction of the training tokens to take from the domain
  90% interval  bootstrap interval: how much the share depends on the windows of text that were scored
  epochs        passes over the tokens of the domain; domains at 4.00 are at the limit
  price         decrease of the loss for each percentage point by which the limit is relaxed: where more data helps most
  range         interval in which the share can move while the loss rises by at most 0.001: your freedom of choice
  no limits     the optimum with unlimited tokens; the difference in value is the cost of the limits
  gap           the certificate: the loss is convex, so no allowed mixture is better by more than this"""

_READ_HELD_OUT = """\
How to read it: the mixture is fitted on four fifths of the windows and compared on the last fifth, which it has not seen.
There are no token limits here, so that all mixtures have the same freedom. `eg-paper` is the loop of the MixMin paper."""

_READ_PATH = """\
How to read it: with more weight on the KL term the mixture stays closer to the natural shares of the data, and the loss is
higher. `distance` is the total variation to the natural shares: the fraction of tokens that would move between domains."""

_READ_MODELS = """\
How to read it: change of the loss against training on all text once (natural), on windows of the targets that no expert
scored; mean of five seeds with its 95% interval. The mixtures read no token more than 4 times, as above; `eg-paper` is the
result of the MixMin loop on this table, projected to the nearest allowed mixture; `mixfast, wear` is
solve --max-epochs 32 --wear --kl 0.05. The certificate holds for the ensemble of experts; this table shows what trained
models gain."""

_END = """\
To try it: `mixfast demo --copy-to .` writes the table, token counts and runs of the demo into this folder. Then, for example:
  mixfast solve demo.npz --tokens demo_tokens.yaml --budget 512K --objective worst
  mixfast solve demo.npz --cap doc_perl=20% --limit "code:code_*:10%..30%" --out mixture.yaml"""


def add(commands: shared.Commands) -> None:
    """Add the command to the parser."""
    demo = shared.add_command(commands, "demo", _demo)
    demo.add_argument(
        "--copy-to", metavar="FOLDER", help="only write the files of the demo to a folder, to try commands on"
    )
    shared.add_force(demo)


def _demo(args: argparse.Namespace) -> int:
    refuse_without(args, "--force", "--copy-to", "it changes the files that are written")
    if args.copy_to is not None:
        folder = Path(args.copy_to)
        if os.path.lexists(folder) and not folder.is_dir():
            raise InputError(f"--copy-to {args.copy_to} is no folder: choose another name, or delete it")
        for name, kind in _SAMPLE.items():
            check_output(folder / name, kind, InputError, force=args.force)
        with new_folders(folder):
            write_together({folder / name: (DATA / name).read_bytes() for name in _SAMPLE})
        say(f"wrote to {folder}: {', '.join(_SAMPLE)}")
        print_answer(args, {}, wrote=[str(folder / name) for name in _SAMPLE])
        return 0
    found: dict[str, Any] = {}
    # A section is shown as soon as it is computed.
    for text, more in sections(DATA):
        show(text, flush=True)
        found |= more
        if nobody_reads():
            break
    print_answer(args, found)
    return 0


def sections(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Compute and yield the sections of the demo: the text of each, and its numbers for ``--json``."""
    path, counts = folder / "demo.npz", folder / "demo_tokens.yaml"
    table = ExpertTable.load(path)
    losses = solver.lone_losses(table)
    text = f"{_WHAT}\n\n{_title('mixfast info demo.npz')}\n{info_report(path.name, table, losses)}\n\n{_READ_INFO}\n"
    yield text, {"info": table_found(table, losses)}

    region = Region.from_tokens(numbers(str(counts), count), _BUDGET, max_epochs=4)
    solution = solver.solve(table, region)
    answer = Answer(solution, solution.bootstrap(), solution.ranges(_EPS), _EPS, _BUDGET)
    command = "mixfast solve demo.npz --tokens demo_tokens.yaml --budget 512K --max-epochs 4"
    yield f"{_title(command)}\n{solve_report(answer)}\n\n{_READ_SOLVE}\n", {"solve": solve_found(answer, None)}

    held_out = solver.holdout(table, share=0.2, seed=0)
    report = held_out_report(held_out, limited=False)
    text = f"{_title('mixfast solve demo.npz --held-out 0.2')}\n{report}\n\n{_READ_HELD_OUT}\n"
    yield text, {"held_out": [vars(row) for row in held_out.rows]}

    rows, steps = [], []
    for kl, step in zip(_KL, solver.path(table, region, kl=_KL), strict=True):
        distance = step.mixture.total_variation(region.prior)
        rows.append([f"{kl:g}", f"{step.loss:.5f}", percent(distance), f"{step.gap:.1e}"])
        steps.append({"kl": kl, "loss": step.loss, "distance": distance, "gap": step.gap})
    path_table = text_table(["kl", "loss", "distance", "gap"], rows)
    yield f"{_title('mixfast solve ... --kl 0.001, 0.01, 0.1, 1')}\n{path_table}\n\n{_READ_PATH}\n", {"path": steps}

    yield f"{_models(folder / 'demo_models.csv')}\n\n{_END}", {}


def _models(path: Path) -> str:
    """Return the measured losses of larger models that were trained on mixtures of the demo."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    targets = [name for name in rows[0] if name.startswith("target_")]
    loss: dict[str, list[list[float]]] = {}
    for row in rows:
        loss.setdefault(row["mixture"], []).append([float(row[name]) for name in targets])
    natural = np.array(loss["natural"])
    lines = []
    for name in loss:
        change = 100 * (np.array(loss[name]) / natural - 1)
        change = np.column_stack([change.mean(axis=1), change])
        half = _STUDENT * change.std(axis=0, ddof=1) / np.sqrt(len(change))
        lines.append(
            [name, *(f"{mean:+.1f} ± {width:.1f}" for mean, width in zip(change.mean(axis=0), half, strict=True))]
        )
    shown = text_table(["trained on", "all", *(name.removeprefix("target_") for name in targets)], lines)
    head = "Larger models (4 times the operations of an expert) were trained on five mixtures. Change of the loss in percent:"
    return f"{head}\n\n{shown}\n\n{_READ_MODELS}"


def _title(command: str) -> str:
    return f"$ {command}\n"
