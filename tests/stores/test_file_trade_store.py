"""What the trade log promises, one behaviour a test."""

from __future__ import annotations

import gc
import threading
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from stores.trade_files import BTC, ETH, START_NS, eventually, ids_written, names, recent, rows, trade

from pyengine.errors import FieldError, FieldTypeError
from pyengine.instrument import Instrument
from pyengine.store_errors import StoreClosed, StoreFull, StoreUnavailable
from pyengine.stores import Names, Trade
from pyengine.stores.file import FileTradeStore
from pyengine.stores.interfaces import Flushed, TradeStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

POLICIES = ("always", "batch", "interval", "never")


@pytest.fixture
def store(path: Path) -> Iterator[FileTradeStore]:
    with FileTradeStore(path, names=names()) as made:
        yield made


def test_it_is_a_trade_store(store: FileTradeStore) -> None:
    assert isinstance(store, TradeStore)
    assert (store.name, store.stats().name, store.error, store.closed) == ("file", "file", None, False)


def test_a_trade_becomes_a_line_of_the_format(store: FileTradeStore, path: Path) -> None:
    assert store.save(Trade(1, 42, 99, 10050, 10_000, 1, instrument=BTC, ts_ns=START_NS)) is True
    assert store.flush() == Flushed(("file",))
    assert path.read_bytes() == (
        b'{"trade_id":1,"buy_order_id":42,"sell_order_id":99,"price":100.5,"quantity":10,'
        b'"timestamp":"2025-01-15T10:30:45.123Z","symbol":"BTC-USD","side":1}\n'
    )


@pytest.mark.parametrize("fsync", POLICIES)
def test_trades_are_written_in_order_and_once(path: Path, fsync: Any) -> None:
    with FileTradeStore(path, names=names(), fsync=fsync, interval_s=0.01) as store:
        assert store.save_batch(rows(range(1, 101))) == 100
        assert store.save_batch(rows([100, 101, 50])) == 1
        assert store.save(trade(101)) is False
        assert store.save_batch(trade(n) for n in (103, 102)) == 2
        assert store.save_batch(rows([])) == 0
        assert store.flush()
        assert ids_written(path) == list(range(1, 104))
        assert store.stats().counts["duplicates"] == 3
        assert store.save_batch(rows([105, 50])) == 1
        assert store.flush()
        assert store.save_batch(rows([106, 106, 104])) == 2
        assert store.flush()
        assert store._writer.log.unsynced == [], "what is safe isn't kept in memory"
    assert ids_written(path) == [*range(1, 104), 105, 104, 106]


def test_with_always_a_save_is_on_the_disk_when_it_returns(path: Path) -> None:
    with FileTradeStore(path, names=names(), fsync="always") as store:
        for n in range(1, 20):
            store.save(trade(n))
            assert ids_written(path)[-1] == n
            assert store.stats().gauges["lag_records"] == 0
            assert store.stats().counts["syncs"] >= n


def test_with_never_the_disk_is_not_waited_for(path: Path) -> None:
    with FileTradeStore(path, names=names(), fsync="never") as store:
        store.save_batch(rows(range(1, 1000)))
        assert store.flush()
        assert (len(ids_written(path)), store.stats().counts["syncs"]) == (999, 0)


def test_with_interval_the_disk_is_waited_for_now_and_then(path: Path) -> None:
    with FileTradeStore(path, names=names(), fsync="interval", interval_s=0.2) as store:
        for n in range(1, 50):
            store.save(trade(n))
        eventually(lambda: store.stats().gauges["lag_records"] == 0)
        assert 1 <= store.stats().counts["syncs"] <= 3
    with FileTradeStore(path, names=names(), fsync="interval", interval_s=3600) as store:
        store.save(trade(50))
        eventually(lambda: store.stats().counts["written"] == 1)
        assert store.stats().gauges["lag_records"] == 1
        assert store.flush(), "a flush doesn't wait for the interval"
        assert store.stats().counts["syncs"] == 1


def test_what_was_saved_is_read_at_once_and_after_reopening(path: Path) -> None:
    with FileTradeStore(path, names=names()) as store:
        for n in range(1, 300):
            store.save(trade(n))
            assert recent(store, 3) == [n, n - 1, n - 2][: min(3, n)]
        before = store.get_recent(1000)
        assert [each.trade_id for each in before] == list(range(299, 0, -1))
        assert store.get_recent(0) == []
    with FileTradeStore(path) as again:
        assert again.get_recent(1000) == before
        assert again.get_recent(7) == before[:7]


