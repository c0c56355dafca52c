"""The client order id that placed an order comes with it into every layer, however its events are cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_streams import MIXES, random_rows
from stores.gated import GatedOrderStore

from pyengine import Engine, InMemoryOrderStore, Instrument
from pyengine.records import FIRST_REJECTION, Action, Flag, Kind
from pyengine.stores.composite import CompositeOrderStore
from pyengine.stores.sqlite import SQLiteOrderStore

BOOKS = [Instrument("BOOK-0"), Instrument("BOOK-1"), Instrument("BOOK-2")]


def with_users(**options: object) -> Engine:
    engine = Engine(BOOKS, **options)
    for name in ("ann", "bob", "carl"):
        engine.user(name)
    return engine


def commands() -> tuple[np.ndarray, np.ndarray]:
    """Draw commands of which every second has an id, all orders with a number of their own."""
    rows = random_rows(np.random.default_rng(11), 3000, MIXES[0])
    new = np.isin(rows["action"], (Action.LIMIT, Action.MARKET))
    rows["order_id"][new] = np.arange(1, new.sum() + 1)
    rows["flags"] &= np.uint8(0xFF ^ Flag.ASSIGN_ID)
    ids = np.arange(1, len(rows) + 1, dtype=np.uint64) * np.uint64(3)
    ids[::2] = 0
    return rows, ids


def test_every_layer_has_the_ids(tmp_path: Path) -> None:
    rows, ids = commands()
    gated = GatedOrderStore("gated")
    with (
        CompositeOrderStore(InMemoryOrderStore(), gated, SQLiteOrderStore(tmp_path / "engine.db")) as store,
        with_users(order_store=store) as engine,
    ):
        status = [engine.run(rows[at : at + 37], client_ids=ids[at : at + 37]).status for at in range(0, len(rows), 37)]
        again = engine.run(rows, client_ids=ids)
        assert again.repeated.sum() > 1000
        assert engine.flush_stores(30)
        placed = np.isin(rows["action"], (Action.LIMIT, Action.MARKET)) & (np.concatenate(status) < FIRST_REJECTION)
        expected = dict(zip(rows["order_id"][placed].tolist(), ids[placed].tolist(), strict=True))
        sqlite = SQLiteOrderStore(tmp_path / "engine.db")
        for layer in (store, gated.inner, sqlite):
            found = {order.order_id: order.client_id for order in layer.get_all() if order.order_id in expected}
            assert len(found) > 500
            # Orders without an id run again, and those of the second time have none either.
            assert found == {order_id: expected[order_id] for order_id in found}
        sqlite.close()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_events_in_pieces_lead_to_the_same_orders(size: int) -> None:
    rows, ids = commands()
    whole, pieces, changed = InMemoryOrderStore(), InMemoryOrderStore(), InMemoryOrderStore()
    engine = with_users(order_store=whole)
    events = engine.run(rows, client_ids=ids).events
    assert (events["kind"] == Kind.REQUEST).sum() > 1000
    for store in (pieces, changed):
        store.attach_names(engine.names)
    known: dict[int, bytes] = {}
    for at in range(0, len(events), size):
        pieces.apply(events[at : at + size])
        part = changed.apply_changes(events[at : at + size])
        known |= {int(row["order_id"]): row.tobytes() for row in part}
    assert pieces.get_all() == whole.get_all()
    assert known == {order.order_id: bytes(order) for order in whole.get_all()}
    assert any(order.client_id for order in whole.get_all())
