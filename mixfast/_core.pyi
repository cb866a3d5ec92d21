from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

def isa() -> str: ...

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
    def pack(
        self,
        index: NDArray[np.int64] | None,
        weight: Vector | None,
        scale: float,
        wide: bool,
        threads: int = 1,
    ) -> Rows: ...
    def sums(
        self, mixture: Vector, value: bool = True, hessian: int = 0, threads: int = 1, coarse: bool = False
    ) -> tuple[float, Vector, Vector | None]: ...
    def mixture_nll(self, mixtures: Vector, products: int = 1, threads: int = 1) -> Vector: ...
    def gradients(
        self,
        mixtures: Vector,
        bins: NDArray[np.int32] | None = None,
        mult: NDArray[np.float32] | None = None,
        threads: int = 1,
    ) -> Vector: ...

def facts(rows: Rows, threads: int = 1) -> tuple[float, float, float, bool]: ...
def draw(bits: NDArray[np.uint32], counts: NDArray[np.float32], first: int = 0) -> None: ...
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
def secant_many(hessian: Vector, which: NDArray[np.int64], moved: Vector, change: Vector) -> None: ...
def project(x: Vector, lo: Vector, hi: Vector, total: float = 1.0) -> Vector: ...
def linear_min(g: Vector, lo: Vector, hi: Vector, total: float = 1.0) -> Vector: ...
def domain_table(sizes: NDArray[np.int64], seed: int) -> NDArray[np.uint64]: ...
def blend_shares(v: NDArray[np.int64]) -> NDArray[np.int64]: ...
def blend_slopes(a: NDArray[np.int64], b: NDArray[np.int64], step: int, length: int) -> NDArray[np.int64]: ...
def blend_events(
    start: int,
    end: int,
    skip: NDArray[np.int64],
    place: NDArray[np.int64],
    turn: NDArray[np.int64],
    latest: NDArray[np.int64],
) -> NDArray[np.int64]: ...
def blend_advance(
    a: NDArray[np.int64],
    slope: NDArray[np.int64] | None,
    step: int,
    steps: int,
    length: int,
    whole: NDArray[np.int64],
    frac: NDArray[np.int64],
) -> None: ...

class Stage:
    domain: NDArray[np.int32]
    base: NDArray[np.int64]
    bound: float
    def __init__(
        self,
        start: int,
        origin: int,
        domain: NDArray[np.int32],
        share: NDArray[np.int64],
        slope: NDArray[np.int64] | None = None,
        exact: NDArray[np.int64] | None = None,
        step: int = 0,
        steps: int = 0,
        shape: Stage | None = None,
    ) -> None: ...
    def counts(self, n: int) -> NDArray[np.int64]: ...
    def when(self, leaf: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.int64]: ...
    def set_events(
        self,
        at: NDArray[np.int64],
        leaf: NDArray[np.int32],
        lag: NDArray[np.int64],
        first: NDArray[np.int64],
        touch_at: NDArray[np.int64],
        touch_by: NDArray[np.int64],
    ) -> None: ...
    def at(self, table: NDArray[np.uint64], shuffle: bool, i: int) -> tuple[int, int, int]: ...
    def fill(
        self,
        table: NDArray[np.uint64],
        shuffle: bool,
        first: int,
        step: int,
        domain: NDArray[np.int64],
        index: NDArray[np.int64],
        epoch: NDArray[np.int64],
    ) -> None: ...
