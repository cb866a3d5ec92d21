"""Show the name of the file that a fenced block writes: ```` ```yaml tokens.yaml ```` becomes a block with a caption."""

import re
from typing import Any

from sphinx.application import Sphinx

_FILE = re.compile(r"^```(\w+) ([^\s`{}]+)[ \t]*$", re.MULTILINE)
# The names of languages in fences, and those that Pygments knows.
_LEXERS = {"csv": "text", "jsonl": "text"}


def _with_captions(app: Sphinx, page: str, source: list[str]) -> None:
    source[0] = _FILE.sub(
        lambda found: f"```{{code-block}} {_LEXERS.get(found[1], found[1])}\n:caption: {found[2]}\n", source[0]
    )


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("source-read", _with_captions)
    return {"parallel_read_safe": True}
