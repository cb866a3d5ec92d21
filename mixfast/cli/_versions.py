"""What an issue report should state: versions, the compiled core, threads and GPUs."""

from __future__ import annotations

from mixfast._engine.backend.versions import versions
from mixfast._text.table import text_table
from mixfast.cli._console import show


def show_versions() -> None:
    """Print the versions and facts that an issue report should state, as ``mixfast info`` does.

    They are: the version of mixfast, the instruction set of its compiled core, threads and GPUs; Python and the system; the versions of
    packages that mixfast uses; environment variables that it reads. Nothing is sent anywhere.

    Notes
    -----
    Takes a few hundredths of a second; a few seconds on a machine with an NVIDIA driver, because torch is asked for the GPUs.
    """
    show(versions_report())


def versions_report() -> str:
    """Return what `show_versions` prints."""
    parts = []
    for title, facts in versions().items():
        known = [(f"  {name}", value) for name, value in facts.items() if value is not None]
        missing = [name for name, value in facts.items() if value is None]
        lines = text_table(None, known, left=(0, 1)) if known else ""
        if title == "packages" and missing:
            lines += f"\n  not installed: {', '.join(missing)}"
        if lines:
            parts.append(f"{title}\n{lines}")
    return "\n\n".join(parts)
