"""``python -m benchmarks.lab CORPORA [--scale cpu|gpu] [--workers 2]``: train what is missing, choose mixtures, evaluate them, print the tables.

CORPORA is a folder of NAME.txt.xz, one for each domain and target of `corpora.py`. It can be interrupted and continued at any time.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from benchmarks.lab import claims, figures, judge, questions, sample
from benchmarks.lab.corpora import DOMAINS, NATURAL, TARGETS
from benchmarks.lab.evidence import Evidence
from benchmarks.lab.laboratory import MAX_EPOCHS, Laboratory
from benchmarks.lab.life import live
from benchmarks.lab.methods import about_repetition, choices
from benchmarks.lab.scales import SCALES
from benchmarks.lab.stages import SEEDS, enlarged, finals, load, save, search
from benchmarks.lab.swarm import matched, proxies

RESULTS = Path(__file__).resolve().parent / "results"
SAMPLE = Path(__file__).resolve().parents[2] / "mixfast" / "data"
# One of six entries of ours that were fixed before any final model was trained; since the first results, the others are compared with it.
OURS = "mixfast, tokens"
STAGES = ("proxies", "matched", "next", "matched-next", "choose", "finals", "judge", "questions", "life", "claims")


def main() -> None:
    """Run the requested stages, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lab", description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("corpora", type=Path)
    parser.add_argument("--scale", choices=SCALES, default="cpu")
    parser.add_argument(
        "--stage",
        choices=(*STAGES, "sample"),
        nargs="+",
        default=STAGES,
        help="all by default, except sample, which writes the sample in mixfast/data again",
    )
    parser.add_argument(
        "--workers", type=int, help="processes with one thread each; by default one per core, or one for a GPU"
    )
    parser.add_argument(
        "--cache", type=Path, default=Path("~/.cache/mixfast-lab").expanduser(), help="cut texts, experts' tables"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=range(SEEDS), help="of the final models")
    options = parser.parse_args()
    missing = [name for name in (*NATURAL, *TARGETS) if not (options.corpora / f"{name}.txt.xz").exists()]
    if missing:
        parser.error(
            f"{options.corpora} lacks {', '.join(f'{name}.txt.xz' for name in missing)}; benchmarks/lab/README.md says where they come from"
        )
    if options.workers is None:
        options.workers = (os.cpu_count() or 1) if SCALES[options.scale].device == "cpu" else 1
    lab = Laboratory(SCALES[options.scale], options.corpora, RESULTS / options.scale, options.cache)
    if "proxies" in options.stage:
        lab.train(proxies(lab), options.workers)
    if "matched" in options.stage:
        lab.train(matched(lab.store), options.workers)
    if "next" in options.stage:
        search(lab, options.workers, matched=False)
    if "matched-next" in options.stage:
        search(lab, options.workers, matched=True)
    chosen = RESULTS / options.scale / "choices.csv"
    if "choose" in options.stage:
        save(choices(Evidence(lab), load(chosen) if chosen.exists() else ()), chosen)
    if "finals" in options.stage:
        lab.train([*finals(load(chosen), options.seeds), *enlarged(lab)], options.workers)
    folder = RESULTS / options.scale
    if "judge" in options.stage:
        rows = judge.verdicts(load(chosen), lab.store, lab.supply, sum(lab.supply[name] for name in DOMAINS))
        judge.save(rows, folder / "verdicts.csv")
        figures.methods(rows, folder / "methods.svg")
        # `--stage questions` has the table of the other rows.
        rows = [row for row in rows if not about_repetition(row.method)]
        for capped in (True, False):
            print(f"\nno token read more than {MAX_EPOCHS} times" if capped else "\nany shares, or limits of their own")
            print(judge.table(rows, capped=capped))
        print(f"\n{OURS} minus another method, points of percent, no token read more than {MAX_EPOCHS} times")
        print(judge.against(rows, OURS))
    if "questions" in options.stage:
        rows = judge.verdicts(load(chosen), lab.store, lab.supply, sum(lab.supply[name] for name in DOMAINS))
        compared = questions.compared(rows)
        answers = [
            *questions.ranks(Evidence(lab)),
            *compared,
            *questions.target(rows),
            *questions.guards(load(chosen), lab.store),
        ]
        questions.save(answers, folder / "questions.csv")
        print(questions.table(rows), questions.differences(compared), sep="\n\n")
    if "life" in options.stage:
        print(live(lab, options.workers, folder / "life.csv"))
    if "claims" in options.stage:
        evidence = Evidence(lab)
        found = [
            *claims.features(evidence),
            *claims.shape(evidence),
            *claims.collapse(evidence),
            *claims.transfer(evidence, [one for one in load(chosen) if not about_repetition(one.method)]),
            *claims.ranks(evidence),
            *claims.updates(folder / "life.csv"),
        ]
        claims.save(found, folder / "claims.csv")
        figures.features(found, folder / "features.svg")
        figures.ranks(lab.store, folder / "ranks.svg")
    if "sample" in options.stage:
        sample.make(lab, options.workers, SAMPLE)


if __name__ == "__main__":
    main()
