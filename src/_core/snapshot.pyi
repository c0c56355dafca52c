from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from pyengine._core.engine import EngineCore

from pyengine.records import Records

REQUEST_STATE_DTYPE: np.dtype[np.void]

_Arrays: TypeAlias = tuple[
    tuple[int, int, int, int],
    NDArray[np.uint32],
    Records,
    NDArray[np.uint8],
    NDArray[np.uint32],
    NDArray[np.uint32],
    tuple[int, int, int],
    Records,
    Records,
    int,
]

def dump(engine: EngineCore) -> _Arrays: ...
def load(
    engine: EngineCore,
    counters: Sequence[int],
    book_orders: NDArray[np.uint32],
    orders: Records,
    user_modes: NDArray[np.uint8],
    user_orders: NDArray[np.uint32],
    entries: NDArray[np.uint32],
    window: Sequence[int] | None = None,
    requests: Records | None = None,
    trades: Records | None = None,
) -> None: ...
