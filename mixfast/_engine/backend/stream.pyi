import numpy as np
from numpy.typing import NDArray

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
        gain_at: NDArray[np.int64],
        gain_by: NDArray[np.int64],
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
