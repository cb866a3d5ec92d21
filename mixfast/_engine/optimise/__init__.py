"""Loops: minimise an objective over limits, to a Frank-Wolfe gap.

Files, in reading order
    `trace.py`: what every loop reports.
    `working_set.py`: `minimise`, the entry: from a sample of the rows to all of them, over a growing set of domains.
    `newton.py`: the steps on that set. `expectation.py`: the steps before, which find the order of magnitude.
    `wide.py`: many domains on few rows, by way of `interior.py`, the interior point method, and `woodbury.py`, its linear systems; `halves.py`: for repeats that wear out.
    `minimax.py`: the largest of several functions, and limits on some.
    `dual.py`: the exact proposal under a KL term, in as many unknowns as metrics.
    `flat.py`: how far shares can move near an optimum.
    `search.py`, with `candidates.py` and `descent.py`: laws that are not convex, without proof. `regmix.py`: that paper's simulation.
    `simulation.py`: Olmix's, in rounds.

Numbered steps in a file's docstring are the numbers in its code.
"""
