"""The list of formats, in the order in which they are tried."""

from __future__ import annotations

from mixfast.readers.results._contents import Format
from mixfast.readers.results._trainer import TRAINER

FORMATS: dict[str, Format] = {form.name: form for form in (TRAINER,)}
"""Every format of results, by its name."""
