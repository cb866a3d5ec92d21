"""seqio: Python for ``MixtureRegistry.add``."""

from __future__ import annotations

from mixfast.exporters._draft import Counts, Draft, Unit
from mixfast.exporters._result import Export
from mixfast.mixture import Mixture


def seqio(mixture: Mixture, *, unit: Unit = None, tokens: Counts = None, documents: Counts = None) -> Export:
    """Write Python for `seqio.MixtureRegistry.add`, with a rate for the task of each domain.

    Written for seqio 0.0.20. Rates count examples, before they are packed, so counts are needed, or
    ``unit="sequences"``.
    """
    draft = Draft.of("seqio", mixture)
    shares = draft.elements(unit, tokens, documents, raw=True).as_dict()
    return draft.python(
        shares,
        '''
        def register(name, sources=None):
            """Register the mixture; sources names the task of each domain, by default that of its name."""
            import seqio

            sources = {{task: task for task in SHARES}} if sources is None else sources
        {check}
            return seqio.MixtureRegistry.add(name, [(sources[task], rate) for task, rate in SHARES.items()])
        ''',
    )
