"""Refused input: the error, and options that have no effect together or alone."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mixfast._text.names import listing
from mixfast.cli._console import note
from mixfast.errors import MixfastError


class InputError(MixfastError, ValueError):
    """An option or a file of numbers is malformed."""


def refuse_together(args: argparse.Namespace, option: str, other: str) -> None:
    """Refuse an option that has no effect together with another one."""
    if is_given(args, option) and is_given(args, other):
        raise InputError(f"{option} has no effect with {other}: leave out one of them")


def refuse_without(args: argparse.Namespace, option: str, other: str, why: str) -> None:
    """Refuse an option that has no effect unless another one is given."""
    if is_given(args, option) and not is_given(args, other):
        raise InputError(f"{option} has no effect without {other}: {why}")


def no_effect(options: Sequence[str]) -> str:
    """Return the words for one or several options without effect."""
    return f"{listing(options)} {'has' if len(options) == 1 else 'have'} no effect"


def is_given(args: argparse.Namespace, option: str) -> bool:
    """Return whether an option was given on the command line, with any value."""
    return option in getattr(args, "given", ())


def check_seed(args: argparse.Namespace, draws: bool, why: str) -> None:
    """Refuse --seed if nothing is random."""
    if is_given(args, "--seed") and not draws:
        raise InputError(f"--seed has no effect: {why}")


def note_seed(args: argparse.Namespace, method: str) -> None:
    """Note that --seed had no effect on an exact proposal."""
    if is_given(args, "--seed") and method == "exact":
        note("--seed had no effect: the exact proposal uses no random numbers")
