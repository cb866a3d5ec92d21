"""The command `mixfast`: solve, info, score, design, fit, compare, propose, next, reuse, report, export and demo. The only part of mixfast, with the reports, that prints."""

from mixfast.cli._main import _DATA as _DATA
from mixfast.cli._main import _parser as _parser
from mixfast.cli._main import main

__all__ = ["main"]
