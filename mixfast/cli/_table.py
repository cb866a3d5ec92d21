"""The command table: write a table of experts in another form, merge tables, and verify a folder of parts."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixfast._text.names import counted, listing, shown
from mixfast._text.numbers import size
from mixfast._text.outputs import ROWS
from mixfast._text.visible import quote
from mixfast.cli import _documents as documents
from mixfast.cli import _options as shared
from mixfast.cli import _outputs as outputs
from mixfast.cli import _types as types
from mixfast.cli._console import detail, note, say
from mixfast.cli._experts import add_table_options
from mixfast.cli._progress import progress
from mixfast.cli._refusals import InputError

if TYPE_CHECKING:
    from mixfast.tables import Converted

_EXAMPLES = """\
examples:
  mixfast table split table.npz --out big --parts 64
  mixfast table pack big --out table.npz
  mixfast table pack big --out fewer --parts 8
  mixfast table cast big --dtype float16 --out half
  mixfast table merge news=a.npz talk=b.npz --group-by-file --out both
  mixfast table verify big

A table is an npz, npy or parquet file, or a folder of parts part-*.npz, part-*.npy or part-*.parquet, usually with
a table.json. Rows are read and written in pieces, so a table may be larger than the memory. Parts that a solve
refuses (compressed, of several types or formats) are read too. The output is complete or absent.
"""
_FORMATS = ("npz", "npy", "parquet")
_INPUT = "npz, npy, parquet, a folder of parts"


def add(commands: shared.Commands) -> None:
    """Add the command to the parser."""
    table = shared.add_command(commands, "table", None, _EXAMPLES)
    steps = table.add_subparsers(title="steps", required=True, metavar="STEP")

    pack = _add_step(steps, "pack", _pack, "write a table as one file, or in another number of parts")
    _add_input(pack, f"table in any form: {_INPUT}, or a folder of the MixMin code")
    add_table_options(pack)
    _add_output(pack, "file to write (.npz, .npy or .parquet), or a folder with --parts")
    _add_parts(pack, "write a folder of this many parts")
    _add_dtype(pack)

    split = _add_step(steps, "split", _split, "divide a table into parts that many processes can read")
    _add_input(split, f"table to divide: {_INPUT}")
    _add_output(split, "folder to write")
    _add_parts(split, "number of parts (default: parts of about 1 GB); no part ends inside a sequence")
    _add_dtype(split)

    cast = _add_step(steps, "cast", _cast, "write a table in another floating type, and say what that changes")
    _add_input(cast, f"table to convert: {_INPUT}")
    _add_output(cast, "file to write (.npz, .npy or .parquet), or a folder with the parts of the table")
    _add_dtype(cast, required=True)
    _add_format(cast)

    merge = _add_step(
        steps, "merge", _merge, "write the rows of several tables over the same domains as one folder of parts"
    )
    merge.add_argument(
        "tables",
        metavar="[NAME=]TABLE",
        nargs="+",
        help=f"tables to merge ({_INPUT}); columns are aligned by the names of the domains; NAME is the group of its rows with --group-by-file",
    )
    words = "make the rows of each table a group, named NAME or like its file, in place of the groups that it has; default: keep the groups"
    merge.add_argument("--group-by-file", action="store_true", help=words)
    _add_output(merge, "folder to write")
    _add_parts(merge, "number of parts (default: the parts of the tables)")
    _add_dtype(merge)

    verify = _add_step(steps, "verify", _verify, "compare the parts of a folder with the hashes in its table.json")
    verify.add_argument("table", metavar="FOLDER", help="folder of parts with a table.json")


def _add_step(
    steps: shared.Commands, name: str, run: Callable[[argparse.Namespace], int], help: str
) -> argparse.ArgumentParser:
    return shared.add_step(steps, name, run, help)


def _add_input(step: argparse.ArgumentParser, help: str) -> None:
    step.add_argument("table", metavar="TABLE", help=help)


def _add_output(step: argparse.ArgumentParser, help: str) -> None:
    may_be_file = "file" in help
    step.add_argument("--out", metavar="FILE|FOLDER" if may_be_file else "FOLDER", required=True, help=help)
    if may_be_file:
        shared.add_force(step)
    else:
        step.set_defaults(force=False)


def _add_parts(step: argparse.ArgumentParser, help: str) -> None:
    step.add_argument("--parts", metavar="N", type=types.whole(1), help=help)
    _add_format(step)


def _add_format(step: argparse.ArgumentParser) -> None:
    words = "format of the parts of a folder (default npz); npy holds log-likelihoods only; parquet needs mixfast[io]"
    step.add_argument("--format", choices=_FORMATS, help=words)


def _add_dtype(step: argparse.ArgumentParser, *, required: bool = False) -> None:
    words = "floating type of the log-likelihoods" + (
        "" if required else " (default: that of the table, or the widest of several tables)"
    )
    step.add_argument("--dtype", choices=("float16", "float32", "float64"), required=required, help=words)
    words = "write log-likelihoods below the range of --dtype (-65504 for float16) as -inf, a probability of 0; default: refuse them"
    step.add_argument("--to-minus-inf", action="store_true", help=words)


def _pack(args: argparse.Namespace) -> int:
    if args.parts is None and not _is_file(args.out):
        raise InputError(f"--out {args.out}: a file ends in .npz, .npy or .parquet; for a folder give --parts N")
    return _convert(args, [args.table], task=args.task, conditional=args.conditional)


def _split(args: argparse.Namespace) -> int:
    _refuse_file(args, "split")
    return _convert(args, [args.table])


def _cast(args: argparse.Namespace) -> int:
    args.parts = None
    return _convert(args, [args.table])


def _merge(args: argparse.Namespace) -> int:
    _refuse_file(args, "merge")
    if not args.group_by_file:
        for text in args.tables:
            if "=" in text and not os.path.exists(text) and os.path.exists(text.partition("=")[2]):
                raise InputError(f"{text}: a name before a table has an effect only with --group-by-file")
        return _convert(args, args.tables)
    pairs = [_named(text) for text in args.tables]
    names = [name for name, _ in pairs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"several tables have the name {listing(twice)}: write NAME=TABLE to give each its own group")
    return _convert(args, [path for _, path in pairs], group_names=names)


def _named(text: str) -> tuple[str, str]:
    """Return the name and the path of ``[NAME=]TABLE``."""
    name, equals, path = text.partition("=")
    if equals and name and not os.path.exists(text):
        return name, path
    # Not `stem`: the name of a folder may hold a point.
    base = Path(os.path.abspath(text)).name
    return base.rpartition(".")[0] if _is_file(text) else base, text


def _is_file(path: str) -> bool:
    return path.lower().endswith((".npz", ".npy", ".parquet"))


def _refuse_file(args: argparse.Namespace, step: str) -> None:
    if _is_file(args.out):
        raise InputError(
            f"--out {args.out}: mixfast table {step} writes a folder; mixfast table pack writes the rows of a folder to one file"
        )


def _convert(args: argparse.Namespace, paths: Sequence[str], **options: Any) -> int:
    """Write the tables to ``--out``, and report it."""
    from mixfast.tables import convert, read_inputs

    group_names = options.pop("group_names", None)
    if args.to_minus_inf and args.dtype not in ("float16", "float32"):
        raise InputError(
            "--to-minus-inf has no effect without --dtype float16 or float32: other types hold every value"
        )
    _check_output(args, paths)
    with progress(f"reading {listing(paths)}"):
        inputs = read_inputs(paths, **options)
    for one in inputs:
        detail(f"read {one.path}: {counted(len(one.files), 'file')}, {listing(one.domains)}")
    with progress(f"writing {args.out}"):
        found = convert(
            inputs,
            args.out,
            parts=args.parts,
            format=args.format,
            dtype=args.dtype,
            to_minus_inf=args.to_minus_inf,
            group_names=group_names,
        )
    _report(args, found)
    return 0


def _check_output(args: argparse.Namespace, paths: Sequence[str]) -> None:
    """Refuse, before the work, an output that cannot be written, or would replace a table that is read, or other files."""
    from mixfast.tables import check_folder_output

    if _is_file(args.out):
        if args.parts is not None:
            raise InputError(f"--parts has no effect: --out {args.out} is one file; for parts name a folder")
        if args.format is not None:
            raise InputError(f"--format has no effect: --out {args.out} is one file, whose ending decides its format")
        outputs.check(args, out=ROWS)
        return
    if args.force:
        raise InputError(
            f"--force has no effect on the folder --out {args.out}: a folder of parts is replaced, and any other folder is refused"
        )
    check_folder_output(args.out, InputError, where=f"--out {args.out}")
    for path in paths:
        inside = os.path.realpath(path).startswith(os.path.join(os.path.realpath(args.out), ""))
        if inside or (os.path.exists(args.out) and os.path.exists(path) and os.path.samefile(args.out, path)):
            raise InputError(f"--out {args.out} holds the table {path}, which is read: choose another name")


def _report(args: argparse.Namespace, found: Converted) -> None:
    """Say what was written, and what a smaller type has changed."""
    if found.renumbered:
        note("files use the same ids for different sequences, so the ids of the output are new")
    form = counted(found.parts, "part") if found.parts else "one file"
    facts = f"{found.n_rows:,} rows x {len(found.domains):,} domains, {found.dtype.name}, {size(found.n_bytes)}"
    say(f"wrote {args.out}: {form}, {facts}")
    if len(found.groups) > 1:
        say(f"groups: {listing(f'{name} ({rows:,} rows)' for name, rows in found.groups.items())}")
    if found.largest_change:
        say(
            f"largest change of a log-likelihood by rounding: {found.largest_change:.2g} nats; the loss of every mixture changes by at most "
            f"{found.loss_change:.2g} {found.unit}"
        )
    if found.infinite:
        say(
            f"{found.infinite:,} log-likelihoods below {np.finfo(found.dtype).min:.6g} became -inf: their domains give these rows a probability of 0"
            + (", which the bound leaves out" if found.largest_change else "")
        )
    say(f"next: mixfast solve {quote(args.out)}")
    documents.answer(
        args,
        {
            "rows": found.n_rows,
            "domains": list(found.domains),
            "dtype": found.dtype.name,
            "groups": [{"name": name, "rows": rows} for name, rows in found.groups.items()],
            "parts": found.parts,
            "bytes": found.n_bytes,
            "unit": found.unit,
            "largest_change": found.largest_change,
            "loss_change": found.loss_change,
            "infinite": found.infinite,
        },
        wrote=[args.out],
    )


def _verify(args: argparse.Namespace) -> int:
    from mixfast.tables import verify

    if not os.path.isdir(args.table):
        # A missing path is refused by its reason.
        os.stat(args.table)
        raise InputError(f"{shown(args.table)} is not a folder of parts: only the table.json of a folder holds hashes")
    with progress(f"reading {args.table}"):
        found = verify(args.table)
    total = sum(part.bytes for part in found.parts)
    say(
        f"{args.table}: {counted(len(found.parts), 'part')}, {found.rows:,} rows, {size(total)}: all hashes match table.json"
    )
    documents.answer(args, {"parts": len(found.parts), "rows": found.rows, "bytes": total})
    return 0
