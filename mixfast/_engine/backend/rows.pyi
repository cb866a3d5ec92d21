from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

def isa() -> str: ...

class Rules:
    def __init__(self, **rules: float) -> None: ...

class Rows:
    loglik: Any
    weight: Any
    cols: Any
    panels: Any
    offset: Any
    n_rows: int
    n_cols: int
    def __init__(
        self,
        loglik: Any,
        weight: Vector | None,
        scale: float,
        shift: bool,
        wide: bool,
        cols: NDArray[np.int32] | None = None,
        bounded: bool = False,
    ) -> None: ...
    def with_columns(self, cols: NDArray[np.int32]) -> Rows: ...
    def take(self, cols: NDArray[np.int32]) -> Rows: ...
    def pack(
        self,
        index: NDArray[np.int64] | None,
        weight: Vector | None,
        scale: float,
        wide: bool,
        threads: int = 1,
    ) -> Rows: ...
    def sums(
        self,
        mixture: Vector,
        value: bool = True,
        hessian: int = 0,
        threads: int = 1,
        coarse: bool = False,
        influence: NDArray[np.float32] | None = None,
        curved: NDArray[np.int32] | None = None,
    ) -> tuple[float, Vector, Vector | None]: ...
    def settle(self, w: Vector, low: Vector, high: Vector, rules: Rules, threads: int = 1) -> Vector: ...
    def newton(
        self, w: Vector, low: Vector, high: Vector, rules: Rules, total: float, tol: float, most: int, threads: int = 1
    ) -> tuple[Vector, float, Vector, float, Vector | None, int, list[tuple[float, float, float]]]: ...
    def newton_many(
        self, weight: Vector, w: Vector, low: Vector, high: Vector, rules: Rules, tol: float, most: int
    ) -> tuple[Vector, Vector, Vector, Vector, NDArray[np.int64]]: ...
    def losses(self, mixtures: Vector, products: int = 1, threads: int = 1) -> Vector: ...
    def gradients(
        self,
        mixtures: Vector,
        bins: NDArray[np.int32] | None = None,
        mult: NDArray[np.float32] | None = None,
        threads: int = 1,
    ) -> Vector: ...

def scan(rows: Rows, threads: int = 1) -> tuple[float, float, float, bool]: ...
def fingerprint(contents: NDArray[np.uint8]) -> bytes: ...
def resample(bits: NDArray[np.uint32], counts: NDArray[np.float32], first: int = 0) -> None: ...
def by_influence(influence: NDArray[np.float32], count: int) -> tuple[NDArray[np.int64], Vector] | None: ...
