"""Losses of many mixtures with numpy's product and numexpr's logarithm, float32, in blocks of rows."""

from benchmarks.facts import threads
from benchmarks.peers import _blocks, lacks

name, job = "numpy and numexpr, blocks", "losses"


def reason():
    """Return why this peer cannot run here, or None."""
    return lacks("numexpr")


def prepare(case):
    """Arrays, and its threads."""
    import numexpr

    numexpr.set_num_threads(threads())
    return _blocks.arrays(case)


def run(ready):
    """Losses (M,)."""
    import numexpr

    return _blocks.sums(ready, lambda mixed: numexpr.evaluate("log(mixed)", local_dict={"mixed": mixed}, out=mixed))