def test_a_trade_reads_the_same_before_and_after_it_is_written(path: Path) -> None:
    given = rows([5])
    given["instrument"], given["flags"], given["seq"] = 1, 3, 77
    with FileTradeStore(path, names=names(), fsync="interval", interval_s=3600) as store:
        store.save_batch(given)
        (waiting,) = store.get_recent()
        store.flush()
        (found,) = store.get_recent()
    assert waiting == found
    assert (found.seq, found.maker_filled, found.symbol, found.price) == (0, False, "ETH-USD", ETH.ticks_to_price(10005))


def test_every_field_comes_back(path: Path) -> None:
    given = [
        Trade(1, 2**64 - 1, 0, -(2**62), 2**62, "buy", instrument=BTC, ts_ns=-(2**63)),
        Trade(2**63 - 1, 0, 2**64 - 1, 2**62, 1, "sell", instrument=Instrument('q"\\é 日', "1e-18", "2.5e3"), ts_ns=2**63 - 1),
    ]
    with FileTradeStore(path) as store:
        assert store.save_batch(given) == 2
    with FileTradeStore(path) as again:
        assert again.get_recent() == given[::-1]


def test_forty_savers_at_once_lose_nothing(path: Path) -> None:
    stored: list[int] = []

    def save(first: int) -> None:
        stored.extend(store.save_batch(rows(range(begin, begin + 60))) for begin in range(first, 20_000, 40 * 50))

    with FileTradeStore(path, names=names(), capacity=500) as store:
        threads = [threading.Thread(target=save, args=(1 + 50 * n,)) for n in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        expected = range(1, 20_011)
        assert recent(store, 30_000) == list(reversed(expected))
    assert sum(stored) == len(expected)
    assert sorted(ids_written(path)) == list(expected)


def test_readers_and_writers_do_not_disturb_each_other(path: Path) -> None:
    done = threading.Event()
    wrong: list[list[int]] = []

    def read(store: FileTradeStore) -> None:
        highest = 0
        while not done.is_set():
            found = recent(store, 50)
            if found != list(range(found[0], found[0] - len(found), -1)) or found[0] < highest:
                wrong.append(found)
            highest = found[0]

    with FileTradeStore(path, names=names(), rotate_bytes=20_000, compress=True) as store:
        store.save_batch(rows(range(1, 51)))
        readers = [threading.Thread(target=read, args=(store,)) for _ in range(3)]
        for reader in readers:
            reader.start()
        for n in range(51, 4000, 7):
            store.save_batch(rows(range(n, n + 7)))
        done.set()
        for reader in readers:
            reader.join()
    assert not wrong


def test_a_caller_may_reuse_his_array(store: FileTradeStore, path: Path) -> None:
    array = rows(range(1, 1001))
    for begin in range(1, 50_000, 1000):
        array["trade_id"] = np.arange(begin, begin + 1000)
        store.save_batch(array)
    array[:] = np.zeros(1, array.dtype)
    store.flush()
    assert ids_written(path) == list(range(1, 50_001))


def test_names_of_an_engine_are_not_added_to(path: Path) -> None:
    with FileTradeStore(path) as store:
        store.save_batch([trade(1), trade(2, instrument=ETH)])
    with FileTradeStore(path) as store:
        lent = Names([BTC])
        store.attach_names(lent)
        store.attach_names(lent)
        assert store.names is lent
        assert [each.symbol for each in store.get_recent()] == ["ETH-USD", "BTC-USD"]
        assert lent.instruments == [BTC]
        with pytest.raises(FieldError, match="instrument must be known to the engine"):
            store.save(trade(3, instrument=ETH))
        with pytest.raises(FieldError, match="names must be those of the engine"):
            store.attach_names(Names())
    with FileTradeStore(path, names=Names([BTC])) as store:
        store.save(trade(3))
        with pytest.raises(FieldError, match="names must be given before trades are saved"):
            store.attach_names(Names())
        with pytest.raises(FieldTypeError, match="names must be Names"):
            store.attach_names(None)  # type: ignore[arg-type]


def test_bad_trades_change_nothing(store: FileTradeStore, path: Path) -> None:
    bad = rows(range(1, 6))
    bad["qty_lots"][3] = 0
    with pytest.raises(FieldError, match=r"trades\[3\]\.qty_lots must be at least 1, was 0"):
        store.save_batch(bad)
    bad = rows(range(1, 6))
    bad["instrument"][2] = 9
    with pytest.raises(FieldError, match=r"trades\[2\]\.instrument must be .* that the store knows, was 9"):
        store.save_batch(bad)
    calls: list[Callable[[], object]] = [
        lambda: store.save(None),  # type: ignore[arg-type]
        lambda: store.save_batch([trade(1), "x"]),  # type: ignore[list-item]
        lambda: store.save_batch(np.zeros(3)),
        lambda: store.save_batch(5),  # type: ignore[arg-type]
        lambda: store.get_recent("5"),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(FieldTypeError):
            call()
    with pytest.raises(FieldError):
        store.get_recent(-1)
    with pytest.raises(FieldError, match="step must be a number of at most 620 digits"):
        store.save(trade(1, instrument=Instrument("LONG", Decimal("1." + "3" * 700))))
    store.flush()
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"fsync": "sometimes"}, FieldError),
        ({"full": "drop"}, FieldError),
        ({"capacity": 0}, FieldError),
        ({"capacity": "1"}, FieldTypeError),
        ({"rotate_bytes": -1}, FieldError),
        ({"interval_s": -1}, FieldError),
        ({"wait_s": float("nan")}, FieldError),
        ({"names": "x"}, FieldTypeError),
    ],
)
def test_bad_options_are_refused(path: Path, options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(options))):
        FileTradeStore(path, **options)
    assert not path.exists()


