import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

def qp(
    hessian: Vector, gradient: Vector, w: Vector, lo: Vector, hi: Vector, state: NDArray[np.int8]
) -> tuple[Vector, float, int]: ...
def qp_many(
    hessian: Vector,
    which: NDArray[np.int64],
    gradient: Vector,
    w: Vector,
    lo: Vector,
    hi: Vector,
    state: NDArray[np.int8],
) -> Vector: ...
def bfgs_many(hessian: Vector, which: NDArray[np.int64], moved: Vector, change: Vector) -> None: ...
def project(x: Vector, lo: Vector, hi: Vector, total: float = 1.0) -> Vector: ...
def kl_project(x: Vector, lo: Vector, hi: Vector, total: float = 1.0) -> Vector: ...
def linear_min(g: Vector, lo: Vector, hi: Vector, total: float = 1.0) -> Vector: ...
