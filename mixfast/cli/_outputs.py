"""What commands write: files that are checked before the work begins, strict JSON, and the exit status."""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixfast._text.atomic import write_together
from mixfast._text.visible import is_visible, quote, visible_json
from mixfast.cli._console import put, say
from mixfast.cli._inputs import InputError

if TYPE_CHECKING:
    from mixfast.designs import Design
    from mixfast.laws import Fit
    from mixfast.mixture import Mixture


def print_json(document: dict[str, Any]) -> None:
    """Print the document as strict JSON; in ASCII where stdout is not UTF-8."""
    escaped = (sys.stdout.encoding or "utf-8").lower().replace("-", "") != "utf8"
    put(visible_json(json.dumps(_strict(document), indent=2, ensure_ascii=escaped, allow_nan=False)) + "\n")


def print_file(text: str) -> None:
    """Print what could as well be written to a file, without any change; refused where it would act on a terminal."""
    if not is_visible(text, keep="\n"):
        raise InputError(
            "names hold control characters or marks of direction, which a terminal would obey, so this is not printed; write it to a "
            "file: --out FILE"
        )
    put(text)


def _strict(value: Any) -> Any:
    """Replace infinity and NaN by null, which strict JSON requires."""
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def exit_status(status: str) -> int:
    """Return 0 for an answer within its tolerance, or without one; 1 for an answer above it."""
    return 0 if status in ("optimal", "searched", "given") else 1


def check_out(given: str | None) -> None:
    """Refuse a mixture file that could not be written."""
    if given is not None and Path(given).suffix.lower() not in (".yaml", ".yml", ".json"):
        raise InputError(f"--out {given}: a mixture file ends in .yaml, .yml or .json")
    check_folder("--out", given)


def check_folder(option: str, given: str | None) -> None:
    """Refuse an output file that is a folder, or lies in a folder that does not exist."""
    if given is None:
        return
    out = Path(given)
    if not out.parent.is_dir():
        raise InputError(f"{option} {given}: there is no folder {out.parent}")
    if out.is_dir():
        raise InputError(f"{option} {given}: this is a folder")


def check_design_out(given: str | None) -> None:
    """Refuse a file of mixtures to train that could not be written, or whose name says another kind."""
    other = (".yaml", ".yml", ".json", ".npz", ".npy", ".html", ".parquet", ".xlsx", ".txt")
    if given is not None and Path(given).suffix.lower() in other:
        raise InputError(f"--out {given}: mixtures to train are written as .csv")
    check_folder("--out", given)


def check_law_out(option: str, given: str) -> None:
    """Refuse a file of laws that could not be written."""
    if Path(given).suffix not in (".json", ".npz"):
        raise InputError(f"{option} {given}: laws are written as .json or .npz")
    check_folder(option, given)


def next_proposal(path: str, law: Fit) -> str:
    """Return the line that names the next command for laws: with an objective, where the mean of all metrics would be refused."""
    from mixfast.laws import resolve

    for options, objective in (("", None), (" --objective standardised", "standardised")):
        try:
            resolve(objective, law)
        except ValueError:
            continue
        return f"next: mixfast propose {quote(path)}{options}"
    return f"next: mixfast propose {quote(path)} --objective {quote(law.metrics[0])}"


def mixture_text(mixture: Mixture, path: str) -> str:
    """Return a mixture file without shares of 0, which most loaders refuse."""
    kept, _ = mixture.drop_zeros()
    return kept.to_json() if path.lower().endswith(".json") else kept.to_yaml()


def design_text(design: Design) -> str:
    """Return the csv file of mixtures to train."""
    text = io.StringIO(newline="")
    design.to_csv(text)
    return text.getvalue()


def deliver_design(out: str | None, design: Design, lines: Sequence[str]) -> None:
    """Write the mixtures to a file and print the lines; without a file, print the mixtures, and the lines on stderr."""
    if out is None:
        say(*lines, error=True)
        print_file(design_text(design))
        return
    write_together({out: design_text(design)})
    say(*lines, f"wrote {Path(out)}: train a proxy on each row")
