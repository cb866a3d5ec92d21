import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

def descend(
    z: Vector, y: Vector, delta: float, quad: Vector, floor: float, c: float, b: Vector, steps: int, tol: float
) -> tuple[float, float, int]: ...
def ascend(
    a: Vector,
    log_weight: Vector,
    linear: Vector,
    log_prior: Vector,
    low: Vector,
    high: Vector,
    kl: float,
    z: Vector,
    level: float,
    w: Vector,
    logs: Vector,
    least: int,
    most: int,
    halvings: int,
    armijo: float,
    rounding: float,
    close: float,
) -> tuple[int, float] | None: ...
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
def likelihood_memory(runs: int, dims: int) -> int: ...
def likelihood(
    z: Vector,
    linear: Vector,
    target: Vector,
    amplitude: float,
    slope: float,
    noise: float,
    memory: Vector,
    alpha: Vector,
    diagonal: Vector,
    on_length: Vector,
) -> tuple[float, float, float, float, float] | None: ...
def matern(gram: Vector, rows: Vector, columns: Vector, k: Vector) -> None: ...
def matern_slope(gram: Vector, rows: Vector, columns: Vector, alpha: Vector, k: Vector, h: Vector) -> None: ...
