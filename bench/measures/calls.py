"""Single calls from Python: fast ones in integers, and the friendly ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.figures import Figure, Section
from bench.flows import Call, MixedFlow, WrongResultError, mixed_flow, new_engine
from bench.peers.flow import ADD
from bench.sizes import Sizes
from bench.timing import Lap, Prepare, cost, in_turns, rate
from pyengine import Engine, Result

TEXT = """
A Python loop over tuples of ints that calls `book.submit(side, price, qty, order_id)` or `book.cancel(order_id)`;
each result is made and dropped. The loop is part of the figure; `the loop alone` is the same one without the calls.
With `trades made into objects` each result that has trades is asked for them. The friendly calls take symbol, side,
size and price as strings. One more pass outside the clock compares all trades with those of the generator's own book.
"""

NAMES = ("", "buy", "sell")
FRIENDLY_SHARE = 10


def started(prefill: list[Call], engine: Engine) -> Engine:
    """Put the flow's first orders into an engine in place of all others."""
    engine.mass_cancel()
    book = engine.book("X")
    for _, order_id, side, price, qty in prefill:
        book.submit(side, price, qty, order_id)
    return engine


def fast(prefill: list[Call], calls: list[Call]) -> Prepare:
    """Submit and cancel by the book's handle."""
    engine = new_engine()

    def prepare() -> Callable[[], None]:
        book = started(prefill, engine).book("X")

        def work() -> None:
            submit, cancel = book.submit, book.cancel
            for action, order_id, side, price, qty in calls:
                if action == ADD:
                    submit(side, price, qty, order_id)
                else:
                    cancel(order_id)

        return work

    return prepare


def fast_by_attribute(prefill: list[Call], calls: list[Call]) -> Prepare:
    """Do the same, but written as most people write it."""
    engine = new_engine()

    def prepare() -> Callable[[], None]:
        book = started(prefill, engine).book("X")

        def work() -> None:
            for action, order_id, side, price, qty in calls:
                if action == ADD:
                    book.submit(side, price, qty, order_id)
                else:
                    book.cancel(order_id)

        return work

    return prepare


def with_trades(prefill: list[Call], calls: list[Call]) -> Prepare:
    """Do the same, and make objects of all trades."""
    engine = new_engine()

    def prepare() -> Callable[[], list[Any]]:
        book = started(prefill, engine).book("X")

        def work() -> list[Any]:
            submit, cancel = book.submit, book.cancel
            fills: list[Any] = []
            for action, order_id, side, price, qty in calls:
                if action == ADD:
                    result = submit(side, price, qty, order_id)
                    if result.trade_count:
                        fills += result.trades
                else:
                    cancel(order_id)
            return fills

        return work

    return prepare


def loop_alone(calls: list[Call]) -> Prepare:
    """Loop and call nothing."""

    def prepare() -> Callable[[], None]:
        def work() -> None:
            for action, _order_id, _side, _price, _qty in calls:
                if action == ADD:
                    pass
                else:
                    pass

        return work

    return prepare


def friendly(prefill: list[Call], calls: list[Call]) -> Prepare:
    """Submit and cancel in strings."""
    words = [(action, order_id, NAMES[side], str(price), str(qty)) for action, order_id, side, price, qty in calls]

    engine = new_engine()

    def prepare() -> Callable[[], None]:
        started(prefill, engine)

        def work() -> None:
            for action, order_id, side, price, qty in words:
                if action == ADD:
                    engine.submit("X", side, qty=qty, price=price, order_id=order_id)
                else:
                    engine.cancel(order_id)

        return work

    return prepare


def check(flow: MixedFlow, prefill: list[Call], calls: list[Call]) -> None:
    """Compare all trades that come back."""
    book = started(prefill, new_engine()).book("X")
    found: list[tuple[int, int, int, int]] = []
    for action, order_id, side, price, qty in calls:
        result: Result = book.submit(side, price, qty, order_id) if action == ADD else book.cancel(order_id)
        found += [(one.taker_id, one.maker_id, one.price_ticks, one.qty_lots) for one in result.trades]
    expected = flow.trades()
    expected = expected[expected[:, 0] <= max(order_id for _, order_id, *_ in calls)]
    if [tuple(row) for row in expected.tolist()] != found:
        message = f"trades must be those of the flow, were others among {len(found)}"
        raise WrongResultError(message)


def measure(sizes: Sizes) -> Section:
    """Measure all forms in turns."""
    flow = mixed_flow(sizes.flow_commands)
    prefill, calls = flow.calls(sizes.call_commands)
    some = calls[: len(calls) // FRIENDLY_SHARE]
    check(flow, prefill, calls)
    laps = in_turns(
        {
            "fast": fast(prefill, calls),
            "attribute": fast_by_attribute(prefill, calls),
            "trades": with_trades(prefill, calls),
            "loop": loop_alone(calls),
            "friendly": friendly(prefill, some),
        },
        sizes.call_rounds,
    )
    figures = [
        rate("one fast call, trades available", laps["fast"], len(calls), thing="calls", target="calls"),
        cost("the same, per call", laps["fast"], len(calls)),
        cost("`book.submit(...)` looked up each time", laps["attribute"], len(calls)),
        cost("trades made into objects", laps["trades"], len(calls)),
        cost("the loop alone", laps["loop"], len(calls), note="part of the figures above"),
        cost("friendly call", laps["friendly"], len(some)),
        difference("fast call without the loop", laps["fast"], laps["loop"], len(calls)),
    ]
    return Section(title="Single calls", text=TEXT, figures=figures)


def difference(name: str, laps: list[Lap], base: list[Lap], count: int) -> Figure:
    """Time that one has on top of another, round by round."""
    return Figure(
        name=name,
        unit="ns",
        values=tuple((a.seconds - b.seconds) / count * 1e9 for a, b in zip(laps, base, strict=True)),
        cpu_values=tuple((a.cpu_seconds - b.cpu_seconds) / count * 1e9 for a, b in zip(laps, base, strict=True)),
    )
