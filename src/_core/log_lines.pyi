from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from pyengine._core.names import Names

from pyengine.records import Records

def trade_rows(
    text: bytes | bytearray | memoryview, names: Names, number_of: Callable[[bytes], int | None]
) -> tuple[Records, NDArray[np.int64]]: ...
def line_marks(text: bytes | bytearray | memoryview) -> tuple[NDArray[np.uint32], int, int]: ...
