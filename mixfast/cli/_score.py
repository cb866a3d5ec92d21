"""The command score: score texts with one expert model for each domain, and write the table for `mixfast solve`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixfast._text.names import counted
from mixfast._text.progress import working
from mixfast._text.visible import quote
from mixfast.cli import _documents as documents
from mixfast.cli import _options as shared
from mixfast.cli import _types as types
from mixfast.cli._console import manner, note, say, tell
from mixfast.cli._progress import ProgressLine
from mixfast.cli._refusals import InputError
from mixfast.tables import ExpertTable, ShardedTable

if TYPE_CHECKING:
    from mixfast.score import Progress

# Seconds between two updates of the line on a terminal, and between two lines of a log.
_TERMINAL_SECONDS, _LOG_SECONDS = 0.2, 30.0

_EXAMPLES = """\
examples:
  mixfast score --experts runs/web runs/code runs/books --texts targets/ --out table
  mixfast score --experts runs/* --texts questions.jsonl --prompt-field question --field answer --out table
  mixfast score --experts web=runs/1/final code=runs/2/final --texts news.txt --lines --level token --out table.npz
  torchrun --nproc-per-node 8 -m mixfast score --experts runs/* --texts targets/ --out /shared/table

The table is a folder of parts, with a table.json that lists them; `mixfast solve` takes the folder. If --out ends in .npz, it is one
file, for which the whole table must fit in memory.

An interrupted run continues when the same command is given again: finished parts are kept in the folder OUT.parts until the table
is written. Only one run can use that folder at a time; a second one is refused, and the message names the process of the first.
"""


def add(commands: shared.Commands) -> None:
    """Add the command to the parser."""
    score = shared.add_command(
        commands,
        "score",
        _score,
        _EXAMPLES,
    )
    score.add_argument(
        "--experts",
        metavar="[NAME=]DIR",
        nargs="+",
        required=True,
        help="folders of causal language models with tokenizers; the domain is named after the folder, or NAME",
    )
    score.add_argument(
        "--texts",
        metavar="FILE|DIR",
        required=True,
        help="texts to score: .txt, .jsonl or .json, also compressed (.gz, .zst), or .parquet; each file or sub-folder is a group",
    )
    score.add_argument(
        "--out",
        metavar="DIR|FILE",
        required=True,
        help="table to write: a folder of parts, or one file if it ends in .npz",
    )
    shared.add_force(score)
    texts = score.add_argument_group("texts")
    texts.add_argument(
        "--lines", action="store_true", help="each line of a .txt file is a document; default: the whole file is one"
    )
    texts.add_argument(
        "--field",
        metavar="NAME",
        help='field of .jsonl, .json and .parquet files to score; default: "text", or "answer" with --prompt-field',
    )
    texts.add_argument(
        "--prompt-field", metavar="NAME", help="field with a prompt, after which the other field is scored"
    )
    what = score.add_argument_group("what is scored")
    what.add_argument(
        "--level",
        choices=["sequence", "token"],
        default="sequence",
        help="rows of the table: documents (default) or tokens",
    )
    what.add_argument(
        "--per",
        choices=["auto", "token", "byte"],
        default="auto",
        help="unit of the lengths that losses are divided by; auto (default): tokens if all experts share a tokenizer, else bytes",
    )
    what.add_argument(
        "--window",
        metavar="N",
        type=types.whole(1),
        help="tokens of context; default: the most that all experts allow, at most 2048",
    )
    what.add_argument(
        "--stride",
        metavar="N",
        type=types.whole(1),
        help="tokens between the starts of windows; default: half the window",
    )
    what.add_argument(
        "--bos",
        metavar="auto|none|TOKEN",
        default="auto",
        help="token before each document; auto (default): the BOS token of the tokenizer; without one the first token is not scored",
    )
    work = score.add_argument_group("work")
    work.add_argument("--device", metavar="NAME", default="auto", help="auto (default), cpu, cuda or cuda:<number>")
    work.add_argument("--dtype", default="auto", help="auto (default), float32, bfloat16 or float16")
    work.add_argument(
        "--batch-tokens",
        metavar="N",
        type=types.whole(1),
        help="tokens of a batch, halved if memory runs out; default: 4096 on a CPU, 32768 on a GPU",
    )


def _score(args: argparse.Namespace) -> int:
    from mixfast import score

    began = time.perf_counter()
    texts = score.Texts.of(args.texts, lines=args.lines, field=args.field, prompt=args.prompt_field)
    reporter = _Reporter()
    with working("scoring") as work:
        # The reporter draws: it knows experts and tokens.
        work.never_draw()
        try:
            table = score.score(
                _experts(args.experts),
                texts,
                level=args.level,
                per=args.per,
                window=args.window,
                stride=args.stride,
                bos=args.bos,
                device=args.device,
                dtype=args.dtype,
                batch_tokens=args.batch_tokens,
                out=args.out,
                force=args.force,
                progress=reporter,
            )
        finally:
            reporter.end()
    say(
        f"wrote {args.out}: {table.n_rows:,} rows x {table.n_domains} experts{_in_parts(table)}, {time.perf_counter() - began:.1f} s"
        f"{reporter.found}"
    )
    say(f"next: mixfast solve {quote(args.out)}")
    documents.answer(args, _found(table, reporter, time.perf_counter() - began), wrote=[args.out])
    return 0


def _in_parts(table: ExpertTable | ShardedTable) -> str:
    return f" in {counted(len(table.parts), 'part')}" if isinstance(table, ShardedTable) else ""


def _found(table: ExpertTable | ShardedTable, reporter: _Reporter, seconds: float) -> dict[str, Any]:
    return {
        "rows": table.n_rows,
        "domains": list(table.domains),
        "groups": list(table.group_names),
        "parts_of_earlier_run": reporter.parts_found,
        "seconds": seconds,
    }


def _experts(given: Sequence[str]) -> list[str] | dict[str, str]:
    """Return the folders, as a mapping by name if any of them has a name; the others are named after their folder."""
    if not any("=" in one and not Path(one).is_dir() for one in given):
        return list(given)
    named: dict[str, str] = {}
    for one in given:
        name, equals, path = one.partition("=")
        if not equals or Path(one).is_dir():
            name, path = Path(one).resolve().name, one
        if name in named:
            raise InputError(f"--experts names {name} twice: {named[name]} and {path}")
        named[name] = path
    return named


def _line(progress: Progress) -> str:
    """Describe the progress of this process; with several ranks, it stands for that of the others."""
    alone = progress.parts == progress.all_parts
    who = "" if alone else "rank 0, "
    if progress.to_join:
        return f"{who}joining, part {progress.joined} of {progress.to_join}"
    before = f" ({progress.found} found finished)" if progress.found and alone else ""
    return (
        f"{who}{progress.expert}, part {progress.part} of {progress.parts}{before}, "
        f"{progress.tokens:,} tokens, {progress.tokens / max(progress.seconds, 1e-9):,.0f} tokens/s"
    )


class _Reporter:
    """Report the progress of scoring on stderr: in one line on a terminal, in lines now and then in a log."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._line = ProgressLine()
        self._last = time.perf_counter()
        # For the summary: parts that an earlier run had finished.
        self.found, self.parts_found = "", 0

    def __call__(self, progress: Progress) -> None:
        now = time.perf_counter()
        if progress.found and not self.found:
            self.parts_found = progress.found
            self.found = f"; {progress.found:,} of {progress.all_parts:,} parts are of an earlier run"
            note(
                f"continues an earlier run: {progress.found:,} of {progress.all_parts:,} parts are finished "
                f"({progress.found_texts:,} of {progress.texts:,} texts, each counted for every expert)"
            )
            return
        if manner().quiet or now - self._last < (_TERMINAL_SECONDS if self._terminal else _LOG_SECONDS):
            return
        self._last = now
        text = _line(progress)
        if self._terminal:
            self._line.show(text)
        else:
            tell(text)

    def end(self) -> None:
        """Clear the line on the terminal."""
        self._line.clear()
