"""Raise an error with an installation command if an optional package is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needed(user: str, packages: str, requirement: str, error: type[Exception]) -> Iterator[None]:
    """Turn a failing import inside the block into ``error``: ``user`` needs ``packages``, and how to install them.

    ``requirement`` is a requirement for pip, such as ``mixfast[laws]``; an extra installs versions that are tested together.

    >>> with needed("the law", "Numba", "mixfast[laws]", RuntimeError):
    ...     import no_such_package
    Traceback (most recent call last):
    RuntimeError: the law needs Numba (No module named 'no_such_package'); install with: pip install 'mixfast[laws]'
    """
    try:
        yield
    except (
        ImportError,
        OSError,
    ) as problem:  # OSError: a library that the package loads is missing, as libgomp for LightGBM
        from mixfast._text.visible import quote

        raise error(f"{user} needs {packages} ({problem}); install with: pip install {quote(requirement)}") from problem
