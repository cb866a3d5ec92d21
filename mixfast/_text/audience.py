"""Messages for two audiences: callers of the library use arguments, users of the commands use options.

A message is written once. If it names something to change, `either` has both wordings. The command line runs its work inside
`commanded`; outside of it, messages name arguments.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from mixfast._text.names import shown
from mixfast._text.visible import quote

_T = TypeVar("_T")
_COMMANDED: ContextVar[bool] = ContextVar("commanded", default=False)


@contextmanager
def commanded() -> Iterator[None]:
    """Make messages inside the block name options."""
    token = _COMMANDED.set(True)
    try:
        yield
    finally:
        _COMMANDED.reset(token)


def either(python: _T, command: _T) -> _T:
    """Return the wording for the current audience.

    >>> either("kl=0.05", "--kl 0.05")
    'kl=0.05'
    >>> with commanded():
    ...     either("kl=0.05", "--kl 0.05")
    '--kl 0.05'
    """
    return command if _COMMANDED.get() else python


def setting(name: str, value: object) -> str:
    """Return an argument with its value, or the corresponding option, quoted for a shell.

    >>> setting("max_epochs", 4)
    'max_epochs=4'
    >>> with commanded():
    ...     setting("max_epochs", 4)
    '--max-epochs 4'
    """
    return either(f"{name}={shown(value)}", f"--{name.replace('_', '-')} {quote(str(value))}")
