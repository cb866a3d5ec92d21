"""Compute the loss of an ensemble of experts at any mixture, as features for the laws of a swarm (mixtures of data experts).

The ensemble's loss on a validation set predicts a large part of what training on a mixture would do to that set, and needs no training
(Belenki et al., arXiv 2502.15950). As additional inputs beside the shares, such losses help a law that is fitted to few runs.

Classes
    `Features`: the losses of each run's mixture on every group of a table, in nats per token, at one or several levels (tokens, blocks,
    sequences, posterior). `at` computes them at other mixtures, `slopes` their gradients.
    `Redundancy`: what features add to the shares.  `Residual`: a law that starts from a metric's own feature.

Functions
    `features`: compute them from an `ExpertTable` for the runs of a `Swarm`.  `stack`: one table from several validation sets.
    `match`: find the feature that belongs to a metric.  `redundancy`: test whether features improve predictions.

Files, in reading order
    `_rows.py`: a table at one level, and the rows of each group. `_features.py`: `Features` and `features`. `_stack.py`: several tables.
    `_pieces.py` and `_blocks.py`: the rows of a folder of parts, whose sequences may continue in another block.
    `_advice.py`: redundancy. `_residual.py`: the law.
"""

from mixfast.mde._advice import Redundancy, redundancy
from mixfast.mde._features import Features, features
from mixfast.mde._residual import Residual, match
from mixfast.mde._stack import stack

__all__ = ["Features", "Redundancy", "Residual", "features", "match", "redundancy", "stack"]
