"""The option --wear: how tokens of the domains wear out, from numbers, thresholds and files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from mixfast._engine.objectives.wear import threshold
from mixfast._text.names import listing
from mixfast._text.numbers import number
from mixfast.cli import _inputs as inputs
from mixfast.cli import _reading as reading
from mixfast.cli._refusals import InputError
from mixfast.errors import AlignmentError


def wear(given: Sequence[str] | None, domains: Sequence[str]) -> float | str | dict[str, float | str] | None:
    """Return the wear of ``--wear``: None, one for all, or by domain from files, which ``NAME=WEAR`` overrides and one without a name completes.

    A wear is a number of repeats or a threshold such as "4 epochs".
    """
    by_option = [text for text in given or () if "=" in text]
    bare = [text for text in given or () if "=" not in text and (_is_number(text) or threshold(text) is not None)]
    files = [text for text in given or () if text not in by_option and text not in bare]
    if len(files) > 1:
        raise InputError(f"--wear is given more than one file: {listing(files)}")
    if len(bare) > 1:
        raise InputError(f"--wear is given more than one number for all: {listing(bare)}")
    common = None
    if bare:
        try:
            common = _parsed_wear(bare[0])
        except ValueError as problem:
            raise InputError(f"--wear {bare[0]}: {problem}") from None
    of_file = {name: one for path in files for name, one in reading.numbers(path, _parsed_wear, finite=False).items()}
    if unknown := [name for name in of_file if name not in domains]:
        raise AlignmentError(
            f"{files[0]} names {listing(unknown)}, which the table does not have; its domains are {listing(domains)}"
        )
    # Patterns of names are matched for numbers; a threshold is one too, with its unit put back.
    sharp = [text for text in by_option if threshold(text.rpartition("=")[2]) is not None]
    plain = inputs.named("--wear", [text for text in by_option if text not in sharp], domains) or {}
    limits = inputs.named("--wear", [text.strip().removesuffix("epochs") for text in sharp], domains) or {}
    if twice := [name for name in limits if name in plain]:
        raise InputError(f"--wear names {listing(twice)} twice")
    single = plain | {name: f"{epochs:.15g} epochs" for name, epochs in limits.items()}
    others = {} if common is None else dict.fromkeys(domains, common)
    out = others | of_file | single if of_file or single else common
    for where, one in out.items() if isinstance(out, dict) else [] if out is None else [("", out)]:
        _check_wear(where, one)
    return out


def _parsed_wear(text: str) -> float | str:
    return number(text) if threshold(text) is None else text.strip()


def _check_wear(where: str, one: float | str) -> None:
    epochs = threshold(one)
    value = float(one) if epochs is None else epochs
    if not value > 0.0 or (math.isinf(value) and (not where or epochs is not None)):
        raise InputError(
            f"--wear{f', {where}' if where else ''}: got {value:g}{'' if epochs is None else ' epochs'}, expected a number of repeats above 0, "
            f"or a threshold such as '4 epochs'{'; to count repeats fully, leave --wear out' if math.isinf(value) and value > 0.0 else ''}"
        )


def _is_number(text: str) -> bool:
    try:
        number(text)
    except ValueError:
        return not (Path(text).exists() or Path(text).suffix)
    return True
