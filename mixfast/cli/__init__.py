"""The command `mixfast`: solve, info, score, design, fit, compare, propose, next, reuse, report, export and demo. The only part of mixfast, with the reports, that prints."""

from mixfast.cli._main import _DATA, _parser, main

__all__ = ["main"]
