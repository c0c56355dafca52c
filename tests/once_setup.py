"""Engines for the tests of client order ids, and what results say."""

from __future__ import annotations

from typing import Any

from pyengine import Engine, Instrument, Result

A, B = "AAA", "BBB"


def two_books() -> Engine:
    """Make an engine with two books."""
    return Engine([Instrument(A, "0.5", "0.1"), Instrument(B)])


def said(result: Result) -> tuple[Any, ...]:
    """Everything that a result says but whether it is a repetition."""
    return (
        result.status,
        result.reason,
        result.order_id,
        result.filled_lots,
        result.remaining_lots,
        result.cancelled_lots,
        result.instrument,
        [bytes(trade) for trade in result.trades],
    )


def rest_some(engine: Engine) -> None:
    """Let 1, 2 and 3 rest at 10, 11 and 12 for Ann, and 4 at 5 in the other book for Bob; 5 is a bid at 9."""
    for order_id, price in ((1, 10), (2, 11), (3, 12)):
        engine.submit(A, "sell", qty=2, price=price, order_id=order_id, user="ann")
    engine.submit(B, "sell", qty=2, price=5, order_id=4, user="bob")
    engine.submit(A, "buy", qty=1, price=9, order_id=5)
