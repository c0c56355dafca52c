"""Client order ids across a crash: the window is in the journal, and so is its size."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from journal_setup import as_if_killed, rows, same
from side_by_side import new_engine

from pyengine import Engine, FieldError, InMemoryOrderStore, Instrument, Reason
from pyengine.journal import Journal, JournalDamaged, configuration, journal, prune, recover, write_snapshot
from pyengine.journal.disk import Disk
from pyengine.journal.history import History
from pyengine.journal.recovery import whole_commands
from pyengine.records import EVENT_DTYPE, FIRST_REJECTION, Kind


def journaled(path: Path, **window: int | None) -> Engine:
    """Make an engine with the books and users of the streams, and a new journal of small segments."""
    like = new_engine()
    engine = Engine(like.instruments, durability="memory", **window)  # type: ignore[arg-type]  # the names are its own
    for number in range(1, like.user_count + 1):
        engine.user(str(like.user_name(number)))
    Journal(path, segment_bytes=4096).attach(engine, durability="memory")
    return engine


def ids_of(count: int, first: int = 1) -> np.ndarray:
    return np.arange(first, first + count, dtype=np.uint64)


def test_a_retry_after_a_crash_returns_the_first_result(tmp_path: Path) -> None:
    with journaled(tmp_path / "j") as engine:
        commands, ids = rows(600), ids_of(600)
        first = engine.run(commands, client_ids=ids)
        place = engine.books[0].submit(1, 100, 40, client_order_id=1001)
        trade = engine.books[0].submit(2, 100, 30, client_order_id=1002)
        copy = as_if_killed(engine, tmp_path / "j", tmp_path / "copy")
        same(engine, copy)
        with Journal(copy, segment_bytes=4096).resume() as again:
            assert again.snapshot() == engine.snapshot()
            state = again.snapshot()
            for before in (place, trade):
                side, lots = (1, 40) if before is place else (2, 30)
                after = again.books[0].submit(side, 100, lots, client_order_id=1001 if before is place else 1002)
                assert after.repeated
                assert (after.status, after.order_id, after.filled_lots) == (before.status, before.order_id, before.filled_lots)
                assert [bytes(one) for one in after.trades] == [bytes(one) for one in before.trades]
            assert again.books[0].submit(1, 100, 41, client_order_id=1001).status == Reason.CLIENT_ID_REUSED
            out = again.run(commands, client_ids=ids)
            malformed = (first.status >= FIRST_REJECTION) & (first.status < 64)
            assert out.status.tolist() == first.status.tolist()
            assert out.repeated.tolist() == (~malformed).tolist()
            assert Engine.restore(state).state_hash() == again.state_hash()


@pytest.mark.parametrize("window", [{"client_ids": 40}, {"client_id_age_ns": 60}, {"client_ids": 90, "client_id_age_ns": 100}])
def test_the_edge_of_the_window_is_where_it_was(tmp_path: Path, window: dict[str, int]) -> None:
    with journaled(tmp_path / "j", **window) as engine:
        for turn in range(6):
            commands = rows(60, seed=turn)
            commands["ts_ns"] += 60 * turn
            engine.run(commands, client_ids=ids_of(60, 1 + 60 * turn))
            if turn == 2:
                engine.acknowledged().result()
                write_snapshot(tmp_path / "j")
            copy = as_if_killed(engine, tmp_path / "j", tmp_path / f"copy {turn}")
            same(engine, copy)
            found = recover(copy).engine
            assert (found.client_ids, found.client_id_age_ns) == (engine.client_ids, engine.client_id_age_ns)
            assert found.remembered_commands == engine.remembered_commands
        write_snapshot(tmp_path / "j")
        prune(tmp_path / "j")
        same(engine, tmp_path / "j")
        for seq in range(recover(tmp_path / "j").last_seq - 40, engine.next_seq, 7):
            recover(tmp_path / "j", until_seq=seq).engine.check()


def test_the_journals_window_counts(tmp_path: Path) -> None:
    journaled(tmp_path, client_ids=7, client_id_age_ns=50).close()
    with Journal(tmp_path).resume(client_ids=99, client_id_age_ns=None) as engine:
        assert (engine.client_ids, engine.client_id_age_ns) == (7, 50)
    other = recover(tmp_path).engine
    for options in ({"client_ids": 8, "client_id_age_ns": 50}, {"client_ids": 7}):
        engine = Engine(other.instruments, **options)
        [name] = [name for name in ("client_ids", "client_id_age_ns") if getattr(engine, name) != getattr(other, name)]
        with pytest.raises(FieldError, match=f"{name} must be .*, as in the journal"):
            Journal(tmp_path).attach(engine)


def test_a_journal_that_says_nothing_of_ids_has_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def of_before(engine: Engine) -> dict[str, int]:
        return {"self_trade": engine.self_trade}

    with monkeypatch.context() as patch:
        patch.setattr(journal, "configured", of_before)
        with journaled(tmp_path) as engine:
            engine.run(rows(50))
    assert configuration.engine_options({"self_trade": 1})["client_ids"] == 65536
    with Journal(tmp_path).resume() as engine:
        assert (engine.client_ids, engine.client_id_age_ns) == (65536, None)
        engine.run(rows(50, seed=9), client_ids=ids_of(50))
        engine.acknowledged().result()
        same(engine, tmp_path)


def test_a_window_that_no_engine_can_have_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "configured", lambda engine: {"self_trade": engine.self_trade, "client_ids": -1})
    journaled(tmp_path).close()
    with pytest.raises(JournalDamaged, match="client_ids must be"):
        recover(tmp_path)


def test_recovery_to_a_point_ends_between_commands_with_ids(tmp_path: Path) -> None:
    with journaled(tmp_path) as engine:
        commands = rows(120, seed=3)
        states = {}
        for row, client_id in zip(commands, ids_of(len(commands)), strict=True):
            engine.run(row.reshape(1), client_ids=client_id.reshape(1))
            states[engine.next_seq - 1] = engine.snapshot()
        engine.acknowledged().result()
        ends = [0, *states]
        for seq in range(1, engine.next_seq):
            end = max(end for end in ends if end <= seq)
            found = recover(tmp_path, until_seq=seq)
            assert found.last_seq == end
            if end:
                assert found.engine.snapshot() == states[end]


def test_a_mass_cancel_that_met_nothing_is_a_command_of_its_own() -> None:
    events = np.zeros(4, EVENT_DTYPE)
    events["seq"], events["ts_ns"] = [1, 2, 3, 4], [1, 1, 2, 2]
    events["kind"] = [Kind.REQUEST, Kind.ACCEPTED, Kind.REQUEST, Kind.ACCEPTED]
    events["detail"] = [7 << 32, 2 << 32, 2 << 32, 2 << 32]
    assert [whole_commands(events, seq, None) for seq in range(1, 5)] == [1, 2, 2, 4]


def test_a_repetition_is_durable_when_its_first_time_is(tmp_path: Path) -> None:
    class Gate(Disk):
        def __init__(self) -> None:
            self.free = threading.Event()
            self.free.set()

        def sync(self, fd: int) -> None:
            self.free.wait(20)
            super().sync(fd)

    disk = Gate()
    engine = Engine([Instrument("AAA")])
    Journal(tmp_path, disk=disk).attach(engine, durability="journal")
    engine.submit("AAA", "buy", 1, 9, client_order_id=1)
    disk.free.clear()
    done = []
    threads = [
        threading.Thread(target=lambda: done.append(engine.submit("AAA", "buy", 1, 9, client_order_id=2))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 5
    while engine.remembered_commands < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    # The first command is on the disk, so its repetition needn't wait for the second one, which isn't.
    assert engine.submit("AAA", "buy", 1, 9, client_order_id=1).repeated
    assert not done
    disk.free.set()
    for thread in threads:
        thread.join(20)
    assert sorted(one.repeated for one in done) == [False, True, True]
    assert {one.order_id for one in done} == {2}
    engine.close()


def test_orders_out_of_a_journal_have_their_ids(tmp_path: Path) -> None:
    with journaled(tmp_path) as engine:
        placed = engine.books[0].submit(1, 100, 40, client_order_id=2**64 - 1)
        bare = engine.books[0].submit(1, 100, 40)
        engine.acknowledged().result()
        write_snapshot(tmp_path)
        engine.amend_lots(placed.order_id, 100, 10, client_order_id=5)
    with Journal(tmp_path).resume(order_store=InMemoryOrderStore()) as again:
        store = again.order_store
        assert store is not None
        assert store.get(placed.order_id).client_id == 2**64 - 1
        assert store.get(bare.order_id).client_id == 0


def test_orders_of_a_history_have_their_ids_wherever_it_begins(tmp_path: Path) -> None:
    with journaled(tmp_path) as engine:
        out = engine.run(rows(150, seed=2), client_ids=ids_of(150, 500))
        engine.acknowledged().result()
        history = History(tmp_path)
        known = {(int(row["order_id"]), int(row["version"])): int(row["client_id"]) for row in _orders(history, 0, batch=1)}
        assert len({client_id for client_id in known.values() if client_id}) > 50
        for after in range(engine.next_seq - 1):
            for row in _orders(history, after, batch=4):
                assert known[int(row["order_id"]), int(row["version"])] == row["client_id"]
        assert out.events["kind"][0] == Kind.REQUEST


def _orders(history: History, after: int, batch: int) -> list[np.void]:
    return [row for found, _ in history.orders(after, batch=batch) for row in found]
