"""Import the packages that later laws need in a thread while earlier laws are fitted: LightGBM takes nearly a second."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from itertools import chain
from threading import Event, Thread

from mixfast._engine.backend.blas import forget_libraries
from mixfast.laws._protocol import Law, Packaged


class Ahead:
    """Import the packages of several laws in a thread, in the order of the laws. The imports start at once.

    Callers wait for a law's packages before they fit it, so that two threads never import the same package.
    """

    def __init__(self, laws: Iterable[Law]) -> None:
        names = dict.fromkeys(chain.from_iterable(map(_packages, laws)))
        self._done = {name: Event() for name in names if name not in sys.modules}
        if self._done:
            Thread(target=self._load, name="mixfast imports", daemon=True).start()

    def _load(self) -> None:
        for name, done in self._done.items():
            try:
                import_module(name)
            except Exception:  # the law imports the package again and reports what is missing
                pass
            finally:
                done.set()

    def wait(self, law: Law) -> None:
        """Return when the packages of a law are loaded or have failed to load."""
        waited = [self._done[name] for name in _packages(law) if name in self._done]
        for done in waited:
            done.wait()
        if waited:
            forget_libraries()


def _packages(law: Law) -> tuple[str, ...]:
    return law.packages if isinstance(law, Packaged) else ()
