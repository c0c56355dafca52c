"""A command with a client order id runs once: streams of commands, repetitions and reuse against a dictionary."""

from __future__ import annotations

import numpy as np
import pytest
from command_streams import MIXES, Mix, random_rows
from once_model import OnceModel, Outcome, outcome_of_result
from pyengine._core.recovery import Recovery
from side_by_side import MODES, NAMES, new_engine

from pyengine import Engine, FieldError, Result
from pyengine.errors import RecoveryError
from pyengine.records import FIRST_REJECTION, Action, Flag, Kind, SelfTrade

WINDOWS = [(4, None), (50, None), (1, None), (100_000, None), (60, 40), (100_000, 25), (7, 1)]


def engine_with(limit: int, age_ns: int | None, mode: SelfTrade, ring_capacity: int = 1024) -> Engine:
    like = new_engine()
    engine = Engine(like.instruments, self_trade=mode, client_ids=limit, client_id_age_ns=age_ns, ring_capacity=ring_capacity)
    for number, name in enumerate(NAMES, start=1):
        assert engine.user(name, MODES[number]) == number
    return engine


def stream(seed: int, count: int, mix: Mix) -> tuple[np.ndarray, np.ndarray]:
    """Draw commands and client order ids: fresh ones, none, repetitions, other contents under an id that was used."""
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, count, mix)
    rows["ts_ns"] = np.cumsum(rng.integers(-3, 6, count))
    ids = rng.integers(1, 2**64 - 1, count, dtype=np.uint64, endpoint=True)
    ids[rng.random(count) < 0.4] = rng.integers(1, 8)
    ids[rng.random(count) < 0.2] = 0
    for at in np.flatnonzero(rng.random(count) < 0.35):
        if at == 0:
            continue
        first = max(0, at - int(rng.integers(1, 90)))
        ids[at] = ids[first]
        ts_ns = rows[at]["ts_ns"]
        rows[at] = rows[first]
        rows[at]["ts_ns"] = ts_ns
        if rng.random() < 0.25:
            name = rng.choice(["qty_lots", "price_ticks", "order_id", "user", "instrument", "side", "stp"])
            rows[at][name] = rng.integers(0, 4)
    return rows, ids


def single(engine: Engine, row: np.void, client_id: int | None) -> Result | None:
    """Run a row as a call of its book, or of the engine; None if there is no such call."""
    action, index, flags = int(row["action"]), int(row["instrument"]), int(row["flags"])
    side, price, qty, order_id, user, tif, ts_ns, stp = (
        int(row[name]) for name in ("side", "price_ticks", "qty_lots", "order_id", "user", "tif", "ts_ns", "stp")
    )
    if row["reserved"].any() or row["aux1"] or row["aux2"]:
        return None
    if action == Action.MASS_CANCEL and not (tif or flags or stp or order_id or user > engine.user_count):
        return engine.mass_cancel_lots(index, side, user, ts_ns, client_order_id=client_id)
    if index >= len(engine.books):
        return None
    book, own = engine.books[index], None if flags & Flag.ASSIGN_ID else order_id
    if action == Action.LIMIT and not (own is None and order_id):
        return book.submit(side, price, qty, own, user, tif, flags & ~Flag.ASSIGN_ID, ts_ns, stp, client_order_id=client_id)
    if action == Action.MARKET and not (flags & ~Flag.ASSIGN_ID or price or (own is None and order_id)):
        return book.submit_market(side, qty, own, user, ts_ns, stp, tif, client_order_id=client_id)
    if action == Action.CANCEL and not (side or price or qty or tif or flags or stp):
        return book.cancel(order_id, user, ts_ns, client_order_id=client_id)
    if action == Action.AMEND and not (side or tif):
        return book.amend(order_id, price, qty, user, flags, ts_ns, stp, client_order_id=client_id)
    return None


def run_both(engine: Engine, model: OnceModel, rows: np.ndarray, ids: np.ndarray, rng: np.random.Generator) -> int:
    """Run a stream in arrays and single calls by turns; returns how many were repetitions."""
    at = repeated = 0
    while at < len(rows):
        size = int(rng.integers(1, 40))
        if rng.random() < 0.5:
            out = engine.run(rows[at : at + size], client_ids=ids[at : at + size])
            expected = [
                model.apply(row, int(client_id)) for row, client_id in zip(rows[at : at + size], ids[at : at + size], strict=True)
            ]
            assert out.status.tolist() == [outcome.status for outcome, _ in expected]
            assert out.repeated.tolist() == [again for _, again in expected]
            repeated += int(out.repeated.sum())
            at += size
            continue
        for row, client_id in zip(rows[at : at + size], ids[at : at + size], strict=True):
            repeated += run_one(engine, model, row, int(client_id))
        at += size
    return repeated


def run_one(engine: Engine, model: OnceModel, row: np.void, client_id: int) -> bool:
    expected: Outcome
    before = engine.next_seq
    try:
        result = single(engine, row, client_id or None)
    except FieldError:
        expected, again = model.apply(row, client_id)
        assert not again
        assert FIRST_REJECTION <= expected.status < 64
        assert engine.next_seq == before
        model.forget_last_events()
        return False
    expected, again = model.apply(row, client_id)
    if result is None:
        out = engine.run(row.reshape(1), client_ids=np.array([client_id], np.uint64))
        assert (out.status[0], out.repeated[0]) == (expected.status, again)
        return again
    assert outcome_of_result(result) == expected
    assert result.repeated == again
    assert not again or engine.next_seq == before
    return again


