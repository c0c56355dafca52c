"""Every store against the model: whatever calls are made in whatever order, the answers are the same."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from stores.contract.backends import Backend, Place
from stores.contract.model import Orders, Trades
from stores.contract.samples import BTC, ETH, order_array, trade_array

from pyengine.records import TRADE_DTYPE, Side
from pyengine.stores import Names, Order, Trade, trade_from_bytes

# Runs are short enough to read as they are; shrinking one takes minutes where each call is a round trip.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
RUNS = settings(max_examples=10, stateful_step_count=20, deadline=None, phases=PHASES)

# Few values, so that they meet again, and each at an edge.
IDS = st.sampled_from([0, 1, 2, 2**63, 2**64 - 1])
NUMBERS = st.sampled_from([0, 1, 2, 2**63, 2**64 - 1])
PRICES = st.sampled_from([-(2**63), -1, 0, 5, 2**53 + 1])
TIMES = st.sampled_from([-(2**63), -1, 0, 1_736_937_045_123_456_789])
USERS = st.sampled_from([None, "alice", "bob:*"])
INSTRUMENTS = st.sampled_from([BTC, ETH])
TRADE_IDS = st.one_of(st.integers(1, 12), st.sampled_from([2**53, 2**53 + 1, 2**63 - 1]))


@st.composite
def orders(draw: st.DrawFn) -> Order:
    """Draw a sound order."""
    size = draw(st.integers(1, 3))
    kind = draw(st.sampled_from(["market", "limit", "stop_limit"]))
    return Order(
        draw(IDS),
        draw(st.sampled_from(Side)),
        user=draw(USERS),
        instrument=draw(INSTRUMENTS),
        price_ticks=0 if kind == "market" else draw(PRICES),
        qty_lots=size,
        remaining_lots=(left := draw(st.integers(0, size))),
        status="cancelled" if left and draw(st.booleans()) else None,
        order_type=kind,
        created_ns=draw(TIMES),
        version=draw(NUMBERS),
        entered=draw(NUMBERS),
    )


@st.composite
def trades(draw: st.DrawFn) -> Trade:
    """Draw a sound trade."""
    return Trade(
        draw(TRADE_IDS),
        draw(IDS),
        draw(IDS),
        draw(PRICES),
        draw(st.integers(1, 3)),
        draw(st.sampled_from(Side)),
        instrument=draw(INSTRUMENTS),
        ts_ns=draw(TIMES),
        seq=draw(NUMBERS),
    )


def without_seq(trade: Trade) -> Trade:
    """Make the same trade without the number of its event."""
    row = np.frombuffer(bytes(trade), TRADE_DTYPE).copy()
    row["seq"] = 0
    return trade_from_bytes(row.tobytes(), trade.instrument)


class StoreMachine(RuleBasedStateMachine):
    """A store and its model, side by side."""

    def __init__(self, backend: Backend, new_place: Callable[[], Place]) -> None:
        super().__init__()
        self.backend = backend
        self.place = new_place()
        self.names = Names([ETH, BTC])
        self.store: Any = backend.open(self.place, self.names if backend.arrays else None)

    def said(self, answer: object, expected: object) -> bool:
        """Whether a write said what became of it, where the store can know."""
        return answer == expected or not self.backend.tells

    @precondition(lambda self: self.backend.keeps)
    @rule(same_names=st.booleans())
    def reopen(self, same_names: bool) -> None:
        """Let another process take over."""
        assert self.store.flush(timeout_s=10)
        self.store.close()
        self.names = self.names if same_names else Names([ETH, BTC])
        self.store = self.backend.open(self.place, self.names)

    def teardown(self) -> None:
        """Leave nothing open."""
        self.store.close()


class OrderMachine(StoreMachine):
    """Every call of an order store."""

    def __init__(self, backend: Backend, new_place: Callable[[], Place]) -> None:
        super().__init__(backend, new_place)
        # A store without names learns symbols as they come; the others were given them.
        self.model = Orders(symbols={"ETH-USD": 0, "BTC-USD": 1} if backend.arrays else {})
        self.clock = 0

    def sent(self, order: Order) -> Order:
        """Count versions up where the store can't tell an older one."""
        self.clock += 1
        return order.replace(version=self.clock) if self.backend.forgets else order

    @rule(order=orders())
    def save(self, order: Order) -> None:
        """Save one."""
        order = self.sent(order)
        assert self.said(self.store.save(order), self.model.save(order))

    @rule(order=orders())
    def update(self, order: Order) -> None:
        """Update one."""
        order = self.sent(order)
        assert self.said(self.store.update(order), self.model.update(order))

    @rule(order_id=IDS)
    def remove(self, order_id: int) -> None:
        """Remove one."""
        assert self.said(self.store.remove(order_id), self.model.remove(order_id))

    @rule(many=st.lists(orders(), max_size=6), as_array=st.booleans())
    def save_batch(self, many: list[Order], as_array: bool) -> None:
        """Save some; of one id any number from one to all that counted may be told."""
        many = list(map(self.sent, many))
        given = order_array(many, self.names) if as_array and self.backend.arrays else many
        answer = self.store.save_batch(given)
        stored = [order.order_id for order in many if self.model.save(order)]
        assert len(set(stored)) <= answer <= len(stored) or not self.backend.tells

    @rule(order_ids=st.lists(IDS, max_size=4))
    def remove_batch(self, order_ids: list[int]) -> None:
        """Remove some."""
        assert self.said(self.store.remove_batch(order_ids), sum(map(self.model.remove, order_ids)))

    @invariant()
    def agrees(self) -> None:
        """All answers are the model's."""
        assert self.store.get_all() == self.model.all()
        for order_id in (0, 1, 2, 3, 2**63, 2**64 - 1):
            assert self.store.get(order_id) == self.model.held.get(order_id)
        for user in ("alice", "bob:*", "bob"):
            assert self.store.get_by_user(user) == self.model.by_user(user)
        for side in Side:
            for symbol in (None, "BTC-USD", "ETH-USD", "XRP"):
                assert self.store.get_by_side(side, symbol) == self.model.by_side(side, symbol)


