"""The engine's C functions, called from Python with raw command bytes; `pyengine.h` describes them."""

from __future__ import annotations

import ctypes
from ctypes import c_int, c_int64, c_uint32, c_uint64, c_void_p
from typing import TYPE_CHECKING, Self

import numpy as np
from pyengine._core import capi

from pyengine.records import COMMAND_DTYPE, EVENT_DTYPE

if TYPE_CHECKING:
    from numpy.typing import NDArray


class _Table(ctypes.Structure):
    """`pyengine_api` of pyengine.h."""

    _fields_ = (
        ("version", c_uint32),
        ("command_bytes", c_uint32),
        ("event_bytes", c_uint32),
        ("unused", c_uint32),
        ("create", ctypes.CFUNCTYPE(c_void_p, c_uint64, c_uint64)),
        ("destroy", ctypes.CFUNCTYPE(None, c_void_p)),
        ("add_book", ctypes.CFUNCTYPE(c_int, c_void_p, c_int64, c_int64, c_int64, c_int64)),
        ("add_user", ctypes.CFUNCTYPE(c_int, c_void_p)),
        ("apply", ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p)),
        ("publish", ctypes.CFUNCTYPE(None, c_void_p)),
        ("set_wait", ctypes.CFUNCTYPE(None, c_void_p, c_int64)),
        ("attach", ctypes.CFUNCTYPE(c_int, c_void_p, c_int)),
        ("detach", ctypes.CFUNCTYPE(None, c_void_p, c_int)),
        ("poll", ctypes.CFUNCTYPE(c_uint64, c_void_p, c_int, ctypes.POINTER(c_void_p), c_uint64)),
        ("release", ctypes.CFUNCTYPE(None, c_void_p, c_int, c_uint64)),
        ("best", ctypes.CFUNCTYPE(c_int, c_void_p, c_uint32, c_int, ctypes.POINTER(c_int64))),
        ("depth_at", ctypes.CFUNCTYPE(c_int64, c_void_p, c_uint32, c_int, c_int64)),
        ("state_hash", ctypes.CFUNCTYPE(c_uint64, c_void_p)),
    )


def _table() -> _Table:
    """Take the table from its capsule."""
    open_capsule = ctypes.pythonapi.PyCapsule_GetPointer
    open_capsule.restype, open_capsule.argtypes = c_void_p, (ctypes.py_object, ctypes.c_char_p)
    return _Table.from_address(open_capsule(capi.TABLE, b"pyengine._core.capi.TABLE"))


class CEngine:
    """An engine made by `create`, with one cursor that must hear everything."""

    def __init__(self, ring_capacity: int, limits: list[tuple[int, int, int, int]], users: int) -> None:
        self.api = _table()
        self.state = self.api.create(ring_capacity, 0)
        if not self.state:
            raise MemoryError
        for number, each in enumerate(limits):
            if self.api.add_book(self.state, *each) != number:
                message = f"book {number} wasn't added"
                raise AssertionError(message)
        for _ in range(users):
            self.api.add_user(self.state)
        self.api.set_wait(self.state, 0)
        self.cursor = self.api.attach(self.state, 1)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Free the engine."""
        self.api.detach(self.state, self.cursor)
        self.api.destroy(self.state)

    def apply(self, rows: NDArray[np.void]) -> NDArray[np.uint8]:
        """Run commands one by one; returns their statuses."""
        rows = np.ascontiguousarray(rows)
        apply, state, start = self.api.apply, self.state, rows.ctypes.data
        step = COMMAND_DTYPE.itemsize
        statuses = [apply(state, at) for at in range(start, start + len(rows) * step, step)]
        self.api.publish(state)
        return np.array(statuses, np.uint8)

    def hear(self, limit: int) -> NDArray[np.void]:
        """Copy the events that the cursor finds, and give them back to the ring."""
        first, found = c_void_p(), []
        while count := self.api.poll(self.state, self.cursor, ctypes.byref(first), limit):
            octets = ctypes.string_at(first.value or 0, count * EVENT_DTYPE.itemsize)
            found.append(np.frombuffer(octets, EVENT_DTYPE))
            self.api.release(self.state, self.cursor, count)
        return np.concatenate(found) if found else np.empty(0, EVENT_DTYPE)

    def best(self, book: int, side: int) -> int | None:
        """Return the best price of a side, or None."""
        price = c_int64()
        return price.value if self.api.best(self.state, book, side, ctypes.byref(price)) else None
