"""The command export: write a mixture or a schedule as the file that a data loader takes."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixfast._text.outputs import loader_file
from mixfast.cli import _documents as documents
from mixfast.cli import _options as shared
from mixfast.cli import _outputs as outputs
from mixfast.cli import _reading as reading
from mixfast.cli import _types as types
from mixfast.cli._console import note, say
from mixfast.cli._refusals import InputError, refuse_without

if TYPE_CHECKING:
    from mixfast.mixture import Mixture
    from mixfast.sampler import MixtureSchedule

_EXAMPLES = """\
examples:
  mixfast export mixture.yaml --to megatron --paths "/data/{domain}_text_document" --out blend.txt
  mixfast export mixture.yaml --to olmo-core --paths paths.yaml --tokens counts.yaml --budget 1T
  mixfast export mixture.yaml --to huggingface --tokens counts.yaml --documents documents.yaml --out mix.py
  mixfast export mixture.yaml --to llama-factory --unit sequences

formats, and the options that each takes:
"""


def add(commands: shared.Commands) -> None:
    """Add the command to the parser."""
    export = shared.add_command(commands, "export", _export, _EXAMPLES, _Formats)
    export.add_argument(
        "mixture", metavar="MIXTURE", help=f"{shared.MIXTURES}, or a schedule that MixtureSchedule.to_json wrote"
    )
    export.add_argument("--to", metavar="NAME", required=True, help="format; see below")
    export.add_argument("--out", metavar="FILE", help="file to write; default: stdout")
    shared.add_force(export)
    what = export.add_argument_group("facts on the domains")
    what.add_argument(
        "--paths",
        metavar="FILE|PATTERN",
        help="yaml or json file of name: path (or a list of paths), or a pattern such as /data/{domain}",
    )
    what.add_argument("--tokens", metavar="FILE", help=f"tokens of each domain: {shared.COUNTS}")
    what.add_argument("--documents", metavar="FILE", help=f"documents (rows) of each domain: {shared.COUNTS}")
    what.add_argument("--budget", metavar="N", type=types.budget, help="tokens of the whole training run")
    what.add_argument(
        "--unit",
        metavar="documents|sequences",
        help="unit that the loader samples: documents (needs --tokens and --documents) or sequences of equal length",
    )
    what.add_argument(
        "--block-size",
        metavar="N",
        type=types.whole(1),
        help="sequences of a mixture block of levanter (default 2048)",
    )
    what.add_argument(
        "--batch-size",
        metavar="N",
        type=types.whole(1),
        help="sequences of a global batch; converts the steps of a schedule",
    )
    shared.add_domain_paths(what)


class _Formats(argparse.RawDescriptionHelpFormatter):
    """Print the formats and their options below the examples; the exporters are only loaded for the help."""

    def add_text(self, text: str | None) -> None:
        if text is _EXAMPLES:
            from mixfast import exporters

            rows = [f"  {to:<15}{_flags(exporters.options(to))}" for to in exporters.FORMATS]
            text = _EXAMPLES + "\n".join(rows)
        super().add_text(text)


def _flags(names: tuple[str, ...]) -> str:
    return " ".join(f"--{name.replace('_', '-')}" for name in names)


def _export(args: argparse.Namespace) -> int:
    from mixfast import exporters

    takes = exporters.options(args.to)
    given = {
        name: getattr(args, name)
        for name in ("paths", "tokens", "documents", "budget", "unit", "block_size", "batch_size")
        if getattr(args, name) is not None
    }
    if unused := tuple(name for name in given if name not in takes):
        raise InputError(f"--to {args.to} takes {_flags(takes) or 'no options'}; it does not use {_flags(unused)}")
    refuse_without(args, "--force", "--out", "it changes the file that is written")
    for name in ("tokens", "documents"):
        if name in given:
            given[name] = reading.tokens(args, name)
    if "paths" in given:
        given["paths"] = _paths(given["paths"])
    written = exporters.export(_mixture(args), args.to, **given)
    if args.out is not None:
        outputs.check(args, out=loader_file(written.format, written.suffix, written.text))
    for text in written.notes:
        note(text)
    if args.out is not None:
        written.save(args.out, force=args.force)
        say(f"wrote {args.out}: {len(written.values)} domains for {written.format}")
    elif not args.json:
        outputs.print_file(written.text)
    found = {"format": written.format, "suffix": written.suffix, "values": dict(written.values), "text": written.text}
    documents.answer(args, found, wrote=[args.out])
    return 0


def _paths(given: str) -> Any:
    """Return the paths of a file, or the pattern, whose placeholder the exporters check."""
    if re.search(r"\{.*?\}", given) and not Path(given).exists():
        return given
    if not Path(given).exists():
        raise InputError(
            f"--paths {given}: no such file of name: path exists, and a pattern must contain {{domain}}, as in /data/{{domain}}"
        )
    return reading.document(given, "name: path")


def _mixture(args: argparse.Namespace) -> Mixture | MixtureSchedule:
    """Return the mixture of a file, or the schedule."""
    from mixfast.sampler import SCHEDULE_FORMAT

    # The first key of a schedule lies within the first bytes.
    with open(args.mixture, "rb") as handle:
        start = handle.read(4096)
    if SCHEDULE_FORMAT.encode() in start:
        if args.mixture_paths is not None:
            raise InputError(
                f"--mixture-paths has no effect: {args.mixture} is a schedule, which already names its domains"
            )
        return reading.schedule(args.mixture)
    reading.check_paths(args)
    return reading.mixture(args.mixture, args.mixture_paths)
