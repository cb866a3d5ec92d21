import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

def descend(
    z: Vector, y: Vector, delta: float, quad: Vector, floor: float, c: float, b: Vector, steps: int, tol: float
) -> tuple[float, float, int]: ...
def covariance(
    gram: Vector,
    norms: Vector,
    linear: Vector,
    amplitude: float,
    slope: float,
    noise: float,
    k: Vector,
    h: Vector,
) -> None: ...
def weigh(inverse: Vector, alpha: Vector, linear: Vector, h: Vector) -> float: ...
def matern(gram: Vector, rows: Vector, columns: Vector, k: Vector) -> None: ...
def matern_slope(gram: Vector, rows: Vector, columns: Vector, alpha: Vector, k: Vector, h: Vector) -> None: ...
