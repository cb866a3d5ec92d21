"""The command export: a mixture, to the file that a loader takes."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixfast._text.atomic import write_together
from mixfast._text.flat_yaml import _unique, _yaml_name
from mixfast.cli import _inputs as inputs
from mixfast.cli import _options as shared
from mixfast.cli._inputs import InputError
from mixfast.errors import MixtureError

if TYPE_CHECKING:
    from mixfast.exporters import Export
    from mixfast.mixture import Mixture
    from mixfast.sampler import MixtureSchedule

_EXAMPLES = """\
examples:
  mixfast export mixture.yaml --to megatron --paths "/data/{domain}_text_document" --out blend.txt
  mixfast export mixture.yaml --to olmo-core --paths paths.yaml --tokens counts.yaml --budget 1T
  mixfast export mixture.yaml --to huggingface --tokens counts.yaml --documents documents.yaml --out mix.py
  mixfast export mixture.yaml --to llama-factory --unit sequences

formats, and what each takes:
"""


# A colon ends the name only before white space: dclm:code and s3://bucket hold others.
_ENTRY = re.compile(
    r"""
    \s* (?: "(?P<double>(?:[^"\\]|\\.)*)" | '(?P<single>(?:[^']|'')*)' | (?P<plain>[^\s"'#:&*!|>%@`{}\[\],?-][^#]*?) )
    \s*: (?:\s+(?P<value>[^\s#].*))? (?:\s+\#.*)?\Z
    """,
    re.VERBOSE,
)
_PATH = re.compile(r"""(?: "([^"\\]*)" | '([^']*)' | ([^\s"'#&*!|>%@`{}\[\],?].*?) )(?:\s+\#.*)?\Z""", re.VERBOSE)


def add(commands: Any) -> None:
    """Add the command to the parser."""
    export = shared.add_command(commands, "export", _export, "write a mixture for a data loader", _EXAMPLES, _Formats)
    export.add_argument("mixture", metavar="MIXTURE", help="yaml or json file of shares, or of MixtureSchedule.to_json")
    export.add_argument("--to", metavar="NAME", required=True, help="the format; below")
    export.add_argument("--out", metavar="FILE", help="file to write; default: stdout")
    what = export.add_argument_group("what is known of the domains")
    what.add_argument(
        "--paths",
        metavar="FILE|PATTERN",
        help="yaml or json of name: path (or a list of paths), or a pattern such as /data/{domain}",
    )
    what.add_argument("--tokens", metavar="FILE", help="tokens of each domain; 3.2B, 1e9 and 2_000 are fine")
    what.add_argument("--documents", metavar="FILE", help="documents (rows) of each domain in those tokens")
    what.add_argument("--budget", metavar="N", type=shared.checked(shared.budget), help="tokens of the training run")
    what.add_argument(
        "--unit",
        metavar="documents|sequences",
        help="what the loader draws: documents, which need --tokens and --documents, or sequences of equal length",
    )
    what.add_argument("--block-size", metavar="N", type=int, help="sequences of a block of levanter (default 2048)")
    what.add_argument("--batch-size", metavar="N", type=int, help="sequences of a global batch, for a schedule")


class _Formats(argparse.RawDescriptionHelpFormatter):
    """The help, which alone needs the formats loaded: their names and options below the examples."""

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
        raise InputError(f"--to {args.to} takes {_flags(takes) or 'no options'}; it has no use for {_flags(unused)}")
    shared.check_folder("--out", args.out)
    for name in ("tokens", "documents"):
        if name in given:
            given[name] = inputs.numbers(given[name], inputs.count)
    if "{domain}" not in given.get("paths", "{domain}"):
        given["paths"] = paths(given["paths"])
    written = exporters.export(_mixture(args.mixture), args.to, **given)
    for note in written.notes:
        print(f"mixfast: note: {' '.join(note.split())}", file=sys.stderr)
    _deliver(written, args.out)
    return 0


def _mixture(path: str) -> Mixture | MixtureSchedule:
    """Return the mixture of a file, or the schedule."""
    from mixfast.mixture import Mixture
    from mixfast.sampler import SCHEDULE_FORMAT

    if Path(path).suffix.lower() == ".json":
        document: Any = None
        with contextlib.suppress(ValueError):  # told by the reader of mixtures
            document = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        if isinstance(document, dict) and document.get("format") == SCHEDULE_FORMAT:
            return inputs.schedule(path)
    return Mixture.load(path)


def _deliver(written: Export, out: str | None) -> None:
    if out is None:
        print(written.text, end="")
        return
    write_together({out: written.text})
    print(f"wrote {out}: {len(written.values)} domains for {written.format}")


def paths(path: str) -> dict[str, str | list[str]]:
    """Return the paths by domain of a yaml or json file: one each, or several as lines of ``- path`` or a JSON list."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        found = _json_paths(text) if Path(path).suffix.lower() == ".json" else _yaml_paths(text)
        if not found:
            raise InputError("it names no domain; expected lines of 'name: path'")
        return found
    except (InputError, MixtureError, UnicodeDecodeError) as problem:
        raise InputError(f"{path}: {problem}") from None


def _json_paths(text: str) -> dict[str, str | list[str]]:
    try:
        document = json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as problem:
        raise InputError(f"not JSON: {problem}") from None
    if not isinstance(document, dict):
        raise InputError("expected one JSON object of name to path")
    return document


def _yaml_paths(text: str) -> dict[str, str | list[str]]:
    """The small part of YAML that this needs: ``name: path``, or ``name:`` and lines of ``- path`` below it."""
    found: dict[str, str | list[str]] = {}
    several: list[str] | None = None
    for place, line in enumerate(text.splitlines(), start=1):
        bare = line.strip()
        if not bare or bare.startswith("#") or bare == "---":
            continue
        if bare.startswith("- "):
            if several is None:
                raise InputError(f"line {place}: '- path' stands below no name: {bare!r}")
            several.append(_path(bare[2:].strip(), place))
            continue
        match = _ENTRY.match(line.rstrip())
        if match is None:
            raise InputError(f"line {place} is not 'name: path': {bare!r}")
        name = _yaml_name(match, place)
        if name in found:
            raise InputError(f"line {place}: {name!r} is given twice")
        several = [] if match["value"] is None else None
        found[name] = _path(match["value"], place) if several is None else several
    return found


def _path(text: str, place: int) -> str:
    match = _PATH.match(text)
    if match is None:
        raise InputError(f"line {place}: {text!r} is no path; quote it, and write several as lines of '- path'")
    return next(group for group in match.groups() if group is not None)
