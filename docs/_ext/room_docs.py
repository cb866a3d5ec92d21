"""Show of the introduction of a room what users need: paragraphs on its files, whose names start with an underscore, are left out."""

import re
from typing import Any

from sphinx.application import Sphinx

_FILE = re.compile(r"`_\w+|\w+\.py`")


def _without_files(app: Sphinx, what: str, name: str, found: object, options: Any, lines: list[str]) -> None:
    if what == "module":
        paragraphs = "\n".join(lines).split("\n\n")
        kept = [one for one in paragraphs if not _FILE.search(one)]
        lines[:] = [*"\n\n".join(kept).rstrip().split("\n"), ""]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    # Before numpydoc, which is registered with the usual priority.
    app.connect("autodoc-process-docstring", _without_files, priority=100)
    return {"parallel_read_safe": True}
