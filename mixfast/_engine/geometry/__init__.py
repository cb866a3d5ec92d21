"""The polytope of mixtures, ``{w : sum w = 1, low <= w <= high, group_low <= rows @ w <= group_high}``, as arrays.

Without group limits everything is closed form or a few passes in C (`mixfast._engine.backend.simplex`). With them, small dense systems.

Files, in reading order
    `limits.py`: `Limits`, the value that loops carry: the linear program, the Newton step and the Frank-Wolfe gap over it.
    `lp.py`: the linear program under group limits, by the dual simplex.
    `unfinished.py`: when a step is given up.
    `qp.py`: the Newton step under group limits, and the step of the worst of several functions.
    `projection.py`: the nearest point of the polytope.
    `prices.py`: multipliers of the limits at an optimum.
    `levels.py`: shares that are best under a KL term for given slopes.
"""
