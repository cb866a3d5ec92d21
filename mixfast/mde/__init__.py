"""Mixtures of data experts: the loss of an ensemble of experts at any mixture, as features for the laws of a swarm.

The ensemble's loss on a validation set tells much of what training on a mixture would do to that set, and costs no training
(Belenki et al., arXiv 2502.15950). As inputs beside the shares such losses help a law that has few runs.

Nouns
    `Features`: the losses of each run's mixture on every group of a table, in nats per token, at one or several levels (tokens, blocks,
    sequences, posterior). They can be had at other mixtures, and have slopes.
    `Redundancy`: what features say beyond the shares themselves.  `Residual`: a law that starts from a metric's own feature.

Verbs
    `features`: compute them from an `ExpertTable` for the runs of a `Swarm`.  `stack`: one table from several validation sets.
    `match`: which feature is a metric's own.  `redundancy`: whether features are worth a table of experts.

Files, in reading order
    `_rows.py`: a table at one level, and the rows of each group. `_features.py`: the noun and its verb. `_stack.py`: several tables.
    `_advice.py`: redundancy. `_residual.py`: the law.
"""

from mixfast.mde._advice import Redundancy, redundancy
from mixfast.mde._features import Features, features
from mixfast.mde._residual import Residual, match
from mixfast.mde._stack import stack

__all__ = ["Features", "Redundancy", "Residual", "features", "match", "redundancy", "stack"]
