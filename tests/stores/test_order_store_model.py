"""The order store against a dict: any calls and events give the same answers, and check() passes after each."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from store_model import OrderModel, Row

from pyengine.records import EVENT_DTYPE
from pyengine.stores import ORDER_RECORD_DTYPE, InMemoryOrderStore, Order

# Few ids, so that they meet again; sparse ones among them, and neighbours that share a cache line of the map.
IDS = st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 64, 128, 2**32, 2**40 + 8, 2**63, 2**64 - 1])
PRICES = st.sampled_from([-5, 0, 1, 2, 3, 100, 2**62 - 1])
SMALL = st.integers(1, 9)


@st.composite
def rows(draw: st.DrawFn) -> Row:
    """Draw a sound order."""
    qty = draw(SMALL)
    remaining = draw(st.integers(0, qty))
    status = 3 if remaining == 0 else draw(st.sampled_from([1 if remaining == qty else 2, 4]))
    return Row(
        order_id=draw(IDS),
        side=draw(st.integers(1, 2)),
        price_ticks=draw(PRICES),
        qty_lots=qty,
        remaining_lots=remaining,
        status=status,
        user=draw(st.integers(0, 3)),
        instrument=draw(st.sampled_from([0, 1, 2**32 - 1])),
        version=draw(st.integers(0, 3)),
        entered=draw(st.integers(0, 3)),
        updated_ns=draw(st.integers(0, 9)),
        created_ns=draw(st.integers(-2, 2)),
    )


def order_of(row: Row) -> Order:
    """Make the object of a row."""
    fields = asdict(row)
    fields["instrument_index"] = fields.pop("instrument")
    return Order(order_type="limit", **fields)


def array_of(many: list[Row]) -> np.ndarray:
    """Make the array of some rows."""
    array = np.zeros(len(many), ORDER_RECORD_DTYPE)
    array["order_type"] = 2
    for field in asdict(many[0]) if many else ():
        array[field] = [getattr(row, field) for row in many]
    return array


class OrderStoreMachine(RuleBasedStateMachine):
    """Every call on the store and on the model."""

    @initialize(keep=st.sampled_from([None, None, 0, 2]))
    def begin(self, keep: int | None) -> None:
        """Start empty."""
        self.model = OrderModel(keep_finished=keep)
        self.store = InMemoryOrderStore(keep_finished=keep)
        self.seq = 10

    @rule(row=rows())
    def save(self, row: Row) -> None:
        """Save one."""
        assert self.store.save(order_of(row)) == self.model.save(row)

    @rule(row=rows())
    def update(self, row: Row) -> None:
        """Update one."""
        assert self.store.update(order_of(row)) == self.model.update(row)

    @rule(many=st.lists(rows(), max_size=8), as_array=st.booleans())
    def save_batch(self, many: list[Row], as_array: bool) -> None:
        """Save some at once."""
        given = array_of(many) if as_array else [order_of(row) for row in many]
        assert self.store.save_batch(given) == sum(self.model.save(row) for row in many)

    @rule(order_id=IDS)
    def remove(self, order_id: int) -> None:
        """Remove one."""
        assert self.store.remove(order_id) == self.model.remove(order_id)

    @rule(keep=st.integers(0, 4))
    def remove_finished(self, keep: int) -> None:
        """Remove by count."""
        assert self.store.remove_finished(keep=keep) == self.model.remove_finished(keep)

    @rule(before=st.integers(0, 30))
    def remove_older(self, before: int) -> None:
        """Remove by age."""
        assert self.store.remove_finished(older_than_ns=before) == self.model.remove_older(before)

    @rule()
    def clear(self) -> None:
        """Remove everything."""
        self.store.clear()
        self.model = OrderModel(keep_finished=self.model.keep_finished)

    @rule(row=rows(), again=st.booleans())
    def accepted(self, row: Row, again: bool) -> None:
        """Let an order come in, or an old event come again."""
        seq = self._seq(again)
        self.model.accept(
            Row(
                row.order_id,
                row.side,
                row.price_ticks,
                row.qty_lots,
                row.qty_lots,
                1,
                row.user,
                row.instrument,
                seq,
                seq,
                seq,
                seq,
            )
        )
        self._apply(
            kind=1,
            seq=seq,
            order_id=row.order_id,
            side=row.side,
            price_ticks=row.price_ticks,
            qty_lots=row.qty_lots,
            detail=row.user | 2 << 32,
            instrument=row.instrument,
        )

    @rule(taker=IDS, maker=IDS, lots=SMALL, again=st.booleans())
    def trade(self, taker: int, maker: int, lots: int, again: bool) -> None:
        """Let two orders trade."""
        seq = self._seq(again)
        self.model.fill(taker, lots, seq)
        self.model.fill(maker, lots, seq)
        self._apply(kind=3, seq=seq, order_id=taker, detail=maker, side=1, qty_lots=lots, value=seq)

    @rule(order_id=IDS, lots=SMALL, left=st.integers(0, 4), again=st.booleans())
    def cancelled(self, order_id: int, lots: int, left: int, again: bool) -> None:
        """Cancel an order, or shrink it as self-trade prevention does."""
        seq = self._seq(again)
        self.model.cancel(order_id, left, seq)
        self._apply(kind=4, seq=seq, order_id=order_id, qty_lots=lots, value=left)

    @rule(order_id=IDS, price=PRICES, lots=SMALL, keeps_place=st.booleans())
    def replaced(self, order_id: int, price: int, lots: int, keeps_place: bool) -> None:
        """Amend an order."""
        seq = self._seq(again=False)
        self.model.amend(order_id, price, lots, seq, keeps_place=keeps_place)
        self._apply(kind=5, seq=seq, order_id=order_id, price_ticks=price, qty_lots=lots, flags=int(keeps_place))

    @invariant()
    def agrees(self) -> None:
        """All answers are the model's."""
        self.store.check()
        model, store = self.model, self.store
        assert len(store) == len(model.rows)
        assert store.open_count == len(model.resting)
        assert store.finished_count == len(model.finished)
        expected = [model.rows[i] for i in sorted(model.rows)]
        names = list(asdict(expected[0])) if expected else ["order_id"]
        found = store.get_all_array()[names].tolist()
        assert found == [tuple(getattr(row, name) for name in names) for row in expected]
        assert [order.order_id for order in store.get_all()] == sorted(model.rows)
        for user in (1, 2, 3):
            assert [order.order_id for order in store.get_by_user(user)] == model.by_user(user)
        for side in (1, 2):
            assert store.get_by_side_array(side)["order_id"].tolist() == model.by_side(side)
            assert [order.order_id for order in store.get_by_side(side, 1)] == model.by_side(side, 1)
        for order_id in (0, 9, 2**64 - 1):
            order = store.get(order_id)
            assert (order is not None) == (order_id in model.rows) == (order_id in store)

    def _seq(self, again: bool) -> int:
        """Count on, or go back to a number that was used."""
        if again:
            return max(1, self.seq - 3)
        self.seq += 1
        return self.seq

    def _apply(self, **fields: int) -> None:
        event = np.zeros(1, EVENT_DTYPE)
        for name, value in fields.items():
            event[name] = value
        event["ts_ns"] = event["seq"]
        self.store.apply(event)


TestOrderStore = OrderStoreMachine.TestCase
TestOrderStore.settings = settings(max_examples=60, stateful_step_count=40)
