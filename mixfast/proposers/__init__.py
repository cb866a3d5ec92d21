"""propose(): from a fitted law to the mixture it recommends, exact where the law is convex, searched and so named where it is not.

Also the questions around it: how strongly to pull towards the prior (`path`, `advise_kl`), and how much the shares would
move with other runs (`bootstrap`).
"""

from mixfast.proposers._propose import Gain, KlAdvice, Proposal, ShareIntervals, advise_kl, bootstrap, path, propose

__all__ = ["Gain", "KlAdvice", "Proposal", "ShareIntervals", "advise_kl", "bootstrap", "path", "propose"]
