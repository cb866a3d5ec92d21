"""Internal errors: one line for the user, and a file with the traceback for the developers."""

from __future__ import annotations

import os
import sys

# If set, tracebacks are printed and no file is written.
SHOWN_BY = "MIXFAST_TRACEBACK"
# The line quotes at most this many characters of the exception.
_MOST_SAID = 200


def told(problem: BaseException) -> str:
    """Write the traceback to a file; return the line that reports an internal error and names that file."""
    import traceback

    text = "".join(traceback.format_exception(problem))
    if os.environ.get(SHOWN_BY):
        return text.rstrip()
    said = " ".join(f"{type(problem).__name__}: {problem}".split())[:_MOST_SAID]
    if isinstance(problem, ImportError):
        advice = "A package that mixfast needs cannot be loaded: install it again, with pip install --force-reinstall mixfast"
    else:
        advice = f"This is a mistake of mixfast, not of yours: please report it to {_tracker()}"
    return f"mixfast: error: {said}. {advice} ({_kept(text)})"


def _kept(text: str) -> str:
    """Write the traceback to a file; return words that say where it is."""
    import tempfile

    from mixfast._version import __version__

    head = f"mixfast {__version__}, Python {sys.version}, {sys.platform}\n{sys.argv!r}\n\n"
    try:
        handle, path = tempfile.mkstemp(prefix="mixfast-", suffix=".txt")
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(head + text)
    except OSError as error:
        return f"the traceback could not be written: {error.strerror}; {SHOWN_BY}=1 shows it"
    return f"with the traceback in {path}, which holds the command line too"


def _tracker() -> str:
    """Return the address of the project's issue tracker from the metadata of the installation."""
    from importlib import metadata

    try:
        for entry in metadata.metadata("mixfast").get_all("Project-URL") or ():
            name, _, address = entry.partition(",")
            if name.strip().lower() in ("issues", "bug tracker", "tracker"):
                return address.strip()
    except metadata.PackageNotFoundError:
        pass
    return "the issue tracker of the project"
