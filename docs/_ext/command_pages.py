"""The directive `{command} NAME`: usage, options and examples of a command of `mixfast`, as its parser has them."""

import argparse
import os
import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from mixfast.cli._main import build_parser

# The usage is folded to this width, and not coloured.
os.environ |= {"COLUMNS": "84", "NO_COLOR": "1"}

# What is set as code in help texts: options, and words with characters of patterns, paths and assignments.
_CODE = re.compile(r"(?<![\w-])(--?[a-z][\w-]*(?:[ =][A-Z][A-Z.]*)?|[\w./]*[*{}=:][^\s,;()]+|[\w./]+\*)")


def commands(parser: argparse.ArgumentParser | None = None) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield the name and the parser of every command, such as `reuse start`, in the order of the help text."""
    parser = parser or build_parser()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield one.prog.removeprefix("mixfast "), one
                yield from commands(one)


def summaries() -> dict[str, str]:
    """Return the line of help of each command, by the command."""
    parsers = [build_parser(), *(parser for _, parser in commands())]
    return {
        f"{parser.prog} {one.dest}": one.help or ""
        for parser in parsers
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for one in action._choices_actions
    }


def options(parser: argparse.ArgumentParser) -> Iterator[tuple[str, list[argparse.Action]]]:
    """Yield the title of every group of arguments of a command, and the arguments that its help lists."""
    for group in parser._action_groups:
        shown = [
            action
            for action in group._group_actions
            if action.help != argparse.SUPPRESS
            and not isinstance(action, argparse._HelpAction)
            and not isinstance(action, argparse._SubParsersAction)
        ]
        if shown:
            yield group.title or "", shown


class Command(SphinxDirective):
    """Describe a command from its parser."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Return the nodes of the command."""
        name = self.arguments[0]
        parser = build_parser() if name == "mixfast" else dict(commands())[name]
        lines = [f"`````{{program}} {parser.prog}", "`````", ""]
        about = parser.description or summaries()[parser.prog]
        lines += [_escaped(about[:1].upper() + about[1:].rstrip(".")) + ".", ""]
        usage = re.sub(r"^ {7}", "", parser.format_usage().removeprefix("usage: ").rstrip(), flags=re.MULTILINE)
        lines += ["```{code-block} text", usage, "```", ""]
        if "examples:" in (parser.epilog or ""):
            examples = (parser.epilog or "").partition("examples:\n")[2].partition("\n\n")[0]
            lines += ["```{code-block} text", *(line.strip() for line in examples.splitlines()), "```", ""]
        for title, actions in options(parser):
            lines += [f"```{{rubric}} {title.capitalize()}", "```", ""]
            for action in actions:
                lines += [f"````{{option}} {_heading(action)}", _escaped(_help(parser, action)), "````", ""]
        return self.parse_text_to_nodes("\n".join(lines))


def _heading(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else _value(action)
    return ", ".join(f"{name} {value}".strip() for name in action.option_strings) or value


def _value(action: argparse.Action) -> str:
    if action.metavar is not None:
        words = (action.metavar,) if isinstance(action.metavar, str) else action.metavar
        value = " ".join(words)
    elif action.choices is not None:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    else:
        value = action.dest.upper()
    return f"{value} ..." if action.nargs in ("+", "*") and isinstance(action.metavar, str) else value


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    values = vars(action) | {"prog": parser.prog}
    text = (action.help or "") % values
    # Endings of files stay as they are.
    start = text[:1] if re.match(r"(npz|npy|csv|json|yaml)\b", text) else text[:1].upper()
    return start + text[1:] + ("" if text.endswith(".") else ".")


def _escaped(text: str) -> str:
    """Return text of a help as markdown: options and patterns as code, all else as it stands."""
    parts = _CODE.split(" ".join(text.split()))
    return "".join(
        f"`{part}`" if place % 2 else re.sub(r"([\\`*_{}\[\]<>#|~$!&])", r"\\\1", part)
        for place, part in enumerate(parts)
    )


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_directive("command", Command)
    return {"parallel_read_safe": True}
