"""What stores are told out of a journal is what they would have been told live."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from journal_setup import journaled, rows

from pyengine import Engine, FieldError, SelfTrade
from pyengine.journal import History, HistoryGone, Journal, JournalDamaged, JournalError, prune, recover, write_snapshot
from pyengine.journal.snapshots import snapshot_files
from pyengine.records import EVENT_DTYPE, TRADE_DTYPE, Kind
from pyengine.stores import InMemoryOrderStore, InMemoryTradeStore

TURNS = 30


class Live:
    """An engine with a journal, and everything that it has ever published."""

    def __init__(self, path: Path, segment_bytes: int = 4096) -> None:
        self.path = path
        self.engine = journaled(path, segment_bytes=segment_bytes)
        self.parts = [np.empty(0, EVENT_DTYPE)]

    def run(self, turns: range, each: int = 15) -> None:
        for turn in turns:
            self.engine.user(f"user {turn % 7}", SelfTrade(turn % 6))
            self.parts.append(self.engine.run(rows(each, seed=turn)).events.copy())

    @property
    def events(self) -> np.ndarray:
        return np.concatenate(self.parts)

    def orders_after(self, seq: int) -> np.ndarray:
        """All orders, finished ones too, as they were when an event had happened."""
        store = InMemoryOrderStore()
        store.apply(self.events[:seq])
        return store.get_all_array()

    def open_after(self, seq: int) -> np.ndarray:
        found = self.orders_after(seq)
        return found[found["status"] <= 2]

    def trades_after(self, seq: int) -> np.ndarray:
        later = self.events[seq:]
        return later[later["kind"] == Kind.TRADE].view(TRADE_DTYPE)


@pytest.fixture
def live(tmp_path: Path) -> Live:
    one = Live(tmp_path)
    one.run(range(TURNS))
    return one


def joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts)


def check_orders(live: Live, history: History, after: int, until: int, batch: int) -> None:
    """See that what comes, written over what was there, gives what there is; and what was open is known at each step."""
    store = InMemoryOrderStore()
    store.save_batch(live.orders_after(after))
    reached = after
    for found, to_seq in history.orders(after, until, batch=batch):
        assert len(found) <= 2 * batch
        assert reached < to_seq <= min(until, reached + batch)
        store.save_batch(found)
        reached = to_seq
        if to_seq % 5 == 0 or to_seq == until:
            assert store.get_all_array().tobytes() == live.orders_after(to_seq).tobytes()
    assert reached == max(after, until)


@pytest.mark.parametrize("batch", [1, 7, 100, 10_000])
def test_orders_are_what_a_store_would_have_been_told(live: Live, batch: int) -> None:
    history, last = History(live.path), live.engine.next_seq - 1
    assert (history.first_seq, history.last_seq, history.orders_from, history.trades_from) == (1, last, 0, 0)
    for after in (0, 1, 2, last // 3, last // 2, last - 1, last):
        check_orders(live, history, after, last, batch)
    check_orders(live, history, 10, 50, batch)


@pytest.mark.parametrize("batch", [1, 7, 100, 10_000])
def test_trades_are_what_a_store_would_have_been_told(live: Live, batch: int) -> None:
    history, last = History(live.path), live.engine.next_seq - 1
    for after in (0, 1, last // 3, last // 2, last - 1, last):
        found = list(history.trades(after, batch=batch))
        assert joined([live.trades_after(last), *(part for part, _ in found)]).tobytes() == live.trades_after(after).tobytes()
        assert [to for _, to in found] == sorted({to for _, to in found})
        assert all(len(part) <= batch for part, _ in found)
        assert (found[-1][1] if found else last) == last
        for part, to_seq in found:
            assert len(part) == 0 or part["seq"][-1] <= to_seq
    until = [part for part, _ in history.trades(20, 60, batch=batch)]
    assert joined(until).tobytes() == live.trades_after(20)[live.trades_after(20)["seq"] <= 60].tobytes()


def test_a_journal_without_trades_moves_on_nevertheless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyengine.journal.history._MOST_EVENTS", 10)
    engine = journaled(tmp_path)
    book = engine.books[0]
    for price in range(1, 41):
        book.submit(1, 100 + price, 1)
    found = list(History(tmp_path).trades())
    assert [len(part) for part, _ in found] == [0] * len(found)
    assert [to for _, to in found] == [10, 20, 30, 40]


def test_snapshots_have_the_open_orders(live: Live) -> None:
    first = write_snapshot(live.path)
    live.run(range(TURNS, 2 * TURNS))
    second = write_snapshot(live.path)
    live.run(range(2 * TURNS, 2 * TURNS + 5))
    history = History(live.path)
    for one in (first, second):
        assert one.orders(bytes.fromhex(history.identity)).tobytes() == live.open_after(one.last_seq).tobytes()
    for at in (0, 1, first.last_seq - 1, first.last_seq, first.last_seq + 1, second.last_seq, second.last_seq + 7):
        assert history.open_orders(at).get_all_array().tobytes() == live.open_after(at).tobytes()
        [begin, to_seq], *_ = history.orders(at, whole=True)
        assert (begin.tobytes(), to_seq) == (live.open_after(at).tobytes(), at)


def test_what_was_pruned_is_said_and_the_rest_is_right(live: Live) -> None:
    first = write_snapshot(live.path)
    live.run(range(TURNS, 2 * TURNS))
    second = write_snapshot(live.path)
    live.run(range(2 * TURNS, 3 * TURNS))
    assert prune(live.path)
    history, last = History(live.path), live.engine.next_seq - 1
    assert 1 < history.first_seq <= first.last_seq + 1
    assert (history.trades_from, history.orders_from) == (history.first_seq - 1, first.last_seq)
    with pytest.raises(HistoryGone, match=f"go back to event 1, goes back to {history.first_seq}") as gone:
        next(history.trades(0))
    assert (gone.value.wanted_seq, gone.value.first_seq) == (1, history.first_seq)
    assert str(pickle.loads(pickle.dumps(gone.value))) == str(gone.value)
    with pytest.raises(HistoryGone, match=f"goes back to {first.last_seq + 1}"):
        next(history.orders(first.last_seq - 1))
    for after in (first.last_seq, first.last_seq + 3, second.last_seq - 1, second.last_seq, last - 2):
        check_orders(live, history, after, last, 20)
    after = history.trades_from
    assert joined([part for part, _ in history.trades(after)]).tobytes() == live.trades_after(after).tobytes()


def test_trades_are_found_by_their_ids(live: Live) -> None:
    write_snapshot(live.path)
    live.run(range(TURNS, 2 * TURNS))
    write_snapshot(live.path)
    history, trades = History(live.path), live.trades_after(0)
    for place in range(0, len(trades), 11):
        assert history.trade(place + 1).tobytes() == trades[place : place + 1].tobytes()
    assert history.seq_of_trade(len(trades)) == trades["seq"][-1]
    assert history.seq_of_trade(len(trades) + 1) is None
    assert history.seq_of_trade(0) is None
    before = history.seq_of_trade(len(trades))
    assert history.seq_of_trade(len(trades), before - 1) is None, "it hasn't happened by then"
    prune(live.path)
    left = trades[trades["seq"] >= history.first_seq]
    assert 0 < len(left) < len(trades)
    assert history.seq_of_trade(int(left["trade_id"][0])) == left["seq"][0]
    with pytest.raises(HistoryGone):
        history.seq_of_trade(int(left["trade_id"][0]) - 1)


def test_history_goes_on_while_the_journal_does(tmp_path: Path) -> None:
    live = Live(tmp_path, segment_bytes=4096)
    history, orders, trades, at = History(tmp_path), InMemoryOrderStore(), InMemoryTradeStore(100_000), 0
    for turn in range(40):
        live.run(range(turn, turn + 1), each=40)
        until = live.engine.journal.durable_seq
        for part, _ in history.orders(at, until, batch=33):
            orders.save_batch(part)
        for part, _ in history.trades(at, until, batch=33):
            trades.save_batch(part)
        at = until
    assert orders.get_all_array().tobytes() == live.orders_after(at).tobytes()
    assert trades.get_recent_array(100_000)[::-1].tobytes() == live.trades_after(0).tobytes()


def test_a_frame_larger_than_what_is_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyengine.journal.scan._CHUNK", 64)
    live = Live(tmp_path)
    live.run(range(3), each=300)
    check_orders(live, History(tmp_path), 0, live.engine.next_seq - 1, 1000)


def test_damage_is_found(live: Live) -> None:
    live.engine.close()
    history, last = History(live.path), live.engine.next_seq - 1
    victim = sorted(live.path.glob("*.journal"))[1]
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    with pytest.raises(JournalDamaged, match=victim.name):
        list(history.trades(0, last))
    victim.unlink()
    with pytest.raises(JournalDamaged, match="must be there, is missing"):
        list(history.orders(0, last))


def test_events_that_are_not_there_are_missed(live: Live) -> None:
    live.engine.acknowledged().result()
    with pytest.raises(JournalDamaged):
        list(History(live.path).trades(0, live.engine.next_seq))


def test_a_damaged_part_spoils_the_snapshot(live: Live, caplog: pytest.LogCaptureFixture) -> None:
    one = write_snapshot(live.path)
    state, good = live.engine.snapshot(), one.path.read_bytes()
    for place in range(len(good) - 1, len(good) - 400, -7):
        content = bytearray(good)
        content[place] ^= 4
        one.path.write_bytes(content)
        assert recover(live.path).snapshot_seq == 0
    for cut in (len(good) - 1, len(good) - 96, len(good) - 300):
        one.path.write_bytes(good[:cut])
        found = recover(live.path)
        assert (found.snapshot_seq, found.engine.snapshot()) == (0, state)
    assert "the part at byte" in caplog.text
    one.path.write_bytes(good)
    assert recover(live.path).snapshot_seq == one.last_seq
    assert [each.last_seq for each in snapshot_files(live.path)] == [one.last_seq]


def test_bad_arguments(tmp_path: Path, live: Live) -> None:
    with pytest.raises(JournalError, match="must be the folder of a journal"):
        History(tmp_path / "nothing")
    with pytest.raises(FieldError, match="after_seq must be at least 0, was -1"):
        next(History(live.path).trades(-1))
    with pytest.raises(FieldError, match="batch must be at least 1, was 0"):
        next(History(live.path).orders(0, batch=0))


def test_an_empty_journal_has_nothing_to_tell(tmp_path: Path) -> None:
    engine = Engine(journal=Journal(tmp_path))
    history = History(tmp_path)
    assert (list(history.trades()), list(history.orders()), history.last_seq) == ([], [], 0)
    engine.close()
