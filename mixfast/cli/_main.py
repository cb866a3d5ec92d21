"""The program: from arguments to an exit status. Each command has its own file; this one joins them."""

from __future__ import annotations

import argparse
import errno
import os
import re
import sys
import warnings
from collections.abc import Sequence
from time import perf_counter
from typing import TextIO

from mixfast._text.audience import commanded
from mixfast._text.names import did_you_mean, shown
from mixfast.cli._commands import add_commands
from mixfast.cli._completion import SHELLS, PrintCompletion
from mixfast.cli._console import Manner, detail, speaking, tell, warn
from mixfast.cli._parser import REFUSED, Parser
from mixfast.cli._refusals import refuse_together
from mixfast.cli._streams import OUTPUT_LOST, OutputError, lost, watched
from mixfast.errors import MixfastError, MixfastWarning

_INTERRUPTED = 130
_STATUSES = """\
`mixfast COMMAND --help` describes the options of a command.

exit status:
  0    success
  1    not converged: solved or proposed, but the gap is above the tolerance
  2    refused: wrong options or files; the reason is one line on stderr
  70   bug in mixfast; one line on stderr names the file with the traceback
  74   done, and files are written, but output to stdout was lost
  130  interrupted (128 + number of the signal: 129 hangup, 130 Ctrl-C, 143 SIGTERM)
"""
# Words of a message that are longer than any path, and how many of their characters are kept.
_ENDLESS = re.compile(r"\S{400,}")
_KEPT = 120
# Parameters of the library, and the different names of their options.
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
        0 on success; 1 if a solve or a proposal ended above its tolerance; 2 for refused input, with one
        line on stderr; 74 on success if the output could not be printed; 130 after Ctrl-C.

    Raises
    ------
    Exception
        For a bug in mixfast. The program, `mixfast.__main__`, turns it into one line.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return _alone(given)
    # Other processes run the same command together with this one.
    from mixfast.cli._together import together

    return together(given, lambda: _alone(given), _say)


def _alone(given: Sequence[str]) -> int:
    """Run the command line in this process, and print its errors."""
    with watched() as out:
        try:
            status = _run(given)
            out.flush()
        except OutputError as problem:
            return _say(str(problem), OUTPUT_LOST)
        except KeyboardInterrupt:
            return _INTERRUPTED
        why = lost(out)
        if why is not None and status in (0, 1):
            return _say(f"{why}; the printed output is lost, but all files are written", OUTPUT_LOST)
        return status


def _run(given: Sequence[str]) -> int:
    """Run the command line; turn refused input into one line and a status."""
    try:
        with warnings.catch_warnings(), commanded():
            warnings.showwarning = _show_warning
            args, rest = build_parser(given).parse_known_args(given)
            if rest:
                args.parser.refuse_rest(rest)
            args.argv = given
            refuse_together(args, "--verbose", "--quiet")
            with speaking(Manner(args.quiet, args.verbose, args.json)):
                return _work(args)
    except SystemExit as end:  # argparse: --help, --version and wrong options; a signal
        return end.code if isinstance(end.code, int) else REFUSED
    except MemoryError as error:
        return _say(f"not enough memory. {error}")
    except OSError as error:
        if error.errno == errno.ENOMEM:
            return _say(f"not enough memory, or address space (ulimit -v): {error.strerror}")
        # A copy names its source first, and the file that it was to write second.
        path = error.filename2 or error.filename
        return _say(f"{path}: {error.strerror}{_near(path, error)}" if path and error.strerror else str(error))
    except (MixfastError, MixfastWarning, ValueError) as error:  # warnings are errors if Python was told so
        return _say(_with_option(str(error), given))


def _work(args: argparse.Namespace) -> int:
    """Run the command."""
    began = perf_counter()
    status: int = args.run(args)
    detail(f"{args.parser.prog.partition(' ')[2]}: {perf_counter() - began:.2f} s in all, exit status {status}")
    return status


def _say(message: str, status: int = REFUSED) -> int:
    tell(f"error: {_shortened(message)}")
    return status


def _near(path: object, error: OSError) -> str:
    """Say what stands where a missing file was expected: a file with a similar name, or a folder that is missing too."""
    if error.errno != errno.ENOENT or not isinstance(path, str) or not path:
        return ""
    folder, name = os.path.split(path)
    try:
        there = os.listdir(folder or ".")
    except FileNotFoundError:
        return f"; there is no folder {shown(folder)}"
    except OSError:
        return ""
    return did_you_mean(name, there)


def _shortened(message: str) -> str:
    """Shorten words that would fill a screen, such as the content of a file."""
    return _ENDLESS.sub(lambda found: f"{found[0][:_KEPT]}... ({len(found[0])} characters)", message)


def _with_option(message: str, given: Sequence[str]) -> str:
    """Replace the parameter at the start of a message of the library ("tol is ...") by the option that set it."""
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
    warn(_shortened(str(message)))


def build_parser(given: Sequence[str] | None = None) -> Parser:
    """Return the parser with all commands; if the arguments are given, the options only of those that they can need."""
    from mixfast._version import __version__

    what = "Decide how much of each data domain to train a language model on, with a certificate of optimality."
    as_written = argparse.RawDescriptionHelpFormatter
    out = Parser(prog="mixfast", description=what, epilog=_STATUSES, formatter_class=as_written)
    out.add_argument("--version", action="version", version=f"mixfast {__version__}", help="print the version")
    out.add_argument(
        "--print-completion",
        metavar="SHELL",
        choices=SHELLS,
        action=PrintCompletion,
        help='print the completion script for bash, zsh or fish (needs shtab); eval "$(mixfast --print-completion bash)" turns it on',
    )
    add_commands(out, given)
    return out
