"""Self-trade prevention: what each mode does to taker, maker and the rest of the queue, and who chooses the mode."""

from __future__ import annotations

import pytest

from pyengine import Engine, Instrument
from pyengine.records import Kind, Reason, SelfTrade, Side, Status, TimeInForce

BUY, SELL = Side.BUY, Side.SELL
ALICE, BOB = 1, 2
Said = list[tuple[int, int, int, int]]


class Market:
    """One book, two users, and what was said since the last look."""

    def __init__(self, mode: SelfTrade = SelfTrade.OFF) -> None:
        self.engine = Engine([Instrument("X")], self_trade=mode)
        self.book = self.engine.book("X")
        assert [self.engine.user("alice"), self.engine.user("bob")] == [ALICE, BOB]
        self.events = self.engine.attach(required=True)

    def said(self) -> Said:
        """Read kind, order (the maker of a trade), lots and value of each new event; value only of a CANCELLED."""
        rows = []
        for e in self.events.read():
            trade = e["kind"] == Kind.TRADE
            who = e["detail"] if trade else e["order_id"]
            rows.append((int(e["kind"]), int(who), int(e["qty_lots"]), int(e["value"]) if e["kind"] == Kind.CANCELLED else 0))
        self.engine.check()
        return rows

    def asks(self, *rows: tuple[int, int, int]) -> None:
        """Put up asks at 100: id, user, lots."""
        for order_id, user, lots in rows:
            self.book.submit(SELL, 100, lots, order_id, user=user)
        self.said()

    def resting(self) -> list[tuple[int, int]]:
        """List id and open lots of the resting orders."""
        return [(int(o["order_id"]), int(o["qty_lots"])) for o in self.book.orders()]


A, T, C = int(Kind.ACCEPTED), int(Kind.TRADE), int(Kind.CANCELLED)
TAKER = 9


@pytest.mark.parametrize(
    ("mode", "status", "said", "resting"),
    [
        (SelfTrade.OFF, Status.FILLED, [(T, 1, 2, 0), (T, 2, 3, 0), (T, 3, 3, 0)], [(3, 1)]),
        (SelfTrade.CANCEL_TAKER, Status.CANCELLED, [(T, 1, 2, 0), (C, TAKER, 6, 0)], [(2, 3), (3, 4)]),
        (
            SelfTrade.CANCEL_MAKER,
            Status.PARTIALLY_FILLED,
            [(T, 1, 2, 0), (C, 2, 3, 0), (T, 3, 4, 0)],
            [(TAKER, 2)],
        ),
        (SelfTrade.CANCEL_BOTH, Status.CANCELLED, [(T, 1, 2, 0), (C, 2, 3, 0), (C, TAKER, 6, 0)], [(3, 4)]),
        (
            SelfTrade.DECREMENT,
            Status.FILLED,
            [(T, 1, 2, 0), (C, 2, 3, 0), (C, TAKER, 3, 3), (T, 3, 3, 0)],
            [(3, 1)],
        ),
    ],
)
def test_mode_decides_what_happens_at_the_own_order(
    mode: SelfTrade, status: Status, said: Said, resting: list[tuple[int, int]]
) -> None:
    market = Market()
    market.asks((1, BOB, 2), (2, ALICE, 3), (3, BOB, 4))
    result = market.book.submit(BUY, 100, 8, TAKER, user=ALICE, stp=mode)
    assert result.status == status
    assert market.said() == [(A, TAKER, 8, 0), *said]
    assert market.resting() == resting


@pytest.mark.parametrize(
    ("lots", "said", "resting", "status"),
    [
        (2, [(C, 1, 2, 3), (C, TAKER, 2, 0)], [(1, 3)], Status.CANCELLED),
        (5, [(C, 1, 5, 0), (C, TAKER, 5, 0)], [], Status.CANCELLED),
        (7, [(C, 1, 5, 0), (C, TAKER, 5, 2)], [(TAKER, 2)], Status.RESTING),
    ],
)
def test_decrement_reduces_both_by_the_smaller(lots: int, said: Said, resting: list[tuple[int, int]], status: Status) -> None:
    market = Market(SelfTrade.DECREMENT)
    market.asks((1, ALICE, 5))
    assert market.book.submit(BUY, 100, lots, TAKER, user=ALICE).status == status
    assert market.said() == [(A, TAKER, lots, 0), *said]
    assert market.resting() == resting


@pytest.mark.parametrize("mode", [m for m in SelfTrade if m > SelfTrade.OFF])
def test_nobody_is_not_a_user(mode: SelfTrade) -> None:
    market = Market(mode)
    market.asks((1, 0, 5))
    assert market.book.submit(BUY, 100, 5, TAKER, user=0, stp=mode).status == Status.FILLED


