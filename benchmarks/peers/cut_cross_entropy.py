"""Apple's cut-cross-entropy: the loss of a language model's head without storing its logits."""

from benchmarks.peers import lacks

name, job = "cut-cross-entropy", "head"


def reason():
    """Return why this peer cannot run here, or None."""
    return lacks("cut_cross_entropy")


def run(inputs):
    """``-log p`` of the targets, (n,), from (hidden, head, target)."""
    from cut_cross_entropy import linear_cross_entropy

    return linear_cross_entropy(*inputs, reduction="none")
