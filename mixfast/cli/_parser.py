"""The parser of options: options that are given twice or misspelt are refused in one line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from mixfast._text.names import did_you_mean, one_of, shown
from mixfast._text.visible import visible

# The exit status of input that is refused.
REFUSED = 2


def _given(namespace: argparse.Namespace) -> dict[str, Any]:
    """Return the options that were given so far, with their values."""
    found: dict[str, Any] = vars(namespace).setdefault("given", {})
    return found


def _remember(namespace: argparse.Namespace, action: argparse.Action, values: Any = True) -> None:
    """Remember that an option was given, under all its spellings."""
    _given(namespace).update(dict.fromkeys(action.option_strings, values))


class Once(argparse.Action):
    """Store a value and remember its option; refuse a second value, which would silently replace the first."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if option_string is not None:
            given = _given(namespace)
            if option_string in given:
                raise argparse.ArgumentError(
                    self, f"given twice, with {shown(given[option_string])} and {shown(values)}; it takes one value"
                )
            _remember(namespace, self, values)
        setattr(namespace, self.dest, values)


class Flag(argparse.Action):
    """Set an option without a value and remember it."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, default=False, help=help)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        _remember(namespace, self)
        setattr(namespace, self.dest, True)


class Append(argparse.Action):
    """Collect the values of a repeatable option and remember it."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        _remember(namespace, self)
        setattr(namespace, self.dest, [*(getattr(namespace, self.dest) or ()), values])


class Parser(argparse.ArgumentParser):
    """Report a wrong option in one line, like every other error, and suggest the option that it resembles."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name, action in ((None, Once), ("store", Once), ("store_true", Flag), ("append", Append)):
            self.register("action", name, action)
        # Parsers of the commands, by name.
        self.below: dict[str, Parser] = {}

    @property
    def arguments(self) -> list[argparse.Action]:
        """Options and positional arguments."""
        return self._actions

    def add_subparsers(self, **options: Any) -> Any:
        """Add commands, and remember them."""
        commands = super().add_subparsers(**options)
        self.below = commands.choices
        return commands

    def error(self, message: str) -> NoReturn:
        """End with one line on stderr."""
        self.exit(REFUSED, f"mixfast: error: {visible(message)} (see {self.prog} --help)\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(action, one_of(value, action.choices))

    def refuse_rest(self, rest: Sequence[str]) -> NoReturn:
        """Refuse the arguments that belong to no option."""
        named = {word.partition("=")[0] for word in rest if word.startswith("-")}
        known = [option.lstrip("-") for option in self._option_string_actions if option not in ("-h", "--help")]
        hints = "".join(did_you_mean(word.lstrip("-"), known) for word in sorted(named)).replace("mean ", "mean --")
        self.error(f"unrecognized arguments: {' '.join(rest)}{hints}")
