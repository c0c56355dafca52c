"""Recorded markets come out as they were: every trade, level and queue that the recordings know of."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyengine import Action, Engine, samples
from pyengine.replay import open_tape, replay
from pyengine.replay.compression import read_all

LOBSTER = [("lobster_amzn_l1", 57_515, 1), ("lobster_aapl_l10_head", 999, 10), ("lobster_amzn_l5_head", 1000, 5)]


def test_coinbase_trades_and_final_book_are_identical() -> None:
    engine = Engine()
    report = replay(samples.path(), engine, verify=True)
    assert report.verification is not None
    assert report.verification.difference is None
    assert report.verification.ok
    trades, book = report.verification.findings
    assert (trades.expected, trades.matched) == (501, 501)
    assert (book.expected, book.matched) == (66_833, 66_833)
    bids, asks = engine.book("BTC-USD").depth()
    assert len(bids) + len(asks) == 27_695
    assert (report.commands, report.seeded, report.rejected) == (23_915, 66_812, 0)
    engine.check()


def test_coinbase_comes_out_the_same_call_by_call() -> None:
    tape = open_tape(samples.path())
    at_once = replay(tape)
    engine = Engine(tape.instruments)
    book = engine.books[0]
    engine.run(tape.seed, events=False)
    trades = []
    for batch in tape.batches(engine, ()):
        for row in batch.to_array():
            order_id, lots, ts_ns = (int(row[name]) for name in ("order_id", "qty_lots", "ts_ns"))
            if row["action"] == Action.CANCEL:
                book.cancel(order_id, ts_ns=ts_ns)
                continue
            if row["action"] == Action.LIMIT:
                result = book.submit(int(row["side"]), int(row["price_ticks"]), lots, order_id, ts_ns=ts_ns)
            else:
                result = book.submit_market(int(row["side"]), lots, order_id, ts_ns=ts_ns)
            trades += [(t.taker_id, t.maker_id, t.price_ticks, t.qty_lots) for t in result.trades]
    assert trades == at_once.trades[["taker_id", "maker_id", "price_ticks", "qty_lots"]].tolist()
    assert engine.state_hash() == at_once.state_hash


def test_the_sample_is_the_recording_repacked(recordings: Path) -> None:
    for name in ("seed_book", "orders", "trades_expected", "final_book"):
        packed = samples.path() / f"{name}.csv.xz"
        assert read_all(packed) == read_all(recordings / "coinbase_btcusd_20180713" / f"{name}.csv.gz")


def test_arl_shows_all_ten_levels_after_each_event(recordings: Path) -> None:
    engine = Engine()
    report = replay(recordings / "databento_arl_xnas_20250717" / "mbo.csv.gz", engine, verify=True)
    assert report.verification is not None
    assert report.verification.difference is None
    fills, levels = report.verification.findings
    assert (levels.expected, levels.matched) == (3928, 3928)
    assert (fills.expected, fills.matched) == (11, 11)
    assert (report.prints, report.rejected, len(report.trades)) == (46, 0, 0)
    assert report.instruments[0].symbol == "ARL"
    engine.check()


@pytest.fixture
def es_path(recordings: Path) -> Path:
    return next((recordings / "databento_es_20240508").glob("*.dbn.zst"))


def test_es_applies_whole_and_takes_exactly_its_fills_off(es_path: Path) -> None:
    engine = Engine()
    report = replay(es_path, engine, verify=True)
    assert report.verification is not None
    assert report.verification.difference is None
    (fills,) = report.verification.findings
    assert (fills.expected, fills.matched, report.prints) == (5, 5, 5)
    # A clear, adds, cancels and changes; trades and fills change nothing by themselves.
    assert report.statuses == {"MASS_CANCELLED": 1, "RESTING": 13_678, "CANCELLED": 80, "REPLACED": 27}
    assert report.commands + 2 * 5 == 13_796
    assert (report.instruments[0].symbol, str(report.instruments[0].tick_size)) == ("ESM4", "0.25")
    book = engine.book("ESM4")
    assert book.best_bid()[0] + 1 == book.best_ask()[0]
    engine.check()


def test_es_fills_meet_the_order_that_is_first_in_our_queue(es_path: Path) -> None:
    """The exchange chose the makers by price and time, and so would our book: each is the head of the best queue."""
    tape = open_tape(es_path)
    (commands,) = tape.batches(Engine(), ())
    fills = tape.checks()[0]
    count = len(fills.points) // 2
    makers, before, after = fills.order_id, fills.points[:count], fills.points[count:]
    engine = Engine(tape.instruments)
    done = 0
    for maker, start, end in zip(makers.tolist(), before.tolist(), after.tolist(), strict=True):
        engine.run(commands[done:start])
        # What the same event cancels is off the book before the fill, though the feed tells it in between.
        engine.run(commands[start : end - 1])
        done = end - 1
        best = engine.books[0].orders(2)[0]
        assert best["order_id"] == maker


@pytest.mark.parametrize(("folder", "rows", "levels"), LOBSTER)
def test_lobster_rows_follow_from_the_row_before(recordings: Path, folder: str, rows: int, levels: int) -> None:
    engine = Engine()
    report = replay(recordings / folder, engine, verify=True)
    assert report.verification is not None
    assert report.verification.difference is None
    (found,) = report.verification.findings
    assert (found.expected, found.matched) == (rows - 1, rows - 1)
    assert report.rejected == 0
    assert len(engine.books[0].depth()[0]) <= levels
    engine.check()


@pytest.mark.parametrize("folder", [name for name, _, _ in LOBSTER])
def test_lobster_messages_alone_never_trade(recordings: Path, folder: str, tmp_path: Path) -> None:
    """Orders that left the view without a message stay in the book; what would meet them is refused, not traded."""
    (messages,) = (recordings / folder).glob("*_message_*")
    alone = tmp_path / messages.name
    alone.write_bytes(messages.read_bytes())
    report = replay(alone)
    assert len(report.trades) == 0
    assert report.seeded == 0
    refused = report.statuses.get("UNKNOWN_ORDER", 0) + report.statuses.get("POST_ONLY_WOULD_TRADE", 0)
    assert report.rejected == refused
    kinds = [line.split(b",")[1] for line in read_all(messages).splitlines()]
    assert report.prints == kinds.count(b"4") + kinds.count(b"5")
