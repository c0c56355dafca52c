"""Snapshots: an engine as bytes and back.

    magic "PYENSNAP" | version u32 | header length u32 | header, JSON | arrays | BLAKE2b-128 of everything before

The header names instruments and users, and gives the length of each array; all numbers are little-endian.
"""

from __future__ import annotations

import hashlib
import json
import struct
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from pyengine._core.order_store import InMemoryOrderStore
from pyengine._core.snapshot import REQUEST_STATE_DTYPE, dump, load
from pyengine.errors import FieldError, FieldTypeError, SnapshotError
from pyengine.instrument import Instrument
from pyengine.order_records import ORDER_RECORD_DTYPE
from pyengine.records import EVENT_DTYPE, ORDER_STATE_DTYPE, Action, Records, Status

if TYPE_CHECKING:
    from pyengine.engine import Engine

AnyEngine = TypeVar("AnyEngine", bound="Engine")
MAGIC = b"PYENSNAP"
VERSION = 2
"""1 had no remembered commands."""

_PREFIX = struct.Struct("<8sII")
_DIGEST_BYTES = 16
# What Python raises for JSON that says something else than was asked; the digest was right, so somebody wrote it so.
_CONTRADICTIONS = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError)
_ARRAYS: tuple[tuple[str, Any], ...] = (
    ("book_orders", np.dtype("<u4")),
    ("orders", ORDER_STATE_DTYPE),
    ("user_modes", np.dtype("u1")),
    ("user_orders", np.dtype("<u4")),
    ("entries", np.dtype("<u4")),
    ("requests", REQUEST_STATE_DTYPE),
    ("request_trades", EVENT_DTYPE),
)
_ARRAYS_OF_VERSION = {1: _ARRAYS[:5], 2: _ARRAYS}


def take_snapshot(engine: Engine) -> bytes:
    """Write the whole state of an engine: books with their queues, users, counters, remembered commands. O(everything).

    Equal states give equal bytes. The event ring, consumers and stores aren't part of it.
    """
    # All of it at one moment; names are never taken away, others may come to them meanwhile.
    counters, *arrays, window, requests, trades, state_hash = dump(engine)
    arrays += [requests, trades]
    header = {
        "counters": counters,
        "instruments": [described(instrument) for instrument in engine.instruments[: len(arrays[0])]],
        "users": [engine.user_name(number) for number in range(1, len(arrays[2]))],
        "rows": {name: len(array) for (name, _), array in zip(_ARRAYS, arrays, strict=True)},
        "requests": window,
        "state_hash": state_hash,
    }
    text = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
    parts = [_PREFIX.pack(MAGIC, VERSION, len(text)), text]
    parts += [array.astype(dtype, copy=False).tobytes() for (_, dtype), array in zip(_ARRAYS, arrays, strict=True)]
    body = b"".join(parts)
    return body + hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest()


def restore_snapshot(data: bytes | bytearray | memoryview, make: type[AnyEngine], **options: Any) -> AnyEngine:
    """Make an engine from a snapshot; it goes on exactly where the other one was.

    Parameters
    ----------
    data : bytes-like
        From `take_snapshot`.
    make : type
        The engine's class.
    **options
        Keyword arguments of `Engine`, such as `ring_capacity`; instruments, the self-trade mode, and what is remembered
        of commands with client order ids, come from the snapshot.

    Raises
    ------
    SnapshotError
        The bytes are no snapshot, of a later version, cut short or changed.
    """
    try:
        raw = memoryview(data).cast("B")
    except TypeError:
        raise FieldTypeError("data", data, "bytes") from None
    header, arrays = _read(raw)
    if options.get("journal") is not None:
        raise FieldError("journal", options["journal"], "left out: a journal begins with event 1, not with a snapshot")
    order_store, trade_store = options.pop("order_store", None), options.pop("trade_store", None)
    engine = make(**options)
    try:
        for entry in header["instruments"]:
            engine.add_instrument(instrument_from(entry))
        for number, name in enumerate(header["users"], start=1):
            if engine.user(name) != number:
                raise SnapshotError(f"user {name!r} must be number {number}")  # noqa: TRY301  one place for all that contradicts
        window = [header["requests"]] if len(arrays) == len(_ARRAYS) else []
        everything: list[Any] = [*arrays[:5], *window, *arrays[5:]]
        load(engine, header["counters"], *everything)
        state_hash = header["state_hash"]
    except SnapshotError:
        raise
    except _CONTRADICTIONS as error:
        raise SnapshotError(f"the snapshot's header must describe an engine: {error}") from error
    if engine.state_hash() != state_hash:
        raise SnapshotError(f"the state hash must be {state_hash!r}, was {engine.state_hash()}")
    if order_store is not None or trade_store is not None:
        _give_stores(engine, order_store, trade_store)
    return engine


