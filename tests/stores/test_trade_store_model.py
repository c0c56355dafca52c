"""The trade ring against a sorted dict: any sequence of calls gives the same answers, and check() passes after each."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from store_model import TradeModel

from pyengine.records import EVENT_DTYPE, TRADE_DTYPE
from pyengine.stores import InMemoryTradeStore, Trade

IDS = st.one_of(st.integers(1, 60), st.sampled_from([2**40, 2**63 - 1]))


def array_of(ids: list[int]) -> np.ndarray:
    """Make an array of trades."""
    array = np.zeros(len(ids), TRADE_DTYPE)
    array["kind"], array["side"], array["qty_lots"] = 3, 2, 7
    array["trade_id"] = ids
    return array


class TradeStoreMachine(RuleBasedStateMachine):
    """Every call on the store and on the model."""

    @initialize(capacity=st.integers(1, 20))
    def begin(self, capacity: int) -> None:
        """Start empty."""
        self.model = TradeModel(capacity)
        self.store = InMemoryTradeStore(capacity)

    @rule(trade_id=IDS)
    def save(self, trade_id: int) -> None:
        """Save one of any id."""
        assert self.store.save(Trade(trade_id, 1, 2, 100, 7, 2)) == self.model.save(trade_id, 7)

    @rule()
    def save_next(self) -> None:
        """Save the one that follows the newest."""
        self.save((self.store.newest_trade_id or 0) + 1 if self.store.newest_trade_id != 2**63 - 1 else 1)

    @rule(ids=st.lists(IDS, max_size=40), how=st.sampled_from(["array", "objects", "events"]))
    def save_batch(self, ids: list[int], how: str) -> None:
        """Save some at once: what a batch leaves is what the highest ids of old and new are."""
        new = set(ids) - set(self.model.held)
        if how == "events":
            events = np.zeros(2 * len(ids), EVENT_DTYPE)
            events["kind"] = 1
            events[1::2] = array_of(ids).view(EVENT_DTYPE)
            self.store.apply(events)
            for trade_id in ids:
                self.model.save(trade_id, 7)
            return
        held = sorted(new | set(self.model.held))[-self.model.capacity :]
        given = array_of(ids) if how == "array" else [Trade(i, 1, 2, 100, 7, 2) for i in ids]
        stored = self.store.save_batch(given)
        assert len(new & set(held)) <= stored <= len(new)
        self.model.held = dict.fromkeys(held, 7)
        self.model.total += stored

    @rule()
    def clear(self) -> None:
        """Forget everything."""
        self.store.clear()
        self.model = TradeModel(self.model.capacity)

    @invariant()
    def agrees(self) -> None:
        """All answers are the model's."""
        self.store.check()
        model, store = self.model, self.store
        for limit in (0, 1, 3, model.capacity, 10**9):
            assert [trade.trade_id for trade in store.get_recent(limit)] == model.recent(limit)
            assert store.get_recent_array(limit)["trade_id"].tolist() == model.recent(limit)
            assert store.complete_for(limit) == model.complete_for(limit)
        assert len(store) == store.count == len(model.held)
        assert (store.total, store.dropped) == (model.total, model.total - len(model.held))
        assert store.newest_trade_id == max(model.held, default=None)
        assert store.oldest_trade_id == min(model.held, default=None)
        for trade_id in (1, 2, 30, 2**63 - 1):
            trade = store.get(trade_id)
            assert (trade is not None) == (trade_id in model.held) == (trade_id in store)
            assert trade is None or trade.trade_id == trade_id


TestTradeStore = TradeStoreMachine.TestCase
TestTradeStore.settings = settings(max_examples=60, stateful_step_count=40)
