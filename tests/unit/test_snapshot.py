"""Snapshots: equal state, equal future, and damaged bytes that make no engine."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import struct
from typing import Any

import numpy as np
import pytest

from pyengine import Engine, Instrument, PyengineError, SnapshotError
from pyengine.records import EVENT_DTYPE, TRADE_DTYPE, Kind, SelfTrade, Side, Status
from pyengine.stores import InMemoryOrderStore, InMemoryTradeStore

BUY, SELL = Side.BUY, Side.SELL


@pytest.fixture
def used() -> Engine:
    """Make an engine with something of everything in it."""
    engine = Engine([Instrument("X", "0.01", "0.001", max_qty=1000), Instrument("Y")], self_trade=SelfTrade.CANCEL_MAKER)
    alice, bob = engine.user("alice"), engine.user("bob")
    x, y = engine.book("X"), engine.book("Y")
    for order_id in range(1, 9):
        x.submit(BUY, 100 + order_id % 3, 5, order_id, user=(0, alice, bob)[order_id % 3])
    x.submit(SELL, 102, 7, 20)
    y.submit(SELL, 2**61, 1, 21, user=bob)
    y.submit(BUY, 1, 1)
    x.amend(3, 99, 2)
    x.cancel(1)
    return engine


def play(engine: Engine) -> list[Any]:
    """Do a little of everything and note what is said; an equal engine says the same."""
    events = engine.attach(required=True)
    x, y = engine.book("X"), engine.book("Y")
    x.submit(SELL, 95, 12, 50, user=engine.user("alice"))
    y.submit(BUY, 5, 1)
    y.submit_market(BUY, 1, user=engine.user("carol"))
    x.mass_cancel(user=engine.user("bob"))
    x.submit(BUY, 90, 1)
    return [*events.read().tolist(), engine.state_hash()]


def test_restored_engine_is_equal_and_goes_on_equally(used: Engine) -> None:
    copy = Engine.restore(used.snapshot())
    copy.check()
    assert copy.state_hash() == used.state_hash()
    assert [b.orders().tolist() for b in copy.books] == [b.orders().tolist() for b in used.books]
    assert copy.instruments == used.instruments
    assert copy.user("bob") == used.user("bob")
    assert play(copy) == play(used)


def test_snapshot_of_equal_engines_is_equal(used: Engine) -> None:
    assert Engine.restore(used.snapshot()).snapshot() == used.snapshot()


def test_empty_engine_survives_too() -> None:
    copy = Engine.restore(Engine().snapshot())
    assert copy.state_hash() == Engine().state_hash()
    assert copy.add_instrument(Instrument("X")).submit(BUY, 1, 1).status == Status.RESTING


def test_taking_a_snapshot_changes_nothing(used: Engine) -> None:
    before = used.state_hash()
    used.snapshot()
    assert used.state_hash() == before
    used.check()


def test_every_truncation_is_refused(used: Engine) -> None:
    data = used.snapshot()
    for length in {*range(0, len(data), 7), *range(64), len(data) - 1}:
        with pytest.raises(SnapshotError):
            Engine.restore(data[:length])


def test_appended_bytes_are_refused(used: Engine) -> None:
    with pytest.raises(SnapshotError):
        Engine.restore(used.snapshot() + b"\0")


def test_every_flipped_byte_is_refused(used: Engine) -> None:
    data = used.snapshot()
    rng = np.random.default_rng(3)
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= int(rng.integers(1, 256))
        with pytest.raises(SnapshotError):
            Engine.restore(bytes(damaged))


@pytest.mark.parametrize("junk", [b"", b"\0" * 64, b"pyengine", b"\xff" * 4096, np.zeros(3, EVENT_DTYPE).tobytes()])
def test_bytes_that_are_no_snapshot_are_refused(junk: bytes) -> None:
    with pytest.raises(SnapshotError):
        Engine.restore(junk)


@pytest.mark.parametrize("junk", [None, 1, "text", [1, 2], object()])
def test_what_isnt_bytes_is_refused(junk: Any) -> None:
    with pytest.raises((TypeError, SnapshotError)):
        Engine.restore(junk)


def test_any_buffer_of_bytes_will_do(used: Engine) -> None:
    data = used.snapshot()
    forms: list[Any] = [bytearray(data), memoryview(data), np.frombuffer(data, np.uint8)]
    for form in forms:
        assert Engine.restore(form).state_hash() == used.state_hash()


@pytest.mark.parametrize("offset", range(8))
def test_records_may_begin_at_any_byte(used: Engine, offset: int) -> None:
    # Processors may read them all the same; what finds it out is the sanitizers' run.
    def moved(rows: Any) -> Any:
        return np.frombuffer(bytes(offset) + rows.tobytes(), rows.dtype, offset=offset)

    snapshot = used.snapshot()
    assert Engine.restore(memoryview(bytes(offset) + snapshot)[offset:]).state_hash() == used.state_hash()
    listener = used.attach(required=True)
    used.book("X").submit(SELL, 99, 12, 50)
    events = listener.read()
    trades = events[events["kind"] == Kind.TRADE].view(TRADE_DTYPE)
    store, orders, again = InMemoryTradeStore(100), InMemoryOrderStore(), InMemoryOrderStore()
    assert store.save_batch(moved(trades)) == len(trades) > 0
    assert store.get_recent_array(100)["trade_id"].tolist() == trades["trade_id"][::-1].tolist()
    orders.apply(moved(events))
    assert again.save_batch(moved(orders.get_all_array())) == len(orders.get_all_array()) > 0


def forged(data: bytes) -> bytes:
    """Give changed bytes a digest that fits."""
    return data[:-16] + hashlib.blake2b(data[:-16], digest_size=16).digest()


def restored_whole(data: bytes) -> bool:
    """Whether the bytes make an engine, which then must be whole; otherwise the error must be ours."""
    try:
        engine = Engine.restore(data)
    except SnapshotError:
        return False
    engine.check()
    # Changed limits or names may well refuse what is played.
    with contextlib.suppress(PyengineError):
        play(engine)
    engine.check()
    return True


def test_forged_snapshot_makes_no_engine_or_a_whole_one(used: Engine) -> None:
    data = used.snapshot()
    assert forged(data) == data
    rng = np.random.default_rng(4)
    for _ in range(3000):
        changed = bytearray(data)
        for position in rng.integers(0, len(data) - 16, int(rng.integers(1, 4))):
            changed[position] = int(rng.choice([0, 1, 2, 255, int(rng.integers(0, 256))]))
        restored_whole(forged(bytes(changed)))


@pytest.mark.parametrize(
    "change",
    [
        {"counters": []},
        {"counters": [0, 1, 1, 1]},
        {"counters": [2**64, 1, 1, 1]},
        {"counters": [1, 1, 1, 9]},
        {"counters": None},
        {"counters": [1.5, 1, 1, 1]},
        {"rows": {}},
        {"rows": {"book_orders": -1}},
        {"rows": {"book_orders": 1e400}},
        {"rows": {"book_orders": "x"}},
        {"users": ["alice", "alice"]},
        {"users": ["alice", 5]},
        {"users": ["", "bob"]},
        {"users": 7},
        {"instruments": []},
        {"instruments": [None, None]},
        {"instruments": [{"symbol": "X"}]},
        {"state_hash": 0},
        {"state_hash": None},
    ],
)
def test_header_that_contradicts_the_rest_makes_no_engine(used: Engine, change: dict[str, Any]) -> None:
    data = used.snapshot()
    length = struct.unpack_from("<I", data, 12)[0]
    header = json.loads(data[16 : 16 + length])
    for key, value in change.items():
        header[key] = header[key] | value if isinstance(value, dict) and value else value
    text = json.dumps(header).encode()
    changed = data[:12] + struct.pack("<I", len(text)) + text + data[16 + length :]
    assert not restored_whole(forged(changed))


def test_order_that_stands_twice_in_a_users_list_makes_no_engine(used: Engine) -> None:
    data = used.snapshot()
    places = np.frombuffer(data[:-16], np.uint32, offset=(len(data) - 16) % 4)[-6:].copy()
    for position in range(1, 7):
        changed = bytearray(data)
        changed[-16 - 4 * position : -16 - 4 * position + 4 or None] = int(places[-1]).to_bytes(4, "little")
        if bytes(changed) != data:
            assert not restored_whole(forged(bytes(changed)))


def test_a_snapshot_is_of_one_moment_whatever_a_collection_of_garbage_runs() -> None:
    engine = Engine([Instrument("X")])
    book = engine.book("X")
    book.submit(BUY, 100, 5, client_order_id=1)
    seen, turn = 0, 0

    def run(phase: str, info: dict[str, int]) -> None:
        nonlocal seen
        seen += phase == "start"
        if phase == "start" and seen == turn:
            book.submit(BUY, 100, 5)

    before = gc.get_threshold()
    gc.callbacks.append(run)
    try:
        for turn in range(1, 40):  # noqa: B007  the callback reads it
            seen = 0
            gc.set_threshold(1, 1000, 1000)
            snapshot = engine.snapshot()
            gc.set_threshold(*before)
            assert Engine.restore(snapshot).check() is None
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(run)
