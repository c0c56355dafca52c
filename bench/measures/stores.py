"""The L1 stores: one call at a time, whole arrays, and what they cost an engine that they follow."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.figures import Section
from bench.flows import Records, WrongResultError, mixed_flow, new_engine
from bench.measures.arrays import ratio
from bench.sizes import Sizes
from bench.timing import Prepare, cost, in_turns, rate
from pyengine import TRADE_DTYPE, Engine, InMemoryOrderStore, InMemoryTradeStore, Instrument, Kind, Side, Trade
from pyengine.stores import Order

TEXT = """
Single calls: a Python loop over prepared ids, orders or trades with one call in it, on a store of {orders:,} orders;
ids in random order. The loop is part of the figure and also given alone. `save` adds an order that the store does not
have yet, with room taken beforehand (the store is cleared between rounds of saves, which is part of the figure);
`append` is `InMemoryTradeStore.save` of a trade with the next id, on the usual ring of 1,000. An engine with stores
is compared with a bare one on the mixed flow, in turns.
"""

USERS = 100
TURNS = 25
"""How often a lap goes through all orders."""


def orders_of(store: InMemoryOrderStore, count: int) -> list[Order]:
    """Make resting orders of some users, in the words of this store's names."""
    instrument = Instrument("X")
    made = [
        Order(order_id, Side.BUY, user=f"user {order_id % USERS}", instrument=instrument, price_ticks=order_id, qty_lots=1)
        for order_id in range(1, count + 1)
    ]
    store.save_batch(made)
    kept = [store.get(order_id) for order_id in range(1, count + 1)]
    store.clear()
    return [order for order in kept if order is not None]


def trades_of(count: int) -> Records:
    """Make trades with ids from 1."""
    trades = np.zeros(count, TRADE_DTYPE)
    trades["seq"] = trades["trade_id"] = np.arange(1, count + 1)
    trades["taker_id"], trades["maker_id"] = trades["trade_id"] * 2, trades["trade_id"] * 2 + 1
    trades["price_ticks"], trades["qty_lots"], trades["kind"], trades["side"] = 100, 1, Kind.TRADE, Side.BUY
    return trades


def each(method: Callable[[Any], object], values: list[Any], turns: int = TURNS) -> Callable[[], None]:
    """Loop with one call in it, over all values several times."""

    def work() -> None:
        for _ in range(turns):
            for value in values:
                method(value)

    return work


def refill(save: Callable[[Any], object], clear: Callable[[], object], values: list[Any]) -> Callable[[], None]:
    """Loop with one call in it, over all values several times, each time into an empty store."""

    def work() -> None:
        for _ in range(TURNS):
            clear()
            for value in values:
                save(value)

    return work


def alone(values: list[Any]) -> Prepare:
    """Loop with nothing in it."""

    def prepare() -> Callable[[], None]:
        def work() -> None:
            for _ in range(TURNS):
                for _ in values:
                    pass

        return work

    return prepare


