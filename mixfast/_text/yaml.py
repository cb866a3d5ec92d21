"""YAML files of other projects, through pyyaml: the safe loader, and no key twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mixfast._text.names import listing
from mixfast.errors import BackendError, MixfastError


def load(path: Path, error: type[MixfastError]) -> Any:
    """Return what the file holds; raise ``error`` where it is not YAML or a mapping gives a key twice.

    `BackendError` says how to install pyyaml where it is missing.
    """
    try:
        import yaml
    except ImportError as problem:
        raise BackendError("reading YAML needs pyyaml: pip install 'mixfast[io]'") from problem

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """The safe loader, but a key given twice is an error and not a matter of order."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            if repeated := [str(key) for index, key in enumerate(keys) if key in keys[:index]]:
                raise error(f"{path}, below line {node.start_mark.line + 1}: given twice: {listing(repeated)}")
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(path.read_text(encoding="utf-8-sig"), Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise error(f"{path} is not YAML: {problem}") from problem
