"""Array rows that are wrong, each with its reason, and arguments of `run` that are no commands; nothing changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from pyengine import Engine, FieldError, FieldTypeError, Instrument, commands_from, make_commands
from pyengine.records import COMMAND_DTYPE, EVERY_INSTRUMENT, Kind, Reason, Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST = 2**62 - 1
R = Reason
NEW = {"action": 2, "side": 1, "order_id": 900, "price_ticks": 100, "qty_lots": 5}
MARKET = {"action": 1, "side": 1, "order_id": 900, "qty_lots": 5}
CANCEL = {"action": 3, "order_id": 1}
AMEND = {"action": 6, "order_id": 1, "price_ticks": 90, "qty_lots": 4}
MASS = {"action": 7}
HIGHEST = {"instrument": 2**32 - 1, "user": 2**32 - 1}

ROWS: list[tuple[dict[str, int], dict[str, int], Reason]] = [
    *[(NEW, {"action": a}, R.INVALID_ACTION) for a in (0, 4, 5, 8, 9, 64, 128, 254, 255)],
    *[(base, {"instrument": 3}, R.INVALID_INSTRUMENT) for base in (NEW, MARKET, CANCEL, AMEND, MASS)],
    *[(base, {"instrument": EVERY_INSTRUMENT}, R.INVALID_INSTRUMENT) for base in (NEW, MARKET, CANCEL, AMEND)],
    *[(MASS, {"instrument": i}, R.INVALID_INSTRUMENT) for i in (2**31, EVERY_INSTRUMENT - 1)],
    *[(NEW, {"side": s}, R.INVALID_SIDE) for s in (0, 3, 4, 128, 255)],
    *[(MARKET, {"side": s}, R.INVALID_SIDE) for s in (0, 3, 255)],
    *[(base, {"side": 3}, R.INVALID_SIDE) for base in (CANCEL, AMEND, MASS)],
    *[(NEW, {"tif": t}, R.INVALID_TIF) for t in (3, 4, 5, 255)],
    *[(base, {"tif": 3}, R.INVALID_TIF) for base in (MARKET, CANCEL, AMEND, MASS)],
    *[(NEW, {"flags": f}, R.INVALID_FLAGS) for f in (2, 4, 8, 16, 32, 64, 5, 130, 255)],
    *[(NEW, {"flags": 1, "tif": t}, R.INVALID_FLAGS) for t in (1, 2)],
    *[(NEW, {"flags": 3, "tif": t}, R.INVALID_FLAGS) for t in (1, 2)],
    *[(MARKET, {"flags": f}, R.INVALID_FLAGS) for f in (1, 2, 3, 64)],
    *[(AMEND, {"flags": f}, R.INVALID_FLAGS) for f in (2, 3, 128, 129)],
    *[(base, {"flags": f}, R.INVALID_FLAGS) for base in (CANCEL, MASS) for f in (1, 128)],
    *[(base, {"stp": s}, R.INVALID_STP) for base in (NEW, MARKET, CANCEL, AMEND, MASS) for s in (6, 255)],
    *[(base, {"aux1": 1}, R.INVALID_RESERVED) for base in (NEW, MARKET, CANCEL, AMEND, MASS)],
    *[(NEW, {field: v}, R.INVALID_RESERVED) for field in ("aux1", "aux2") for v in (-1, 2**63 - 1, -(2**63))],
    *[(base, {"user": 3}, R.INVALID_USER) for base in (NEW, MARKET, CANCEL, AMEND, MASS)],
    *[(NEW, {"user": u}, R.INVALID_USER) for u in (2**31, 2**32 - 1)],
    *[(NEW, {"price_ticks": p}, R.INVALID_PRICE) for p in (0, -1, -(2**62), -(2**63))],
    *[(AMEND, {"price_ticks": p}, R.INVALID_PRICE) for p in (0, -1, -(2**63))],
    *[(MARKET, {"price_ticks": p}, R.INVALID_PRICE) for p in (1, -1, 100, 2**63 - 1)],
    *[(NEW, {"price_ticks": p}, R.PRICE_OUT_OF_RANGE) for p in (LARGEST + 1, 2**63 - 1)],
    *[(NEW, {"instrument": 2, "price_ticks": p}, R.PRICE_OUT_OF_RANGE) for p in (9, 21)],
    *[(NEW, {"qty_lots": q}, R.INVALID_QTY) for q in (0, -1, -(2**63))],
    *[(base, {"qty_lots": q}, R.INVALID_QTY) for base in (MARKET, AMEND) for q in (0, -1, -(2**63))],
    *[(NEW, {"qty_lots": q, "price_ticks": 1}, R.QTY_OUT_OF_RANGE) for q in (LARGEST + 1, 2**63 - 1)],
    *[(MARKET, {"instrument": 2, "qty_lots": q}, R.QTY_OUT_OF_RANGE) for q in (1, 51)],
    *[(NEW, {"instrument": 2, "qty_lots": q, "price_ticks": 15}, R.QTY_OUT_OF_RANGE) for q in (1, 51)],
    (NEW, {"price_ticks": 2**32, "qty_lots": 2**31}, R.NOTIONAL_OVERFLOW),
    (NEW, {"price_ticks": LARGEST, "qty_lots": 3}, R.NOTIONAL_OVERFLOW),
    (NEW, {"price_ticks": LARGEST, "qty_lots": LARGEST}, R.NOTIONAL_OVERFLOW),
    (AMEND, {"price_ticks": 2**61, "qty_lots": 4}, R.NOTIONAL_OVERFLOW),
    # Refusals: nothing wrong with the row, but with what it asks of the book.
    (NEW, {"order_id": 1}, R.DUPLICATE_ORDER_ID),
    (MARKET, {"order_id": 2}, R.DUPLICATE_ORDER_ID),
    (NEW, {"order_id": 1, "instrument": 1}, R.DUPLICATE_ORDER_ID),
    *[(CANCEL, {"order_id": i}, R.UNKNOWN_ORDER) for i in (0, 900, 2**63, 2**64 - 1)],
    *[(AMEND, {"order_id": i}, R.UNKNOWN_ORDER) for i in (0, 900, 2**64 - 1)],
    (CANCEL, {"instrument": 1}, R.WRONG_INSTRUMENT),
    (AMEND, {"instrument": 1}, R.WRONG_INSTRUMENT),
    (CANCEL, {"user": 2}, R.NOT_OWNER),
    (AMEND, {"user": 2}, R.NOT_OWNER),
    (CANCEL, {"order_id": 2, "user": 1}, R.NOT_OWNER),
    (NEW, {"flags": 1, "price_ticks": 110}, R.POST_ONLY_WOULD_TRADE),
    (NEW, {"flags": 1, "side": 2, "price_ticks": 90}, R.POST_ONLY_WOULD_TRADE),
    (AMEND, {"flags": 1, "price_ticks": 110}, R.POST_ONLY_WOULD_TRADE),
    (NEW, {"instrument": 1, "price_ticks": 1, "qty_lots": 2}, R.LEVEL_FULL),
    # Of several faults the first in the documented order counts.
    (NEW, {"action": 0, **HIGHEST, "side": 9, "price_ticks": -1}, R.INVALID_ACTION),
    (NEW, {**HIGHEST, "side": 9, "tif": 9, "qty_lots": 0}, R.INVALID_INSTRUMENT),
    (NEW, {"side": 9, "tif": 9, "flags": 64, "user": 9}, R.INVALID_SIDE),
    (NEW, {"tif": 9, "flags": 64, "stp": 9, "aux1": 1}, R.INVALID_TIF),
    (NEW, {"flags": 64, "stp": 9, "aux1": 1, "user": 9}, R.INVALID_FLAGS),
    (NEW, {"stp": 9, "aux2": 1, "user": 9, "price_ticks": 0}, R.INVALID_STP),
    (NEW, {"aux2": 1, "user": 9, "price_ticks": 0, "qty_lots": 0}, R.INVALID_RESERVED),
    (NEW, {"user": 9, "price_ticks": 0, "qty_lots": 0}, R.INVALID_USER),
    (NEW, {"price_ticks": 0, "qty_lots": 0, "order_id": 1}, R.INVALID_PRICE),
    (NEW, {"price_ticks": 2**62, "qty_lots": 0, "order_id": 1}, R.PRICE_OUT_OF_RANGE),
    (NEW, {"qty_lots": 0, "order_id": 1}, R.INVALID_QTY),
    (NEW, {"order_id": 1, "flags": 1, "price_ticks": 110}, R.DUPLICATE_ORDER_ID),
    (CANCEL, {"order_id": 2, "instrument": 1, "user": 1}, R.WRONG_INSTRUMENT),
]


@pytest.fixture
def engine() -> Engine:
    """Make books with something to collide with: bid 1 of alice, ask 2 of bob, and a level that is nearly full."""
    limited = Instrument("LIMITED", min_price=10, max_price=20, min_qty=2, max_qty=50)
    engine = Engine([Instrument("X"), Instrument("FULL"), limited])
    alice, bob = engine.user("alice"), engine.user("bob")
    engine.book("X").submit(1, 90, 5, 1, user=alice)
    engine.book("X").submit(2, 110, 5, 2, user=bob)
    for order_id in (3, 4):
        engine.book("FULL").submit(1, 1, LARGEST, order_id)
    return engine


def row(*parts: dict[str, int]) -> NDArray[np.void]:
    """Make an array of one command."""
    rows = make_commands(1)
    for part in parts:
        for field, value in part.items():
            rows[field] = value
    return rows


def stack(*commands: NDArray[np.void]) -> NDArray[np.void]:
    """Put commands one after another."""
    rows = make_commands(sum(map(len, commands)))
    for i, command in enumerate(commands):
        rows[i : i + 1] = command
    return rows


def test_the_table_is_long_enough() -> None:
    assert len(ROWS) >= 150
    assert {reason for _, _, reason in ROWS} >= {r for r in Reason if 32 <= r < 70}


@pytest.mark.parametrize(("base", "changes", "reason"), ROWS)
def test_bad_row_is_rejected_by_reason_and_changes_nothing(
    engine: Engine, base: dict[str, int], changes: dict[str, int], reason: Reason
) -> None:
    command = row(base, changes)
    before = engine.state_hash()
    out = engine.run(command)
    assert out.status.tolist() == [reason]
    [event] = out.events
    assert (event["kind"], event["reason"], event["flags"]) == (Kind.REJECTED, reason, command["action"][0])
    for field in ("order_id", "instrument", "side", "price_ticks", "qty_lots", "ts_ns"):
        assert event[field] == command[field][0]
    assert engine.state_hash() == before
    assert engine.run(row(base, changes)).events["seq"].tolist() == [event["seq"] + 1]
    engine.check()


@pytest.mark.parametrize("base", [NEW, MARKET, CANCEL, AMEND, MASS])
def test_the_rows_that_the_table_spoils_are_good_before(engine: Engine, base: dict[str, int]) -> None:
    assert engine.run(row(base)).status[0] < Reason.INVALID_ACTION


@pytest.mark.parametrize("position", [45, 46, 47])
@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("base", [NEW, CANCEL])
def test_reserved_bytes_must_be_zero_however_the_array_lies(
    engine: Engine, base: dict[str, int], position: int, *, strided: bool
) -> None:
    rows = np.repeat(row(base), 2)
    rows.view(np.uint8).reshape(2, 64)[:, position] = 7
    chosen = rows[::2] if strided else rows[:1]
    before = engine.state_hash()
    assert engine.run(chosen).status.tolist() == [Reason.INVALID_RESERVED]
    assert engine.state_hash() == before


def test_bad_rows_leave_their_neighbours_alone(engine: Engine) -> None:
    good = [row(NEW, {"order_id": 900 + i, "price_ticks": 50 + i}) for i in range(3)]
    bad = [row(base, changes) for base, changes, _ in ROWS]
    out = engine.run(stack(good[0], *bad, good[1], *bad, good[2]))
    reasons = [reason for _, _, reason in ROWS]
    resting = Status.RESTING
    # The first new order makes 900 a known id, so only its own row's kind of fault is looked at here.
    expected = [resting, *reasons, resting, *reasons, resting]
    differing = [i for i, (a, b) in enumerate(zip(out.status.tolist(), expected, strict=True)) if a != b]
    assert all(expected[i] in {Reason.UNKNOWN_ORDER, Reason.POST_ONLY_WOULD_TRADE, Reason.LEVEL_FULL} for i in differing)
    assert out.status[[0, len(bad) + 1, -1]].tolist() == [resting] * 3
    engine.check()


# What isn't an array of commands at all

PACKED = np.dtype([(name, COMMAND_DTYPE[name]) for name in COMMAND_DTYPE.names or () if name != "reserved"])
ARGUMENTS: list[tuple[str, Any]] = [
    ("none", None),
    ("int", 5),
    ("float", float("nan")),
    ("text", "commands"),
    ("bytes", b"\2" * 64),
    ("bytearray", bytearray(64)),
    ("list", [1, 2, 3]),
    ("list of tuples", [(2, 1)]),
    ("dict", {"action": [2]}),
    ("object", object()),
    ("type", Engine),
    ("int array", np.zeros(4, np.int64)),
    ("float array", np.full(4, np.nan)),
    ("object array", np.array([None, 1], object)),
    ("text array", np.array(["a"])),
    ("bytes array", np.zeros((4, 64), np.uint8)),
    ("void array", np.zeros(4, "V64")),
    ("packed records", np.zeros(4, PACKED)),
    ("big-endian records", np.zeros(4, COMMAND_DTYPE.newbyteorder(">"))),
    ("fewer fields", np.zeros(4, COMMAND_DTYPE)[["action", "side"]]),
    ("0-d", np.zeros((), COMMAND_DTYPE)),
    ("2-d", np.zeros((2, 2), COMMAND_DTYPE)),
    ("one record", np.zeros(1, COMMAND_DTYPE)[0]),
    ("records as objects", np.zeros(3, COMMAND_DTYPE).astype(object)),
    ("datetimes", np.zeros(3, "M8[ns]")),
    ("frame", pd.DataFrame({"action": [2]})),
    ("memoryview", memoryview(bytes(64))),
]


@pytest.mark.parametrize("argument", [a for _, a in ARGUMENTS], ids=[name for name, _ in ARGUMENTS])
def test_run_refuses_what_isnt_an_array_of_commands(engine: Engine, argument: Any) -> None:
    before = engine.state_hash()
    with pytest.raises(FieldError) as caught:
        engine.run(argument)
    assert caught.value.field == "commands"
    assert engine.state_hash() == before


@pytest.mark.parametrize("form", ["read-only", "strided", "reversed", "broadcast", "joined", "misaligned", "empty", "field view"])
def test_run_takes_commands_however_they_lie_in_memory(engine: Engine, form: str) -> None:
    rows = stack(*[row(NEW, {"order_id": 900 + i, "price_ticks": 10 + i}) for i in range(6)])
    wide = np.zeros(6, [("pad", "u1"), ("command", COMMAND_DTYPE)])
    wide["command"] = rows
    raw = np.zeros(6 * 64 + 1, np.uint8)
    raw[1:] = rows.view(np.uint8)
    forms = {
        "strided": rows[::2],
        "reversed": rows[::-1],
        "broadcast": np.broadcast_to(rows[:1], (3,)),
        "joined": np.concatenate([rows[:2], rows[2:]]),
        "misaligned": raw[1:].view(COMMAND_DTYPE),
        "empty": rows[:0],
        "field view": wide["command"],
        "read-only": rows.copy(),
    }
    forms["read-only"].flags.writeable = False
    commands = forms[form]
    expected = Engine.restore(engine.snapshot()).run(commands.copy())
    out = engine.run(commands)
    assert out.status.tobytes() == expected.status.tobytes()
    assert out.events.tobytes() == expected.events.tobytes()
    engine.check()


TABLES: list[tuple[str, Any, dict[str, Any]]] = [
    ("unknown column", {"prise": np.ones(2, np.int64)}, {}),
    ("given twice", {"side": np.ones(2, np.uint8)}, {"side": 1}),
    ("other length", {"side": np.ones(2, np.uint8), "qty_lots": np.ones(3, np.int64)}, {}),
    ("floats", {"price_ticks": np.ones(2)}, {}),
    ("text", {"side": np.array(["buy"])}, {}),
    ("objects", {"side": np.array([None], object)}, {}),
    ("too large", {"side": np.array([256])}, {}),
    ("negative id", {"order_id": np.array([-1])}, {}),
    ("wrapping", {"qty_lots": np.array([2**63], np.uint64)}, {}),
    ("2-d", {"side": np.ones((2, 2), np.uint8)}, {}),
    ("0-d", {"side": np.uint8(1)}, {}),
    ("null", {"side": pd.Series([1, None], dtype="Int64")}, {}),
    ("constant too large", {"side": np.ones(1, np.uint8)}, {"action": 256}),
    ("constant of another type", {"side": np.ones(1, np.uint8)}, {"action": "2"}),
    ("constant nan", {"side": np.ones(1, np.uint8)}, {"qty_lots": float("nan")}),
    ("constant bool", {"side": np.ones(1, np.uint8)}, {"action": True}),
    ("nothing", {}, {}),
    ("none", None, {}),
    ("number", 5, {}),
    ("array", np.zeros(2), {}),
    ("dates", {"ts_ns": np.zeros(2, "M8[ns]")}, {}),
]


@pytest.mark.parametrize(("table", "constants"), [t[1:] for t in TABLES], ids=[t[0] for t in TABLES])
def test_commands_arent_made_of_what_doesnt_fit(table: Any, constants: dict[str, Any]) -> None:
    with pytest.raises((FieldError, FieldTypeError)):
        commands_from(table, **constants)
