"""Export: the text for a loader, the numbers in it by domain, and notes on them."""

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
    """A mixture in the format of a loader.

    Attributes
    ----------
    format : str
        Name of the format, a key of `FORMATS`.
    text : str
        The content of the file.
    suffix : str
        Suffix of the file: ``.txt``, ``.yaml``, ``.json`` or ``.py``.
    values : mapping of str to float
        The number written for each domain, in the order of the text: a share, or a count of rows.
    notes : tuple of str
        What was left out or converted, and how the loader uses the numbers. Formats with comments contain them, too.
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
            If the suffix is that of another kind of file, such as ``.npz``; or, without ``force``, if a file of another kind,
            such as a mixture, would be overwritten.
        OSError
            If the file cannot be written; an existing file is unchanged.
        """
        check_output(path, loader_file(self.format, self.suffix, self.text), ExportError, force=force)
        write_text(path, self.text)
