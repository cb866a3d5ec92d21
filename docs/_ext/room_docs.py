"""Show what users need: no paragraphs on the files of a room, whose names start with an underscore, and no members of other packages."""

import re
from typing import Any

from sphinx.application import Sphinx

_FILE = re.compile(r"`_\w+|\w+\.py`")
# Methods that scikit-learn makes for its estimators; their docstrings refer to its own pages.
_ROUTING = re.compile(r"set_\w+_request|get_metadata_routing")


def _without_files(app: Sphinx, what: str, name: str, found: object, options: Any, lines: list[str]) -> None:
    if what == "module":
        paragraphs = "\n".join(lines).split("\n\n")
        kept = [one for one in paragraphs if not _FILE.search(one)]
        lines[:] = [*"\n\n".join(kept).rstrip().split("\n"), ""]


def _own(app: Sphinx, what: str, name: str, found: object, skip: bool, options: Any) -> bool | None:
    # Of inherited members, those of classes of mixfast are shown.
    where = getattr(getattr(found, "fget", found), "__module__", None)
    foreign = what == "class" and isinstance(where, str) and where.split(".")[0] != "mixfast"
    return True if foreign or _ROUTING.fullmatch(name) else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    # Before numpydoc, which is registered with the usual priority.
    app.connect("autodoc-process-docstring", _without_files, priority=100)
    app.connect("autodoc-skip-member", _own)
    return {"parallel_read_safe": True}
