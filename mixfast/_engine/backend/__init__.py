"""Who computes: the compiled core for the CPU, the GPU and its kernels, and how many threads.

Everything above this room is Python on small arrays. The work that grows with the number of rows, runs or samples is done
here, in four compiled modules and on GPUs:

- `rows`: sweeps over a table of log-likelihoods (n, K). `Rows` is a view of a table; its methods `sums` (value, gradient,
  Hessian), `losses` (many mixtures) and `gradients` (many objectives) return float64 sums over all rows.
- `simplex`: problems of the size of a mixture. `project` and `linear_min` over shares with caps and floors, `qp` for the
  Newton step over them, and `qp_many`, `bfgs_many` for many small problems at once.
- `laws`: loops over the runs of a swarm. `descend` for the log-linear law, `likelihood` and covariances for Gaussian processes.
- `stream`: the blended stream of the sampler. `Stage` finds the domain and the count of any sample.
- `device`: GPUs, and checks and copies of tables that live on one (torch). `blocks` streams a table from host memory to it.
- `gpu_kernels()`: the package `mixfast.kernels` (Triton), imported when it is first needed.
- `thread_count`: how many threads to use. The answers of the core do not depend on it.
- `each`: work on many items in threads of our own, which Ctrl-C abandons.
- `arrays`: the types `Vector`, `Matrix` and `Columns` of the arrays that the engine passes around.

The compiled modules come from `csrc`: one folder of C and one thin boundary (.pyx) for each. They take C-contiguous numpy
arrays of exactly the declared types, refuse lengths that do not fit together, release the GIL and never copy a table. They
trust indices (of columns, rows and bins) and finite numbers: the nouns have checked those. Their types are in the .pyi files beside this one. One of several instruction sets is chosen when the process
starts; MIXFAST_ISA=baseline|avx2 lowers the choice for tests.

Nothing here knows a table, a region or a mixture as an object, and nothing falls back silently: a device that is missing
is a BackendError. To read: the stubs `laws.pyi`, `rows.pyi`, `simplex.pyi`, `stream.pyi`, then `device` and `blocks`, then the headers in `csrc`.
"""

from mixfast._engine.backend.device import gpu_kernels
from mixfast._engine.backend.threads import each, thread_count

__all__ = ["each", "gpu_kernels", "thread_count"]
