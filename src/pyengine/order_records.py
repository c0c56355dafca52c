"""The record of one order as the stores keep it, described to NumPy; in the core it is `OrderRecord` in `order.pxd`."""

from __future__ import annotations

import numpy as np

ORDER_RECORD_DTYPE = np.dtype(
    {
        "names": [
            "order_id",
            "price_ticks",
            "qty_lots",
            "remaining_lots",
            "created_ns",
            "updated_ns",
            "version",
            "client_id",
            "aux",
            "instrument",
            "user",
            "side",
            "order_type",
            "tif",
            "status",
            "flags",
            "stp",
            "reserved",
            "entered",
        ],
        "formats": [
            "<u8",
            "<i8",
            "<i8",
            "<i8",
            "<i8",
            "<i8",
            "<u8",
            "<u8",
            "<i8",
            "<u4",
            "<u4",
            *["u1"] * 6,
            "<u2",
            "<u8",
        ],
        "offsets": [0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 76, 80, 81, 82, 83, 84, 85, 86, 88],
        "itemsize": 96,
    }
)
"""One order, 96 bytes; `reserved` must be 0. There are no gaps, so NumPy keeps the layout when it joins arrays.

`qty_lots` is the size after amendments and self-trade decrements, `remaining_lots` what was never filled (open while
`status` is RESTING or PARTIALLY_FILLED), their difference what was filled. `version` is the sequence number of the last
event that changed the order, `entered` that of the event that gave it its place in the queue; both are 0 where nobody
counts.
`client_id` is the caller's own id, `aux` is reserved for a stop price. `instrument` and `user` are numbers; user 0 is nobody.
"""
