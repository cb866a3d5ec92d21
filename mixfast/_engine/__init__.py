"""Mathematics on arrays, shared by the solver and the proposers. Nothing here formats text for users.

There are four rooms. Each imports only the rooms before it; `objectives` and `optimise` also import tables and regions:

`backend`
    Where computation runs: the compiled core, GPUs, threads; also the types of arrays.
`geometry`
    The polytope of mixtures {sum 1, box, group limits}: linear and quadratic programs over it, projections, multipliers.
`objectives`
    Smooth functions of shares: cross-entropy over rows, squared error, KL to a prior, repeated tokens, sums of exponentials.
`optimise`
    Loops that minimise an objective over limits and certify the result by a gap.

Arrays are float64 numpy unless a docstring says otherwise. K domains, C of them in use, n rows, M mixtures. Every name is imported from
the file that defines it.
"""
