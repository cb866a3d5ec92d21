"""``python -m benchmarks.studies NAME [--option value ...]``: the options are the parameters of the study's `run`."""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from benchmarks.studies import NAMES


def main(arguments: list[str] | None = None) -> int:
    """Run one study; its `run` prints, and returns None or an exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studies")
    commands = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    words = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    for name in NAMES:
        # Only the study that was asked for is imported: some need torch.
        if name in words[:1] or words[:1] in (["-h"], ["--help"]):
            _add(commands, name)
        else:
            commands.add_parser(name)
    options = vars(parser.parse_args(words))
    study = importlib.import_module(f"benchmarks.studies.{options.pop('name')}")
    return study.run(**options) or 0


def _add(commands: Any, name: str) -> None:
    study = importlib.import_module(f"benchmarks.studies.{name}")
    text = inspect.getdoc(study) or ""
    command = commands.add_parser(
        name, help=text.splitlines()[0], description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    hints = get_type_hints(study.run)
    for parameter in inspect.signature(study.run).parameters.values():
        kind, default = hints[parameter.name], parameter.default
        if isinstance(kind, UnionType):  # X | None
            kind = get_args(kind)[0]
        options: dict[str, Any] = {"default": default, "help": f"default: {default}"}
        if kind is bool:
            options["action"] = "store_true"
        elif get_origin(kind) is list:
            options |= {"nargs": "+", "type": get_args(kind)[0]}
        else:
            options["type"] = kind
        if default is parameter.empty:
            options |= {"default": None, "required": True, "help": None}
        command.add_argument(f"--{parameter.name.replace('_', '-')}", **options)


if __name__ == "__main__":
    sys.exit(main())