def _give_stores(engine: Engine, order_store: Any, trade_store: Any) -> None:
    """Let stores begin with what the books know of the orders in them."""
    orders = open_orders(engine)
    memory = getattr(order_store, "memory_layer", order_store)
    if isinstance(memory, InMemoryOrderStore):
        memory.attach_names(engine.names)
        memory.start_with(orders)
    engine.take_stores(order_store, trade_store, orders)


def open_orders(engine: Engine) -> Records:
    """Return what an engine knows of the orders in its books, as records: what is open, as if nothing had been before."""
    parts = [np.empty(0, ORDER_RECORD_DTYPE)]
    for book in engine.books:
        found = book.orders()
        rows = np.zeros(len(found), ORDER_RECORD_DTYPE)
        for name in ("order_id", "price_ticks", "qty_lots", "user", "side"):
            rows[name] = found[name]
        rows["instrument"] = book.index
        parts.append(rows)
    orders = np.concatenate(parts)
    orders["remaining_lots"] = orders["qty_lots"]
    orders["order_type"], orders["status"] = Action.LIMIT, Status.RESTING
    last = engine.next_seq - 1
    orders["version"] = last
    # As in their queues, and before whatever comes. There were as many events at least, one for each.
    orders["entered"] = np.arange(last - len(orders) + 1, last + 1)
    return orders


def _read(raw: memoryview) -> tuple[dict[str, Any], list[np.ndarray[Any, Any]]]:
    """Check the frame and take it apart."""
    if len(raw) < _PREFIX.size + _DIGEST_BYTES:
        raise SnapshotError(f"a snapshot must have at least {_PREFIX.size + _DIGEST_BYTES} bytes, had {len(raw)}")
    magic, version, header_bytes = _PREFIX.unpack_from(raw)
    if magic != MAGIC:
        raise SnapshotError(f"a snapshot must start with {MAGIC!r}, was {magic!r}")
    if version not in _ARRAYS_OF_VERSION:
        raise SnapshotError(f"the snapshot's version must be at most {VERSION}, was {version}")
    parts = _ARRAYS_OF_VERSION[version]
    body = raw[:-_DIGEST_BYTES]
    if hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest() != raw[-_DIGEST_BYTES:]:
        raise SnapshotError("the snapshot's digest doesn't match: it was cut short or changed")
    at = _PREFIX.size + header_bytes
    try:
        header = json.loads(bytes(body[_PREFIX.size : at]))
        rows = [int(header["rows"][name]) for name, _ in parts]
        arrays = []
        for (_, dtype), count in zip(parts, rows, strict=True):
            arrays.append(np.frombuffer(body[at : at + count * dtype.itemsize], dtype) if count else np.empty(0, dtype))
            at += count * dtype.itemsize
    except _CONTRADICTIONS as error:
        raise SnapshotError(f"the snapshot's header must describe its arrays: {error}") from error
    if at != len(body):
        raise SnapshotError(f"the snapshot must have {at + _DIGEST_BYTES} bytes, had {len(raw)}")
    return header, arrays


def described(instrument: Instrument) -> dict[str, str]:
    """Describe an instrument exactly, for JSON."""
    return {
        "symbol": instrument.symbol,
        **{name: str(getattr(instrument, name)) for name in ("tick_size", "lot_size")},
        **{name: str(getattr(instrument, name)) for name in ("min_price", "max_price", "min_qty", "max_qty")},
    }


def instrument_from(entry: dict[str, str]) -> Instrument:
    """Make the instrument that `described` described."""
    symbol, tick_size, lot_size = entry["symbol"], entry["tick_size"], entry["lot_size"]
    limits: dict[str, Any] = {name: entry[name] for name in ("min_price", "max_price", "min_qty", "max_qty")}
    return Instrument(symbol, tick_size, lot_size, **limits)
