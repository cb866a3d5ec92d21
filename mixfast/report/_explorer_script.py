"""The explorer's JavaScript as one script: the modules of `explorer/` in their order, without the lines that join them."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent / "explorer"
# Each module uses only modules before it.
MODULES = (
    "numbers", "laws", "gaussian", "table", "model", "projection", "limits", "moves", "distance", "steering", "pull", "copying", "state", "elements",
    "sight", "domains", "metrics", "controls", "main",
)  # fmt: skip
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./\w+\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=const |function |class )", re.MULTILINE)


@cache
def script(modules: tuple[str, ...] = MODULES) -> str:
    """Return the modules as one script. No two of them define the same name, which `tests/report/test_explorer.py` holds."""
    texts = [(_FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in modules]
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", text)) for text in texts)


@cache
def style() -> str:
    """Return the style sheet of the explorer."""
    return (_FOLDER / "explorer.css").read_text(encoding="utf-8")


def data_block(data: Any) -> str:
    """Return data as JSON inside an element that the browser does not run; names cannot end the element."""
    text = json.dumps(data, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    safe = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return f'<script type="application/json" id="explorer-data">{safe}</script>'
