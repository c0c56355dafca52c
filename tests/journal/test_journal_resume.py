"""A journal that is gone on with: by the engine that it belongs to, and by no other."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from journal_setup import journaled, rows, same

from pyengine import Engine, FieldError, FieldTypeError, InMemoryOrderStore, Instrument, SelfTrade
from pyengine.journal import Journal, JournalError, recover


def test_a_journal_goes_on_where_it_was_closed(tmp_path: Path) -> None:
    reference = journaled(tmp_path / "reference", segment_bytes=8192)
    engine = journaled(tmp_path / "j", segment_bytes=8192)
    for turn in range(6):
        assert engine.run(rows(60, turn)).events.tobytes() == reference.run(rows(60, turn)).events.tobytes()
        identity = engine.journal.identity
        engine.close()
        engine = Journal(tmp_path / "j", segment_bytes=8192).resume(ring_capacity=1024)
        assert engine.journal.identity == identity
        assert engine.ring_capacity == 1024
    assert engine.self_trade == SelfTrade.CANCEL_TAKER
    assert engine.snapshot() == reference.snapshot()
    same(reference, tmp_path / "j")
    assert recover(tmp_path / "j").segments > 3


def test_resuming_an_empty_journal_makes_a_new_engine_and_later_ones_get_their_instruments(tmp_path: Path) -> None:
    btc_usd, eth_usd = Instrument("BTC-USD"), Instrument("ETH-USD")
    Journal(tmp_path).resume(instruments=[btc_usd]).close()
    with Journal(tmp_path).resume(instruments=[btc_usd, eth_usd]) as engine:
        assert engine.instruments == (btc_usd, eth_usd)
    with pytest.raises(FieldError, match="equal to the one known as BTC-USD"):
        Journal(tmp_path).resume(instruments=[Instrument("BTC-USD", "0.5")])


def test_an_engine_that_is_somewhere_else_is_refused(tmp_path: Path) -> None:
    engine = journaled(tmp_path)
    engine.run(rows(50))
    engine.close()
    with pytest.raises(FieldError, match="one whose next event is"):
        Engine(journal=tmp_path)
    journal = Journal(tmp_path)
    other = Engine(self_trade=SelfTrade.CANCEL_TAKER)
    for _ in range(journal.last_seq):
        other.cancel(5)
    with pytest.raises(FieldError, match="the instruments and users that the journal has defined"):
        journal.attach(other)
    recovered = recover(tmp_path).engine
    with pytest.raises(FieldError, match="'journal' or 'memory'"):
        journal.attach(recovered, durability="disk")
    journal.attach(recovered)
    with pytest.raises(JournalError, match="has one already"):
        journal.attach(recover(tmp_path).engine)
    with pytest.raises(FieldError, match="one without a journal"):
        Journal(tmp_path / "other").attach(recovered)
    recovered.close()


def test_a_new_journal_takes_no_engine_with_a_past(tmp_path: Path) -> None:
    engine = Engine([Instrument("X")])
    engine.submit("X", "buy", 1, 1)
    with pytest.raises(FieldError, match="one whose next event is 1"):
        Journal(tmp_path).attach(engine)
    assert engine.journal is None
    with pytest.raises(FieldError, match="a Journal for anything to be on the disk"):
        engine.acknowledged()


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FieldTypeError, match="a Journal, or the path of one"):
        Engine(journal=5)
    with pytest.raises(FieldError, match="segment_bytes must be from 4096"):
        Journal(tmp_path, segment_bytes=5)
    with pytest.raises(FieldTypeError, match="an Engine"):
        Journal(tmp_path).attach("engine")
    with pytest.raises(JournalError, match="has no segments"):
        recover(tmp_path)
    with pytest.raises(JournalError, match="must be the folder of a journal"):
        recover(tmp_path / "nowhere")
    with pytest.raises(FieldError, match="until_seq"):
        recover(tmp_path, until_seq="5")


def test_recovery_alone_takes_no_stores_and_an_engine_out_of_a_snapshot_no_journal(tmp_path: Path) -> None:
    engine = journaled(tmp_path / "j")
    engine.run(rows(20))
    engine.close()
    for name, value in (("order_store", InMemoryOrderStore()), ("journal", tmp_path / "other"), ("durability", "memory")):
        with pytest.raises(FieldError, match=f"options must be among capacity, .*, was '{name}'"):
            recover(tmp_path / "j", **{name: value})
    with pytest.raises(FieldError, match="a journal begins with event 1"):
        Engine.restore(recover(tmp_path / "j").engine.snapshot(), journal=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_journal_that_is_forgotten_holds_nothing(tmp_path: Path) -> None:
    Journal(tmp_path)
    gc.collect()
    Journal(tmp_path).close()
