"""`Page`: a report as one HTML document."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from mixfast._text.atomic import write_text
from mixfast._text.outputs import PAGE, check_output


@dataclass(frozen=True)
class Page:
    """A report as one HTML file that loads nothing else.

    Attributes
    ----------
    html : str
        The whole document.
    sections : tuple of str
        Titles of its sections.
    missing : dict of str to str
        Sections that were skipped: why, and how to add them.
    warnings : tuple of str
        Reasons to doubt the mixture, as listed at the top of the page.
    """

    html: str = field(repr=False)
    sections: tuple[str, ...]
    missing: dict[str, str]
    warnings: tuple[str, ...]

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the page; an existing page is replaced atomically.

        Raises
        ------
        ValueError
            The path ends in something else than a page, such as ``.csv``; or, without ``force``, a file of another kind exists there.
        OSError
            The file cannot be written; an existing file is unchanged.
        """
        check_output(path, PAGE, ValueError, force=force)
        write_text(path, self.html)

    def _repr_html_(self) -> str:
        """Show the page in a notebook."""
        from html import escape

        return f'<iframe srcdoc="{escape(self.html)}" width="100%" height="800" style="border: 0"></iframe>'
