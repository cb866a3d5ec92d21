"""Where computation runs: the compiled core for the CPU, the GPU and its kernels, and the number of threads.

Everything outside this room is Python on small arrays. Work that grows with the number of rows, runs or samples is done
here, in four compiled modules and on GPUs:

- `rows`: sweeps over a table of log-likelihoods (n, K). `Rows` is a view of a table; its methods `sums` (value, gradient,
  Hessian), `losses` (many mixtures) and `gradients` (many objectives) return float64 sums over all rows.
- `simplex`: problems of the size of a mixture. `project` and `linear_min` over shares with caps and floors, `qp` for the
  Newton step, and `qp_many`, `bfgs_many` for many small problems at once.
- `laws`: loops over the runs of a swarm. `descend` for the log-linear law, `likelihood` and covariances for Gaussian processes.
- `stream`: the blended stream of the sampler. `Stage` finds the domain of any sample, and its index within the domain.
- `device`: GPUs, and checks and copies of tables on them (torch). `blocks` streams a table from host memory to a GPU.
- `gpu_kernels()`: the package `mixfast.kernels` (Triton), imported on first use.
- `thread_count`: how many threads to use. The results of the core do not depend on it.
- `each`: process many items in background threads, which Ctrl-C can abandon.
- `compiled`: loops that Numba compiles, with a cache that may fail. Imported by such loops alone, because it loads Numba.
- `arrays`: the array types `Vector`, `Matrix` and `Columns`.

The compiled modules come from `csrc`: one folder of C and one thin boundary (.pyx) for each. They take C-contiguous numpy
arrays of exactly the declared types, refuse lengths that do not fit together, release the GIL and never copy a table. They do not
check indices (of columns, rows and bins) or that numbers are finite: tables and regions have done so. The .pyi files in this folder have
their types. The instruction set is chosen when the process starts; tests can lower it with MIXFAST_ISA=baseline|avx2.

Nothing here uses a table, a region or a mixture as an object. There is no silent fallback: a missing device
raises BackendError. Read the stubs `laws.pyi`, `rows.pyi`, `simplex.pyi`, `stream.pyi`, then `device` and `blocks`, then the headers in `csrc`.
"""

from mixfast._engine.backend.device import gpu_kernels
from mixfast._engine.backend.threads import each, thread_count

__all__ = ["each", "gpu_kernels", "thread_count"]