def said(events: np.ndarray) -> bytes:
    """Events without their numbers and without requests."""
    kept = events[events["kind"] != Kind.REQUEST].copy()
    kept["seq"] = 0
    return kept.tobytes()


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("limit", "age_ns"), WINDOWS)
def test_streams_run_as_a_dictionary_says(seed: int, limit: int, age_ns: int | None) -> None:
    rng = np.random.default_rng(seed)
    mode = SelfTrade(1 + seed % 5)
    rows, ids = stream(seed, 700, MIXES[seed % len(MIXES)])
    engine, model = engine_with(limit, age_ns, mode), OnceModel(limit=limit, age_ns=age_ns, self_trade=mode)
    heard = engine.attach(required=False)
    events = []
    for part in range(0, len(rows), 100):
        run_both(engine, model, rows[part : part + 100], ids[part : part + 100], rng)
        events.append(heard.read().copy())
        engine.check()
        assert engine.remembered_commands == len(model)
        assert engine.state_hash() == model.engine.state_hash()
    whole = np.concatenate(events)
    assert not heard.missed
    assert said(whole) == said(np.concatenate(model.events))
    recovered(engine, whole, limit, age_ns, mode, rng)


def recovered(
    engine: Engine, events: np.ndarray, limit: int, age_ns: int | None, mode: SelfTrade, rng: np.random.Generator
) -> None:
    """See that events, however they are cut, and a snapshot lead to the same state, and that it goes on alike."""
    other = engine_with(limit, age_ns, mode)
    recovery = Recovery(other)
    at = 0
    for size in [*rng.integers(0, 60, 20).tolist(), len(events)]:
        recovery.apply(events[at : at + size])
        at += size
    recovery.finish()
    other.check()
    state = engine.snapshot()
    assert other.snapshot() == state
    third = Engine.restore(state)
    third.check()
    assert third.snapshot() == state
    assert (third.client_ids, third.client_id_age_ns) == (limit, age_ns)
    rows, ids = stream(99, 300, MIXES[0])
    outs = [one.run(rows, client_ids=ids) for one in (engine, other, third)]
    for out in outs[1:]:
        assert out.events.tobytes() == outs[0].events.tobytes()
        assert out.repeated.tolist() == outs[0].repeated.tolist()
    assert other.snapshot() == engine.snapshot() == third.snapshot()


@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: mix.name)
def test_a_long_stream_runs_as_a_dictionary_says(mix: Mix) -> None:
    rows, ids = stream(5, 6000, mix)
    engine, model = engine_with(400, None, SelfTrade.OFF), OnceModel(limit=400)
    repeated = run_both(engine, model, rows, ids, np.random.default_rng(5))
    assert repeated > 300
    assert engine.state_hash() == model.engine.state_hash()
    assert engine.remembered_commands == len(model)


@pytest.mark.parametrize("seed", range(3))
def test_each_command_begins_where_another_engine_may_go_on(seed: int) -> None:
    rows, ids = stream(seed, 250, MIXES[seed])
    engine = engine_with(20, 30, SelfTrade.DECREMENT)
    events = []
    for row, client_id in zip(rows, ids, strict=True):
        events.append(engine.run(row.reshape(1), client_ids=client_id.reshape(1)).events.copy())
        other = engine_with(20, 30, SelfTrade.DECREMENT)
        recovery = Recovery(other)
        recovery.apply(np.concatenate(events))
        recovery.finish()
        other.check()
        assert other.snapshot() == engine.snapshot()


def test_a_repeated_stream_changes_nothing() -> None:
    rows, _ = stream(3, 2000, MIXES[1])
    ids = np.arange(1, len(rows) + 1, dtype=np.uint64)
    engine = engine_with(100_000, None, SelfTrade.OFF)
    first = engine.run(rows, client_ids=ids)
    state = engine.snapshot()
    again = engine.run(rows, client_ids=ids)
    malformed = (first.status >= FIRST_REJECTION) & (first.status < 64)
    assert again.status.tolist() == first.status.tolist()
    assert again.repeated.tolist() == (~malformed).tolist()
    assert len(again.events) == malformed.sum()
    assert Engine.restore(state).state_hash() == engine.state_hash()


def test_events_that_no_engine_writes_are_refused() -> None:
    engine = engine_with(10, None, SelfTrade.OFF)
    book = engine.books[0]
    heard = engine.attach(required=False)
    book.submit(1, 100, 5, 1, client_order_id=1)
    book.submit(2, 100, 2, 2, client_order_id=2)
    book.cancel(1, client_order_id=3)
    book.mass_cancel(client_order_id=4)
    events = heard.read().copy()
    assert events["kind"].tolist() == [6, 1, 6, 1, 3, 6, 4, 6]

    def refused(rows: np.ndarray, seq: int) -> None:
        rows["seq"] = np.arange(1, len(rows) + 1)
        recovery = Recovery(engine_with(10, None, SelfTrade.OFF))
        with pytest.raises(RecoveryError, match=r"agree with the command that it is part of|name an order") as error:  # noqa: PT012  whichever
            recovery.apply(rows)
            recovery.finish()
        assert error.value.seq == seq

    refused(events[:1].copy(), 1)  # nothing came of it
    refused(np.delete(events, 1), 2)  # one request upon another
    refused(np.delete(events, 3), 4)  # it trades without being accepted
    twice = events.copy()
    twice["order_id"][2] = 1
    refused(twice, 3)
    nobody = events.copy()
    nobody["order_id"][0] = 0
    refused(nobody, 1)
    stranger = events.copy()
    stranger["detail"][0] += 99
    refused(stranger, 1)
    fewer = events.copy()
    fewer["qty_lots"][7] = 1
    refused(fewer, 8)
