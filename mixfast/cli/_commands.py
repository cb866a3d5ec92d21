"""The commands: their names, what each does in one line, and the file of each, which is loaded only if the command is used."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import TypeAlias

from mixfast.cli._parser import Parser

# What commands are added to.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

# By file, in the order of the help. The text of `mixfast --help` is here so that it is printed without numpy.
_FILES = {
    "_solve": {"solve": "find the best mixture for a table of experts, with a certificate"},
    "_info": {"info": "describe a file, or print versions"},
    "_table": {
        "table": "write a table of experts as one file or in parts, in another format or type, and merge tables"
    },
    "_baselines": {"baselines": "print baseline mixtures, computed from token counts, to compare with"},
    "_design": {"design": "choose the mixtures of proxy runs to train"},
    "_score": {"score": "score texts with Hugging Face models, one for each domain, and write a table of experts"},
    "_collect": {"collect": "make the csv files of fit from the files of evaluations and trackers"},
    "_swarm": {
        "fit": "fit laws that predict metrics from mixtures",
        "compare": "compare the cross-validated errors of all laws",
        "propose": "find the best mixture under fitted laws",
    },
    "_wear": {"wear": "fit how fast repeated tokens of each domain lose their value, from runs that repeat them"},
    "_next": {"next": "choose the proxy runs to train next, given those that are trained"},
    "_reuse": {
        "reuse": "update a mixture when domains are added, removed, split or revised, and keep its other ratios"
    },
    "_report": {"report": "write one HTML page with the mixture, its certificate and all figures"},
    "_explore": {
        "explore": "write and open a page on which mixtures are tried under fitted laws or a table of experts"
    },
    "_export": {"export": "write a mixture in the format of a data loader"},
    "_demo": {"demo": "run the full workflow on a small real table, with explanations"},
}
HELP = {name: help for names in _FILES.values() for name, help in names.items()}
# Options that stand in place of a command and need no options of commands. `--print-completion` needs all of them.
_WITHOUT_COMMAND = ("-h", "--help", "--version")


def add_commands(parser: Parser, given: Sequence[str] | None) -> None:
    """Add the commands; if the arguments are given, only what they need: one command with its options, or all names for the help."""
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    first = given[0] if given else None
    for file, names in _FILES.items():
        if given is not None and first in (None, *_WITHOUT_COMMAND):
            for name, help in names.items():
                commands.add_parser(name, help=help)
        elif first not in HELP or first in names:
            import_module(f"mixfast.cli.{file}").add(commands)
    for leaf in leaves(parser):
        add_general(leaf)


def leaves(parser: Parser) -> Iterator[Parser]:
    """Yield the parsers of the commands that do something: ``mixfast reuse`` only has steps."""
    if not parser.below:
        yield parser
    for command in parser.below.values():
        yield from leaves(command)


def add_general(parser: argparse.ArgumentParser) -> None:
    """Add the options that every command has, behind its own."""
    general = parser.add_argument_group("general")
    general.add_argument("--json", action="store_true", help="print the result as one JSON object instead of a report")
    general.add_argument("-q", "--quiet", action="store_true", help="print no notes and no progress on stderr")
    general.add_argument(
        "-v", "--verbose", action="store_true", help="also print what is read, the steps of a solve and times on stderr"
    )
