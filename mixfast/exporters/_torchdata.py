"""torchdata: Python for ``MultiNodeWeightedSampler``."""

from __future__ import annotations

from mixfast.exporters._draft import Counts, Draft, Unit
from mixfast.exporters._result import Export
from mixfast.mixture import Mixture


def torchdata(mixture: Mixture, *, unit: Unit = None, tokens: Counts = None, documents: Counts = None) -> Export:
    """Write Python for `torchdata.nodes.MultiNodeWeightedSampler`, with ``weights`` by domain.

    Written for torchdata 0.11, which takes Python floats above 0. Sources start again when they end.
    """
    draft = Draft.of("torchdata", mixture)
    shares = draft.elements(unit, tokens, documents).as_dict()
    return draft.python(
        shares,
        '''
        def mix(sources, seed=0, **options):
            """Sample from the nodes of a mapping by domain."""
            from torchdata.nodes import MultiNodeWeightedSampler, StopCriteria

        {check}
            options.setdefault("stop_criteria", StopCriteria.CYCLE_FOREVER)
            return MultiNodeWeightedSampler(dict(sources), dict(SHARES), seed=seed, **options)
        ''',
    )
