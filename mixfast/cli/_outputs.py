"""What commands write: files that are checked before the work begins, and the exit status."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mixfast._text.atomic import check_writable
from mixfast._text.outputs import MIXTURE, Output, check_output
from mixfast._text.visible import is_visible, quote
from mixfast.cli._console import put
from mixfast.cli._refusals import InputError

if TYPE_CHECKING:
    from mixfast.laws import Fit
    from mixfast.mixture import Mixture


def print_file(text: str) -> None:
    """Print the content of a file unchanged; refuse it if it would act on a terminal."""
    if not is_visible(text, keep="\n"):
        raise InputError(
            "names contain control characters or marks of direction, which act on a terminal, so this is not printed: write it to a "
            "file with --out FILE"
        )
    put(text)


def exit_status(status: str) -> int:
    """Return 0 if the gap is within the tolerance or there is none, 1 if it is above."""
    return 0 if status in ("optimal", "searched", "given") else 1


def check(args: argparse.Namespace, **kinds: Output) -> None:
    """Refuse, before the work, outputs that cannot be written, or would replace an input file or a file of another kind.

    ``kinds`` is what each option writes, as in ``check(args, out=MIXTURE)``. With ``args.force`` any file may be replaced.
    """
    given = {name: getattr(args, name) for name in kinds if getattr(args, name) is not None}
    options = {name: f"--{name.replace('_', '-')}" for name in kinds}
    if args.force and not given:
        raise InputError(f"--force has no effect without {' or '.join(options.values())}")
    read = [value for name, value in vars(args).items() if name not in ("argv", "given", *kinds)]
    for name, path in given.items():
        check_folder(options[name], path)
        check_output(path, kinds[name], InputError, force=args.force, where=f"{options[name]} {path}")
        # A mixture replaces only mixtures, and updating an input mixture in place is a common use.
        if kinds[name] is not MIXTURE and not args.force and any(_is_file(path, value) for value in read):
            raise InputError(
                f"{options[name]} {path} is one of the input files: choose another name, or give --force to replace it"
            )
        check_writable(path)


def _is_file(path: str, value: object) -> bool:
    """Return whether the value of an option is, or contains, the file at a path."""
    if isinstance(value, (list, tuple)):
        return any(_is_file(path, one) for one in value)
    try:
        return isinstance(value, str) and os.path.samefile(path, value)
    except (OSError, ValueError):  # does not exist, or is not a path
        return False


def check_folder(option: str, given: str) -> None:
    """Refuse an output file that is a folder, or whose folder does not exist."""
    out = Path(given)
    if not out.parent.is_dir():
        raise InputError(f"{option} {given}: there is no folder {out.parent}")
    if out.is_dir():
        raise InputError(f"{option} {given}: this is a folder")


def next_proposal(path: str, law: Fit) -> str:
    """Return the next command for laws, with an objective if the mean of all metrics would be refused."""
    from mixfast.laws import resolve

    options = f" --objective {quote(law.metrics[0])}"
    open_target = law.uses_epochs and law.rate is None  # the runs do not tell which run to predict
    known = replace(law, rate=law.run_rates[0]) if open_target and law.run_rates is not None else law
    for shorter, objective in (("", None), (" --objective standardised", "standardised")):
        try:
            resolve(objective, known)
        except ValueError:
            continue
        options = shorter
        break
    return f"next: mixfast propose {quote(path)}{options}{' --tokens FILE --budget N' if open_target else ''}"


def mixture_text(mixture: Mixture, path: str) -> str:
    """Return the text of a mixture file without shares of 0, which most loaders refuse."""
    kept, _ = mixture.drop_zeros()
    return kept.to_json() if path.lower().endswith(".json") else kept.to_yaml()