class TradeMachine(StoreMachine):
    """Every call of a trade store."""

    def __init__(self, backend: Backend, new_place: Callable[[], Place]) -> None:
        super().__init__(backend, new_place)
        self.model = Trades()

    def kept(self, trade: Trade) -> Trade:
        """Leave out what the store doesn't keep."""
        return trade if self.backend.keeps_seq else without_seq(trade)

    @rule(trade=trades())
    def save(self, trade: Trade) -> None:
        """Save one."""
        trade = self.kept(trade)
        assert self.said(self.store.save(trade), self.model.save(trade))

    @rule(many=st.lists(trades(), max_size=12), as_array=st.booleans())
    def save_batch(self, many: list[Trade], as_array: bool) -> None:
        """Save some."""
        many = [self.kept(trade) for trade in many]
        given = trade_array(many, self.names) if as_array and self.backend.arrays else many
        assert self.said(self.store.save_batch(given), sum(map(self.model.save, many)))

    @invariant()
    def agrees(self) -> None:
        """All answers are the model's."""
        for limit in (0, 1, 3, 10, 100, 2**63):
            assert self.store.get_recent(limit) == self.model.recent(limit)


def test_order_stores_are_as_the_model(order_backend: Backend, new_place: Callable[[], Place]) -> None:
    run_state_machine_as_test(partial(OrderMachine, order_backend, new_place), settings=RUNS)


def test_trade_stores_are_as_the_model(trade_backend: Backend, new_place: Callable[[], Place]) -> None:
    run_state_machine_as_test(partial(TradeMachine, trade_backend, new_place), settings=RUNS)
