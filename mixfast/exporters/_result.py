"""What an export is: the text for a loader, the numbers in it by domain, and what has to be known about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike

from mixfast._text.atomic import write_text
from mixfast._text.outputs import check_output, loader_file
from mixfast.errors import MixfastError


class ExportError(MixfastError, ValueError):
    """A mixture cannot be written for a loader: a path or a count is missing, or the loader would refuse it."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """A mixture as a loader takes it.

    Attributes
    ----------
    format : str
        Name of the loader's format, as `export` takes it.
    text : str
        What to write to a file, or to paste.
    suffix : str
        Ending of such a file: ``.txt``, ``.yaml``, ``.json`` or ``.py``.
    values : mapping of str to float
        The number that stands for each domain, in the order of the text: a share, or a count of rows.
    notes : tuple of str
        What was left out or converted, and what the loader does with the numbers. Formats that have comments hold
        them as well.
    """

    format: str
    text: str
    suffix: str
    values: Mapping[str, float]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Export({self.format}: {len(self.values)} domains, {len(self.notes)} notes)"

    def save(self, path: str | PathLike[str], *, force: bool = False) -> None:
        """Write the text to ``path``.

        Raises
        ------
        ExportError
            An ending of another kind, such as ``.npz``; or, without ``force``, a file of another kind that would be lost,
            such as a mixture.
        OSError
            The file cannot be written, and the old one is as it was.
        """
        check_output(path, loader_file(self.format, self.suffix, self.text), ExportError, force=force)
        write_text(path, self.text)
