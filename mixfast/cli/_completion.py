"""Completion of commands, options and files in a shell: the script that ``mixfast --print-completion`` prints."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from mixfast._text.optional import needed
from mixfast.cli._console import put
from mixfast.cli._parser import Parser
from mixfast.cli._refusals import InputError

SHELLS = ("bash", "zsh", "fish")
# What an argument or an option takes, by its name in the help.
_FILES = ("FILE", "TABLE", "RATIOS", "METRICS", "RUNS", "LAW", "STATE", "MIXTURE", "POOL", "DIR")
_FOLDERS = ("FOLDER",)


class PrintCompletion(argparse.Action):
    """Print the completion script for a shell, and end."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        put(script(parser, values))
        parser.exit()


def script(parser: Any, shell: str) -> str:
    """Return the completion script for a shell.

    Raises
    ------
    InputError
        If shtab is missing, or too old to know the shell.
    """
    with needed("--print-completion", "shtab", "mixfast[cli]", InputError):
        import shtab
    if shell not in shtab.SUPPORTED_SHELLS:
        raise InputError(f"shtab {shtab.__version__} writes no completion for {shell}: pip install --upgrade shtab")
    _describe(parser, shtab.FILE, shtab.DIRECTORY)
    return f"{shtab.complete(parser, shell=shell).rstrip()}\n"


def _describe(parser: Parser, file: Any, folder: Any) -> None:
    """Set which values are files or folders, and which words ``export --to`` and ``collect --format`` take."""
    for action in parser.arguments:
        if action.dest == "to":
            from mixfast.exporters import FORMATS

            action.choices = tuple(FORMATS)
        if action.dest == "format" and action.choices is None:
            from mixfast.readers import RESULT_FORMATS

            action.choices = RESULT_FORMATS
        kinds = _kinds(action.metavar)
        if any(kind in _FILES for kind in kinds):
            action.complete = file  # type: ignore[attr-defined]
        elif any(kind in _FOLDERS for kind in kinds):
            action.complete = folder  # type: ignore[attr-defined]
    for command in parser.below.values():
        _describe(command, file, folder)


def _kinds(metavar: str | Sequence[str] | None) -> list[str]:
    """Return the kinds of value in a metavar, such as ``PATTERN|FILE`` or ``[NAME=]DIR``."""
    words = [metavar] if isinstance(metavar, str) else list(metavar or ())
    return [kind for word in words for kind in word.replace("]", "|").split("|")]
