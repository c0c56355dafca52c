"""An engine with stores and journal from the settings: one call, in every mode, and it goes on where it ended."""

from __future__ import annotations

from pathlib import Path

import pytest
from stores.deployments import BTC, distributed

from pyengine import FieldError, Instrument
from pyengine.deployment import open_deployment
from pyengine.journal import JournalHeld, recover
from pyengine.settings import Settings


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_without_a_journal_an_engine_begins_anew() -> None:
    for _ in range(2):
        with open_deployment(Settings(), [BTC], ring_capacity=128) as one:
            assert (one.engine.next_seq, one.engine.ring_capacity, one.engine.journal) == (1, 128, None)
            one.engine.submit("BTC-USD", "buy", qty=1, price=100)
            assert len(one.stores.order_store.get_all()) == 1


def test_with_one_it_goes_on_in_every_layer(postgres_database: str, valkey: str) -> None:
    settings = distributed(postgres_database, valkey, journal_path="journal", journal_space="1GiB", sqlite_path="x.db")
    with open_deployment(settings, [BTC]) as one:
        first = one.engine.submit("BTC-USD", "buy", qty=1, price=100, user="ann")
        one.engine.submit("BTC-USD", "sell", qty="0.25", price=100, user="bob")
    with open_deployment(settings, [BTC]) as two:
        assert two.engine.order(first.order_id).qty == BTC.lots_to_qty(BTC.qty_to_lots("0.75"))
        assert two.stores.order_store.get(first.order_id).user == "ann"
        assert [trade.trade_id for trade in two.stores.trade_store.get_recent(10)] == [1]
        two.engine.submit("BTC-USD", "sell", qty="0.25", price=100, user="bob")
        assert two.engine.flush_stores(30)
        for layer in (*two.stores.order_store.layers, *two.stores.trade_store.layers):
            assert layer.stats().gauges["watermark"] == two.engine.next_seq - 1
        assert two.engine.journal.stats()["lag"] == 0
    assert recover("journal").last_seq == 5


def test_what_cant_be_opened_leaves_nothing_open() -> None:
    settings = Settings(journal_path="journal", sqlite_path="x.db")
    with open_deployment(settings, [BTC]), pytest.raises(JournalHeld):
        # Another log, as the first one's is held too.
        open_deployment(Settings(journal_path="journal", trade_log_path="other.log"))
    other = Instrument("BTC-USD", "0.5", "0.001")
    with pytest.raises(FieldError, match="BTC-USD"):
        open_deployment(settings, [other])
    with open_deployment(settings, [BTC]) as one:
        assert one.engine.instruments == (BTC,)


def test_durability_is_a_setting() -> None:
    with open_deployment(Settings(journal_path="journal", journal_durability="memory"), [BTC]) as one:
        one.engine.submit("BTC-USD", "buy", qty=1, price=100)
        assert one.engine.acknowledged().result() == 1