def test_paths_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FieldTypeError, match="path must be a path, was 5"):
        FileTradeStore(5)  # type: ignore[arg-type]
    for path in (tmp_path / "missing" / "trades.log", tmp_path, Path("/proc/trades.log")):
        with pytest.raises(StoreUnavailable, match=f"open {path}"):
            FileTradeStore(path)


def test_a_full_queue_waits_or_refuses(path: Path) -> None:
    held = threading.Event()
    go_on = threading.Event()

    def hold(store: FileTradeStore) -> None:
        """Keep the writer from the file, as a disk that hangs would."""
        write = store._writer.log.write_some

        def slowly(array: np.ndarray) -> int:
            held.set()
            go_on.wait()
            return write(array)

        store._writer.log.write_some = slowly

    for full, after in (("refuse", "was full with"), ("wait", "was full for 0.05 s with")):
        held.clear()
        go_on.clear()
        path.unlink(missing_ok=True)
        with FileTradeStore(path, names=names(), capacity=100, full=full, wait_s=0.05) as store:
            hold(store)
            assert store.save_batch(rows(range(1, 151))) == 150, "more than the capacity goes in when the queue is empty"
            held.wait()
            with pytest.raises(StoreFull, match=f"must have room for 1 more trades, {after} 150 of 100"):
                store.save(trade(151))
            assert recent(store, 2) == [150, 149], "what waits is read"
            assert store.save_batch(rows(range(1, 151))) == 0, "what is there already needs no room"
            assert store.flush(timeout_s=0.01) == Flushed((), ("file",))
            assert (store.stats().counts["refused"], store.stats().gauges["queue_length"]) == (1, 150)
            assert store.stats().gauges["lag_s"] > 0
            go_on.set()
            assert store.flush()
            assert store.save(trade(151)) is True
    assert ids_written(path) == list(range(1, 152))


def test_a_closed_store_says_so(path: Path) -> None:
    store = FileTradeStore(path, names=names())
    store.save(trade(1))
    store.close()
    store.close()
    assert store.closed
    assert "closed" in repr(store)
    calls = [lambda: store.save(trade(2)), lambda: store.save_batch(rows([2])), store.get_recent, store.flush]
    for call in [*calls, lambda: store.complete_for(1), lambda: store.attach_names(Names())]:
        with pytest.raises(StoreClosed):
            call()
    assert ids_written(path) == [1]
    assert store.stats().counts["written"] == 1


def test_a_forgotten_store_writes_what_it_has(path: Path) -> None:
    store = FileTradeStore(path, names=names(), fsync="interval", interval_s=3600)
    store.save_batch(rows(range(1, 5001)))
    del store
    gc.collect()
    assert ids_written(path) == list(range(1, 5001))
    FileTradeStore(path).close()


def test_a_flush_of_other_layers_is_not_its_business(store: FileTradeStore) -> None:
    assert store.flush(["redis"]) == Flushed()
    assert store.flush(["file", "redis"]) == Flushed(("file",))