def single_calls(count: int) -> dict[str, Prepare]:
    """Prepare the methods of both stores."""
    full = InMemoryOrderStore(capacity=2 * count)
    # The ids are made in the order in which they are asked for, as those of requests are.
    shuffled = np.random.default_rng(1).permutation(np.arange(1, count + 1)).tolist()
    orders = orders_of(full, count)
    random.Random(2).shuffle(orders)
    full.save_batch(orders)
    instrument, many = Instrument("X"), count * TURNS
    trades = [
        Trade(number, 2 * number, 2 * number + 1, 100, 1, Side.BUY, instrument=instrument) for number in range(1, count + 1)
    ]
    ring = InMemoryTradeStore()

    def on_full(method: Callable[[Any], object], values: list[Any]) -> Prepare:
        def prepare() -> Callable[[], None]:
            full.save_batch(orders)
            return each(method, values)

        return prepare

    def save_new() -> Callable[[], None]:
        return refill(full.save, full.clear, orders)

    def append() -> Callable[[], None]:
        return refill(ring.save, ring.clear, trades)

    def remove() -> Callable[[], None]:
        full.save_batch(orders)
        return each(full.remove, shuffled, 1)

    return {
        "loop": alone(shuffled),
        "save": save_new,
        "get": on_full(full.get, shuffled),
        "missing": on_full(full.get, [order_id + count for order_id in shuffled]),
        "again": on_full(full.save, orders),
        "update": on_full(full.update, orders),
        "remove": remove,
        "append": append,
        "trade": lambda: each(ring_of(trades).get, [one.trade_id for one in trades[-1000:]], many // 1000),
    }


def ring_of(trades: list[Trade]) -> InMemoryTradeStore:
    """Fill a ring."""
    ring = InMemoryTradeStore()
    ring.save_batch(trades)
    return ring


def whole_arrays(count: int) -> dict[str, Prepare]:
    """Prepare the forms that take and give arrays."""
    store, empty = InMemoryOrderStore(capacity=count), InMemoryOrderStore(capacity=count)
    store.save_batch(orders_of(store, count))
    records = store.get_all_array()
    trades = trades_of(count)

    def save_array() -> Callable[[], int]:
        empty.clear()
        return lambda: empty.save_batch(records)

    def append_array() -> Callable[[], int]:
        ring = InMemoryTradeStore()
        return lambda: ring.save_batch(trades)

    return {
        "save_batch": save_array,
        "append_batch": append_array,
        "get_all_array": lambda: store.get_all_array,
        "get_by_user": lambda: lambda: store.get_by_user_array("user 1"),
    }


def with_stores() -> Engine:
    """Make an engine with both stores, which keep finished orders as far as memory bounds want."""
    return new_engine(order_store=InMemoryOrderStore(keep_finished=10_000), trade_store=InMemoryTradeStore())


def through(make: Callable[[], Engine], commands: Records, prefill: int) -> Prepare:
    """Run the flow in an engine."""

    def prepare() -> Callable[[], object]:
        engine = make()
        engine.run(commands[:prefill])
        body = commands[prefill:]

        def work() -> object:
            out = engine.run(body)
            return engine, out, out.trades

        return work

    return prepare


def check(commands: Records) -> None:
    """See that the stores hold what the engine has."""
    engine = with_stores()
    out = engine.run(commands)
    store, ring = engine.order_store, engine.trade_store
    if store is None or ring is None:
        message = "the engine must have its stores, was bare"
        raise WrongResultError(message)
    store.check()
    if store.open_count != engine.resting_orders or ring.total != len(out.trades):
        message = f"stores must follow the engine, were at {store.open_count} open orders and {ring.total} trades"
        raise WrongResultError(message)


def measure(sizes: Sizes) -> Section:
    """Measure single calls, arrays, and the engine with stores."""
    count, many = sizes.store_orders, sizes.store_orders * TURNS
    singles = in_turns(single_calls(count), sizes.store_rounds, warm_up=2)
    arrays = in_turns(whole_arrays(many), sizes.store_rounds, warm_up=2)
    flow = mixed_flow(sizes.flow_commands)
    commands = flow.records()
    check(commands)
    engines = in_turns(
        {"bare": through(new_engine, commands, flow.prefill), "stores": through(with_stores, commands, flow.prefill)},
        max(3, sizes.array_rounds // 2),
    )
    figures = [
        cost("L1: get", singles["get"], many, target="get"),
        cost("L1: save", singles["save"], many, target="save"),
        cost("L1: ring append", singles["append"], many, target="append"),
        cost("the loop alone", singles["loop"], many, note="part of the figures above and below"),
        cost("get of an unknown id", singles["missing"], many),
        cost("save of an order that is there", singles["again"], many),
        cost("update", singles["update"], many),
        cost("remove", singles["remove"], count),
        cost("trade by id", singles["trade"], many // 1000 * 1000),
        cost("save_batch of an array, per order", arrays["save_batch"], many),
        cost("save_batch of an array of trades, per trade", arrays["append_batch"], many),
        cost("get_all_array, per order", arrays["get_all_array"], many),
        cost("get_by_user_array, per order", arrays["get_by_user"], many // USERS),
        rate("engine with both stores, arrays", engines["stores"], len(flow)),
        ratio("engine with both stores : bare, time", engines["stores"], engines["bare"]),
    ]
    return Section(title="L1 stores", text=TEXT.format(orders=count), figures=figures)
