"""The window of client order ids: how much is remembered and for how long, when there is no room, and in snapshots."""

from __future__ import annotations

import hashlib
import json
import struct
from typing import Any

import numpy as np
import pytest
from once_setup import A, rest_some, said, two_books

from pyengine import Engine, FieldError, Instrument, Reason, RingFullError, SnapshotError, make_commands
from pyengine.records import Action, Kind


@pytest.fixture
def engine() -> Engine:
    return two_books()


def test_the_window_forgets_by_number(engine: Engine) -> None:
    engine = Engine([Instrument(A)], client_ids=3)
    for client_id in range(1, 6):
        engine.submit(A, "buy", 1, 9, client_order_id=client_id)
    assert engine.remembered_commands == engine.client_ids == 3
    assert engine.submit(A, "buy", 1, 9, client_order_id=3).repeated
    assert not engine.submit(A, "buy", 1, 9, client_order_id=2).repeated
    assert not engine.submit(A, "buy", 1, 9, client_order_id=3).repeated
    engine.check()


def test_the_window_forgets_by_age() -> None:
    engine = Engine([Instrument(A)], client_id_age_ns=10)
    assert engine.client_id_age_ns == 10
    for at in (100, 105, 90, 110):
        engine.submit(A, "buy", 1, 9, client_order_id=at, ts_ns=at)
    assert engine.submit(A, "buy", 1, 9, client_order_id=100, ts_ns=110).repeated
    assert engine.submit(A, "buy", 1, 9, client_order_id=90, ts_ns=115).repeated  # came when it was 105 already
    assert engine.submit(A, "buy", 1, 9, client_order_id=105, ts_ns=0).repeated
    # A repetition is as old as it says itself, and makes no other older.
    assert not engine.submit(A, "buy", 1, 9, client_order_id=100, ts_ns=111).repeated
    assert engine.remembered_commands == 4
    assert engine.submit(A, "buy", 1, 9, client_order_id=90).repeated
    engine.submit(A, "buy", 1, 9, client_order_id=1, ts_ns=2**63 - 1)
    assert engine.remembered_commands == 1
    engine.check()


def test_many_trades_make_the_window_shorter() -> None:
    engine = Engine([Instrument(A)], client_ids=4, order_store=None)
    for client_id in range(1, 5):
        for _ in range(4 + client_id):
            engine.submit(A, "sell", 1, 9)
        assert engine.submit(A, "buy", 4 + client_id, 9, client_order_id=client_id).trade_count == 4 + client_id
    assert engine.remembered_commands == 2  # 7 + 8 trades
    for _ in range(40):
        engine.submit(A, "sell", 1, 9)
    first = engine.submit(A, "buy", 40, 9, client_order_id=9)
    assert engine.remembered_commands == 1
    assert len(said(engine.submit(A, "buy", 40, 9, client_order_id=9))[-1]) == first.trade_count == 40
    engine.check()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"client_ids": -1}, "client_ids must be an int from 0 to 16777216"),
        ({"client_ids": 2**24 + 1}, "client_ids must be an int from 0 to 16777216"),
        ({"client_ids": 1.5}, "client_ids must be an int"),
        ({"client_ids": None}, "client_ids must be an int"),
        ({"client_id_age_ns": 0}, "client_id_age_ns must be None or an int from 1"),
        ({"client_id_age_ns": -1}, "client_id_age_ns must be an int from 0"),
        ({"client_id_age_ns": 2**63}, "client_id_age_ns must be an int from 0"),
        ({"client_id_age_ns": True}, "client_id_age_ns must be an int"),
    ],
)
def test_bad_windows_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(FieldError, match=text):
        Engine([Instrument(A)], **options)


def test_what_was_refused_for_want_of_room_may_come_again() -> None:
    engine = Engine([Instrument(A)], ring_capacity=64, publish_wait_s=0.01)
    slow = engine.attach(required=True)
    for _ in range(31):
        engine.submit(A, "sell", 1, 9, client_order_id=100 + engine.next_seq)
    seq = engine.next_seq
    with pytest.raises(RingFullError):
        engine.submit(A, "buy", 3, 9, client_order_id=7)
    assert slow.lag == 62  # nobody has heard of it
    out = engine.run(_taker(3), client_ids=np.array([7], np.uint64))
    assert out.status.tolist() == [Reason.RING_FULL]
    assert engine.cancel(98, client_order_id=9).status == Reason.UNKNOWN_ORDER
    with pytest.raises(RingFullError):
        engine.cancel(99, client_order_id=8)
    assert engine.next_seq == seq + 2
    assert [len(slow.read()) for _ in range(3)] == [63, 1, 0]
    assert engine.submit(A, "buy", 3, 9, client_order_id=7).trade_count == 3
    assert not engine.cancel(99, client_order_id=8).repeated
    assert engine.cancel(98, client_order_id=9).repeated
    engine.check()
    engine.close()


def _taker(lots: int) -> np.ndarray:
    row = make_commands(1)
    row["action"], row["side"], row["qty_lots"], row["price_ticks"], row["flags"] = Action.LIMIT, 1, lots, 9, 128
    return row


@pytest.mark.parametrize("by_array", [False, True])
@pytest.mark.parametrize("listens", [False, True])
def test_more_events_than_the_ring_holds(by_array: bool, listens: bool) -> None:
    engine = Engine([Instrument(A)], ring_capacity=64)
    consumer = engine.attach(required=False) if listens else None
    for _ in range(200):
        engine.submit(A, "sell", 1, 9)
    if by_array:
        first = engine.run(_taker(150), client_ids=np.array([7], np.uint64))
        assert first.events["kind"].tolist() == [Kind.REQUEST, Kind.ACCEPTED, *[Kind.TRADE] * 150]
    else:
        assert engine.submit(A, "buy", 150, 9, client_order_id=7).trade_count == 150
    again = engine.submit(A, "buy", 150, 9, client_order_id=7)
    assert again.repeated
    assert again.trades[149].trade_id == again.trade_count == 150
    assert engine.mass_cancel(client_order_id=8).cancelled_lots == engine.mass_cancel(client_order_id=8).cancelled_lots == 50
    assert consumer is None or len(consumer.read())
    engine.check()


def test_snapshots_of_before_remember_nothing(engine: Engine) -> None:
    rest_some(engine)
    data = engine.snapshot()
    length = struct.unpack_from("<I", data, 12)[0]
    header = json.loads(data[16 : 16 + length])
    del header["requests"], header["rows"]["requests"], header["rows"]["request_trades"]
    text = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
    body = data[:8] + struct.pack("<II", 1, len(text)) + text + data[16 + length : -16]
    old = Engine.restore(body + hashlib.blake2b(body, digest_size=16).digest(), client_ids=9)
    assert (old.client_ids, old.remembered_commands) == (9, 0)
    assert old.state_hash() == engine.state_hash()


def test_a_changed_snapshot_is_refused_or_sound(engine: Engine) -> None:
    rest_some(engine)
    engine.submit(A, "buy", 5, 12, client_order_id=7, user="carl")
    engine.cancel(3, client_order_id=8, ts_ns=9)
    data = engine.snapshot()
    start = data.index(struct.pack("<Q", 7), data.index(b"}") + 1) - 16
    refused = 0
    for at in range(start, len(data) - 16):
        for bit in (0, 5):
            body = bytearray(data[:-16])
            body[at] ^= 1 << bit
            try:
                Engine.restore(bytes(body) + hashlib.blake2b(body, digest_size=16).digest()).check()
            except SnapshotError:
                refused += 1
    assert refused > 100