@pytest.mark.parametrize("mode", [m for m in SelfTrade if m > SelfTrade.OFF])
def test_others_trade_as_usual(mode: SelfTrade) -> None:
    market = Market(mode)
    market.asks((1, BOB, 5), (2, ALICE, 5))
    assert market.book.submit(BUY, 100, 5, TAKER, user=ALICE).status == Status.FILLED
    assert market.resting() == [(2, 5)]


def test_command_overrides_the_user_who_overrides_the_engine() -> None:
    market = Market(SelfTrade.CANCEL_TAKER)
    carol = market.engine.user("carol", self_trade=SelfTrade.CANCEL_MAKER)
    market.asks((1, carol, 5), (2, ALICE, 5))
    assert market.book.submit(BUY, 100, 5, 10, user=ALICE, stp=SelfTrade.OFF).status == Status.FILLED
    market.book.submit(SELL, 99, 5, 3, user=carol)
    market.said()
    market.book.submit(BUY, 99, 5, 11, user=carol)
    assert market.said() == [(A, 11, 5, 0), (C, 3, 5, 0)]
    market.book.submit(SELL, 99, 5, 12, user=carol, stp=SelfTrade.CANCEL_BOTH)
    assert market.said() == [(A, 12, 5, 0), (C, 11, 5, 0), (C, 12, 5, 0)]
    market.book.submit(BUY, 100, 5, 13, user=ALICE)
    assert market.said() == [(A, 13, 5, 0), (C, 13, 5, 0)]


@pytest.mark.parametrize(
    ("mode", "lots", "status"),
    [
        (SelfTrade.CANCEL_TAKER, 2, Status.FILLED),
        (SelfTrade.CANCEL_TAKER, 3, Status.CANCELLED),
        (SelfTrade.CANCEL_BOTH, 2, Status.FILLED),
        (SelfTrade.CANCEL_BOTH, 3, Status.CANCELLED),
        (SelfTrade.DECREMENT, 2, Status.FILLED),
        (SelfTrade.DECREMENT, 3, Status.CANCELLED),
        (SelfTrade.CANCEL_MAKER, 6, Status.FILLED),
        (SelfTrade.CANCEL_MAKER, 7, Status.CANCELLED),
        (SelfTrade.OFF, 9, Status.FILLED),
        (SelfTrade.OFF, 10, Status.CANCELLED),
    ],
)
def test_fok_counts_what_prevention_would_take_away_before_it_decides(mode: SelfTrade, lots: int, status: Status) -> None:
    market = Market(mode)
    market.asks((1, BOB, 2), (2, ALICE, 3), (3, BOB, 4))
    before = market.engine.state_hash()
    result = market.book.submit(BUY, 100, lots, TAKER, user=ALICE, tif=TimeInForce.FOK)
    assert result.status == status
    if status == Status.CANCELLED:
        assert result.reason == Reason.FOK
        assert market.said() == [(A, TAKER, lots, 0), (C, TAKER, lots, 0)]
        assert market.engine.state_hash() == before
    else:
        assert result.filled_lots == lots


def test_cancel_maker_leaves_deeper_own_orders_that_werent_reached() -> None:
    market = Market(SelfTrade.CANCEL_MAKER)
    market.asks((1, ALICE, 1), (2, BOB, 5), (3, ALICE, 1))
    assert market.book.submit(BUY, 100, 5, TAKER, user=ALICE).status == Status.FILLED
    assert market.resting() == [(3, 1)]


@pytest.mark.parametrize("mode", [m for m in SelfTrade if m > SelfTrade.OFF])
def test_ioc_and_market_takers_obey_too(mode: SelfTrade) -> None:
    market = Market(mode)
    market.asks((1, ALICE, 5))
    assert market.book.submit_market(BUY, 5, 10, user=ALICE).filled_lots == 0
    market.book.mass_cancel()
    market.asks((1, ALICE, 5))
    assert market.book.submit(BUY, 100, 5, 11, user=ALICE, tif=TimeInForce.IOC).filled_lots == 0
    market.engine.check()


@pytest.mark.parametrize(
    ("mode", "said", "resting"),
    [
        (SelfTrade.CANCEL_TAKER, [(C, 5, 5, 0)], [(1, 3)]),
        (SelfTrade.CANCEL_MAKER, [(C, 1, 3, 0)], [(5, 5)]),
        (SelfTrade.CANCEL_BOTH, [(C, 1, 3, 0), (C, 5, 5, 0)], []),
        (SelfTrade.DECREMENT, [(C, 1, 3, 0), (C, 5, 3, 2)], [(5, 2)]),
    ],
)
def test_amend_into_an_own_order_obeys_the_command(mode: SelfTrade, said: Said, resting: list[tuple[int, int]]) -> None:
    market = Market()
    market.asks((1, ALICE, 3))
    market.book.submit(BUY, 90, 5, 5, user=ALICE)
    market.said()
    market.book.amend(5, 100, 5, stp=mode)
    assert market.said() == [(int(Kind.REPLACED), 5, 5, 0), *said]
    assert market.resting() == resting
