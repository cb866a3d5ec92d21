"""The polytope of mixtures, ``{w : sum w = 1, low <= w <= high, group_low <= rows @ w <= group_high}``, as arrays.

Without group limits, everything is in closed form or takes a few passes in C (`mixfast._engine.backend.simplex`). With them, it takes small dense systems.

Files, in reading order
    `limits.py`: `Limits`, the object that loops pass around, with the linear program, Newton step and Frank-Wolfe gap over a region.
    `lp.py`: the linear program under group limits, by the dual simplex.
    `unfinished.py`: when a step is abandoned.
    `qp.py`: the Newton step under group limits, and the step of the worst of several functions.
    `projection.py`: the nearest point of the polytope.
    `prices.py`: multipliers of the limits at an optimum.
"""
