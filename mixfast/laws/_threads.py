"""Threads of fits: one for each metric, and one of BLAS, for matrices are small and its second thread waits more than it works."""

from mixfast._engine.backend import each as each
from mixfast._engine.backend.blas import forget_libraries as forget_libraries
from mixfast._engine.backend.blas import single_blas as single_blas
