"""The program: from arguments to an exit status. Each command lies in a file of its own; this one puts them together."""

from __future__ import annotations

import argparse
import errno
import os
import sys
import warnings
from collections.abc import Sequence
from typing import TextIO

from mixfast._text.audience import commanded
from mixfast.cli import _demo, _design, _export, _info, _next, _report, _reuse, _score, _solve, _swarm
from mixfast.cli._console import tell
from mixfast.cli._parser import REFUSED, Parser
from mixfast.errors import MixfastError

_INTERRUPTED = 130
# Parameters of the library whose option has another name.
_OPTIONS = {"share": "held-out", "draws": "replicates", "q": "runs"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the program's name; those of the process by default.

    Returns
    -------
    int
        0 when all is well; 1 when a solve ended above its tolerance; 2 for input that is refused, with one line on
        stderr; 130 after Ctrl-C.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        with warnings.catch_warnings(), commanded():
            warnings.showwarning = _show_warning
            args, rest = build_parser().parse_known_args(given)
            if rest:
                args.parser.refuse_rest(rest)
            args.argv = given
            status: int = args.run(args)
            sys.stdout.flush()
            return status
    except SystemExit as end:  # argparse: --help, --version and wrong options
        return end.code if isinstance(end.code, int) else REFUSED
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader has left, as `head` does: nobody is there to be told, and the flush at exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError as error:
        return _refuse(f"not enough memory. {error}")
    except OSError as error:
        if error.errno == errno.ENOMEM:
            return _refuse(f"not enough memory, or address space (ulimit -v): {error.strerror}")
        # A copy names its source first, and the file that it was to write second.
        path = error.filename2 or error.filename
        return _refuse(f"{path}: {error.strerror}" if path and error.strerror else str(error))
    except (MixfastError, ValueError) as error:
        return _refuse(_with_option(str(error), given))


def _refuse(message: str) -> int:
    tell(f"error: {message}")
    return REFUSED


def _with_option(message: str, given: Sequence[str]) -> str:
    """Let a message about a parameter of the library ("tol is ...") name the option that set it, where one was given."""
    name, _, rest = message.partition(" ")
    option = "--" + _OPTIONS.get(name, name).replace("_", "-")
    about = rest.startswith(("is ", "must be ", "names ")) and any(one.partition("=")[0] == option for one in given)
    return f"{option} {rest}" if about else message


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    tell(f"warning: {message}")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with all commands."""
    from mixfast._version import __version__

    out = Parser(prog="mixfast", description="Certified, fast solvers for training-data mixture weights.")
    out.add_argument("--version", action="version", version=f"mixfast {__version__}")
    commands = out.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in (_solve, _info, _design, _score, _swarm, _next, _reuse, _report, _export, _demo):
        command.add(commands)
    return out
