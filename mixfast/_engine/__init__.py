"""Mathematics on arrays: what the solver and the proposers share, without a word for users.

Four rooms, each imports what stands before it (`objectives` and `optimise` stand behind the nouns, whose tables and regions they take):

`backend`
    Who computes: the compiled core, GPUs, threads; and the types of arrays.
`geometry`
    The polytope of mixtures {sum 1, box, group limits}: linear and quadratic programs over it, projections, multipliers.
`objectives`
    Smooth functions of shares: cross-entropy over rows, squared error, KL to a prior, wear, sums of exponentials.
`optimise`
    Loops that minimise an objective over limits, and say by a gap how far they are.

Arrays are float64 numpy unless a docstring says otherwise; K domains, C of them in play, n rows, M mixtures. Everything is imported from the
file that defines it.
"""
