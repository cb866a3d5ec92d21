"""DoReMi: a domain configuration."""

from __future__ import annotations

from mixfast.exporters._draft import Draft
from mixfast.exporters._result import Export
from mixfast.mixture import Mixture


def doremi(mixture: Mixture) -> Export:
    """Write the domain configuration of DoReMi: JSON of ``train_domain_weights`` and ``eval_domain_weights``.

    Written for sangmichaelxie/doremi. Both are the mixture.
    """
    draft = Draft.of("doremi", mixture)
    draft.notes.append("eval_domain_weights are the training shares")
    shares = draft.mixture.as_dict()
    return draft.json({"train_domain_weights": shares, "eval_domain_weights": shares}, shares)
