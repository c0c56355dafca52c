"""A slow, obvious matching engine: the readable specification that the compiled one is held against.

Lists, dictionaries and Python integers only. One command goes in, one status and the events it caused come out, field
by field as in the event record. Nothing here is fast and nothing is clever; where this file and the engine disagree,
one of them is wrong.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from reference_records import INT64_MAX, INT64_MIN, Book, Command, Event, Limits, Order, Outcome, opposite, reaches

from pyengine.records import Action, EventFlag, Flag, Kind, Reason, SelfTrade, Side, Status, TimeInForce

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

EVERY_INSTRUMENT = 0xFFFFFFFF
NEW = (Action.MARKET, Action.LIMIT)
REQUESTS = (*NEW, Action.CANCEL, Action.AMEND, Action.MASS_CANCEL)
SIDES = (Side.BUY, Side.SELL)
ALLOWED_FLAGS: dict[int, Flag] = {
    Action.MARKET: Flag.ASSIGN_ID,
    Action.LIMIT: Flag.POST_ONLY | Flag.SLIDE | Flag.ASSIGN_ID,
    Action.AMEND: Flag.POST_ONLY,
}
TIFS = (TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK)


def first_reason(checks: Sequence[tuple[Reason, bool]]) -> Reason:
    """Pick the first reason that applies, or NONE. The order of the checks is part of the specification."""
    return next((reason for reason, applies in checks if applies), Reason.NONE)


def pack_detail(user: int, order_type: int, tif: int, flags: int, stp: int) -> int:
    """Pack who sent an order and how it was sent into the `detail` field."""
    return user | order_type << 32 | tif << 40 | flags << 48 | stp << 56


def attributes(c: Command) -> int:
    """Pack the attributes of the order that a command sends."""
    return pack_detail(c.user, c.action, c.tif, c.flags, c.stp)


def resting_detail(order: Order) -> int:
    """Pack what is known of a resting order: its owner, and that it is a limit order."""
    return pack_detail(order.user, Action.LIMIT, TimeInForce.GTC, 0, 0)


def flags_fit(c: Command) -> bool:
    """Whether each flag has a meaning for this command: sliding is a way to be post-only, and post-only orders wait."""
    allowed = ALLOWED_FLAGS.get(c.action, Flag.NONE)
    waits = bool(c.flags & (Flag.POST_ONLY | Flag.SLIDE))
    return not c.flags & ~allowed and (not waits or bool(c.flags & Flag.POST_ONLY and c.tif == TimeInForce.GTC))


class ReferenceEngine:
    """Books, live orders and the three counters. `apply` is the whole interface; the rest are views."""

    def __init__(
        self,
        limits: Sequence[Limits],
        *,
        users: int = 0,
        self_trade: SelfTrade = SelfTrade.OFF,
        user_modes: Mapping[int, SelfTrade] | None = None,
    ) -> None:
        self.books = [Book(each) for each in limits]
        self.live: dict[int, Order] = {}
        self.users = users
        self.self_trade = self_trade
        self.user_modes = dict(user_modes or {})
        self.last_seq = 0
        self.last_trade_id = 0
        self.last_order_id = 0
        self.last_entry = 0
        self.events: list[Event] = []

    # Views

    def orders(self, instrument: int) -> list[tuple[int, int, int, int, int]]:
        """List the resting orders of a book: bids, then asks, each in price-time order, as in `ORDER_STATE_DTYPE`."""
        queues = self.books[instrument].queues
        return [(o.order_id, o.price_ticks, o.open_lots, o.user, int(o.side)) for side in SIDES for o in queues[side]]

    def depth(self, instrument: int, side: Side) -> list[tuple[int, int, int]]:
        """List the levels of one side from the best: price, lots, orders."""
        levels = groupby(self.books[instrument].queues[side], key=lambda o: o.price_ticks)
        rows = [(price, [o.open_lots for o in level]) for price, level in levels]
        return [(price, sum(lots), len(lots)) for price, lots in rows]

    def state(self) -> list[list[tuple[int, int, int, int, int]]]:
        """List what the state hash covers: the resting orders of each book with their place in the queue."""
        return [self.orders(i) for i in range(len(self.books))]

    # Commands

    def apply(self, c: Command) -> Outcome:
        """Execute one command."""
        self.events = []
        status = self.why_invalid(c) or self.execute(c)
        if status >= Reason.INVALID_ACTION:
            self.record(
                c,
                order_id=c.order_id,
                detail=attributes(c),
                price_ticks=c.price_ticks,
                qty_lots=c.qty_lots,
                kind=Kind.REJECTED,
                side=c.side,
                reason=status,
                flags=c.action,
            )
        return Outcome(int(status), self.events)

    def why_invalid(self, c: Command) -> Reason:
        """Find what is wrong with a command in itself, whatever rests in the books."""
        everywhere = c.action == Action.MASS_CANCEL and c.instrument == EVERY_INSTRUMENT
        reason = first_reason(
            [
                (Reason.INVALID_ACTION, c.action not in REQUESTS),
                (Reason.INVALID_INSTRUMENT, c.instrument >= len(self.books) and not everywhere),
                (Reason.INVALID_SIDE, c.side not in (SIDES if c.action in NEW else (0, *SIDES))),
                (Reason.INVALID_TIF, c.tif not in TIFS),
                (Reason.INVALID_FLAGS, not flags_fit(c)),
                (Reason.INVALID_STP, c.stp > SelfTrade.DECREMENT),
                (Reason.INVALID_RESERVED, (c.reserved, c.aux1, c.aux2) != (0, 0, 0)),
                (Reason.INVALID_USER, c.user > self.users),
            ]
        )
        carries_order = c.action in {*NEW, Action.AMEND}
        return reason or (self.why_out_of_domain(c) if carries_order else Reason.NONE)

    def why_out_of_domain(self, c: Command) -> Reason:
        """Find what is wrong with the price and the quantity of a new or amended order."""
        limits = self.books[c.instrument].limits
        market = c.action == Action.MARKET
        return first_reason(
            [
                (Reason.INVALID_PRICE, c.price_ticks != 0 if market else c.price_ticks <= 0 < limits.min_price),
                (Reason.PRICE_OUT_OF_RANGE, not market and not limits.min_price <= c.price_ticks <= limits.max_price),
                (Reason.INVALID_QTY, c.qty_lots <= 0),
                (Reason.QTY_OUT_OF_RANGE, not limits.min_qty <= c.qty_lots <= limits.max_qty),
                (Reason.NOTIONAL_OVERFLOW, not INT64_MIN <= c.price_ticks * c.qty_lots <= INT64_MAX),
            ]
        )

    def execute(self, c: Command) -> Status | Reason:
        """Execute a valid command. A Reason means that it was refused and nothing changed."""
        if c.action in NEW:
            return self.place(c)
        if c.action == Action.MASS_CANCEL:
            return self.mass_cancel(c)
        order = self.live.get(c.order_id)
        if order is None:
            return Reason.UNKNOWN_ORDER
        refusal = first_reason(
            [
                (Reason.WRONG_INSTRUMENT, order.instrument != c.instrument),
                (Reason.NOT_OWNER, c.user not in (0, order.user)),
            ]
        )
        return refusal or (self.cancel(c, order) if c.action == Action.CANCEL else self.amend(c, order))

    def place(self, c: Command) -> Status | Reason:
        """Match a new order, then rest or cancel what is left of it."""
        book = self.books[c.instrument]
        side, market = Side(c.side), c.action == Action.MARKET
        order_id = self.free_order_id() if c.flags & Flag.ASSIGN_ID else c.order_id
        would_trade = bool(c.flags & Flag.POST_ONLY) and book.would_trade(side, c.price_ticks)
        slides = would_trade and bool(c.flags & Flag.SLIDE)
        price = book.one_tick_off(side) if slides else c.price_ticks
        rests = not market and c.tif == TimeInForce.GTC
        refusal = first_reason(
            [
                (Reason.DUPLICATE_ORDER_ID, order_id in self.live),
                (Reason.POST_ONLY_WOULD_TRADE, would_trade and not (slides and book.accepts(price, c.qty_lots))),
                (Reason.LEVEL_FULL, rests and book.level_lots(side, price) + c.qty_lots > INT64_MAX),
            ]
        )
        if refusal:
            return refusal
        if c.flags & Flag.ASSIGN_ID:
            self.last_order_id = order_id
        self.last_entry += 1
        taker = Order(order_id, c.user, c.instrument, side, price, c.qty_lots, self.last_entry, attributes(c))
        self.emit(c, Kind.ACCEPTED, taker, c.qty_lots)
        if c.tif == TimeInForce.FOK and self.fillable_lots(c, taker) < taker.open_lots:
            self.take_off(c, taker, taker.open_lots, Reason.FOK)
            return Status.CANCELLED
        self.match(c, taker)
        return self.settle(c, taker, rests=rests)

    def cancel(self, c: Command, order: Order) -> Status:
        """Take one order out of its book."""
        self.take_off(c, order, order.open_lots, Reason.USER)
        return Status.CANCELLED

    def amend(self, c: Command, order: Order) -> Status | Reason:
        """Change price and open quantity; only a smaller or equal quantity at the same price keeps the place."""
        book = self.books[c.instrument]
        refusal = first_reason(
            [
                (
                    Reason.POST_ONLY_WOULD_TRADE,
                    bool(c.flags & Flag.POST_ONLY) and book.would_trade(order.side, c.price_ticks),
                ),
                (Reason.LEVEL_FULL, book.level_lots(order.side, c.price_ticks, without=order) + c.qty_lots > INT64_MAX),
            ]
        )
        if refusal:
            return refusal
        keeps_place = c.price_ticks == order.price_ticks and c.qty_lots <= order.open_lots
        before = order.open_lots
        if not keeps_place:
            self.withdraw(order)
        order.price_ticks, order.open_lots, order.traded = c.price_ticks, c.qty_lots, False
        order.detail = pack_detail(order.user, Action.LIMIT, TimeInForce.GTC, c.flags, c.stp)
        self.emit(c, Kind.REPLACED, order, c.qty_lots, value=before, flags=EventFlag.KEPT_PLACE if keeps_place else 0)
        if keeps_place:
            order.detail = resting_detail(order)
            return Status.REPLACED
        self.match(c, order)
        status = self.settle(c, order, rests=True)
        return Status.REPLACED if status == Status.RESTING else status

    def mass_cancel(self, c: Command) -> Status:
        """Cancel all that match: one user's in order of entry, everybody's in the order of the books."""
        indexes = range(len(self.books)) if c.instrument == EVERY_INSTRUMENT else [c.instrument]
        sides = [Side(c.side)] if c.side else SIDES
        chosen = [o for i in indexes for side in sides for o in self.books[i].queues[side] if c.user in (0, o.user)]
        if c.user:
            chosen.sort(key=lambda o: o.entry)
        for order in chosen:
            self.take_off(c, order, order.open_lots, Reason.MASS)
        return Status.MASS_CANCELLED

    # Matching

    def self_trade_mode(self, c: Command, user: int) -> SelfTrade:
        """Choose the self-trade mode: the command's, else the user's, else the engine's."""
        return SelfTrade(c.stp) or self.user_modes.get(user, SelfTrade.DEFAULT) or self.self_trade

    def is_own(self, c: Command, taker: Order, maker: Order) -> bool:
        """Whether self-trade prevention forbids these two to trade."""
        return taker.user == maker.user != 0 and self.self_trade_mode(c, taker.user) != SelfTrade.OFF

    def reachable(self, c: Command, taker: Order) -> Iterator[Order]:
        """Walk the makers whose price the taker accepts, best first."""
        for maker in self.books[taker.instrument].queues[opposite(taker.side)]:
            if c.action != Action.MARKET and not reaches(taker.side, taker.price_ticks, maker):
                return
            yield maker

    def fillable_lots(self, c: Command, taker: Order) -> int:
        """Count what a taker could trade before self-trade prevention would end or reduce it."""
        lots = 0
        for maker in self.reachable(c, taker):
            if not self.is_own(c, taker, maker):
                lots += maker.open_lots
            elif self.self_trade_mode(c, taker.user) != SelfTrade.CANCEL_MAKER:
                break
        return lots

    def match(self, c: Command, taker: Order) -> None:
        """Trade, or prevent trades with oneself, while the taker is open and meets someone."""
        while taker.open_lots and (maker := next(self.reachable(c, taker), None)):
            if self.is_own(c, taker, maker):
                self.prevent(c, taker, maker)
            else:
                self.trade(c, taker, maker)

    def trade(self, c: Command, taker: Order, maker: Order) -> None:
        """Trade as much as both have, at the maker's price."""
        lots = min(taker.open_lots, maker.open_lots)
        taker.open_lots -= lots
        maker.open_lots -= lots
        taker.traded = True
        self.last_trade_id += 1
        flags = (0 if maker.open_lots else EventFlag.MAKER_FILLED) | (0 if taker.open_lots else EventFlag.TAKER_FILLED)
        self.record(
            c,
            order_id=taker.order_id,
            detail=maker.order_id,
            price_ticks=maker.price_ticks,
            qty_lots=lots,
            value=self.last_trade_id,
            kind=Kind.TRADE,
            side=taker.side,
            flags=flags,
        )
        if maker.open_lots == 0:
            self.withdraw(maker)

    def prevent(self, c: Command, taker: Order, maker: Order) -> None:
        """Keep a user from trading with itself: first the maker is dealt with, then the taker."""
        mode = self.self_trade_mode(c, taker.user)
        decrement = min(taker.open_lots, maker.open_lots)
        if mode != SelfTrade.CANCEL_TAKER:
            self.take_off(c, maker, decrement if mode == SelfTrade.DECREMENT else maker.open_lots, Reason.SELF_TRADE)
        if mode != SelfTrade.CANCEL_MAKER:
            self.take_off(c, taker, decrement if mode == SelfTrade.DECREMENT else taker.open_lots, Reason.SELF_TRADE)

    def settle(self, c: Command, taker: Order, *, rests: bool) -> Status:
        """Rest or cancel what matching left of a taker, and name how it ended."""
        if taker.open_lots and rests:
            self.rest(taker)
            return Status.PARTIALLY_FILLED if taker.traded else Status.RESTING
        if taker.open_lots:
            self.take_off(c, taker, taker.open_lots, Reason.NO_LIQUIDITY if c.action == Action.MARKET else Reason.IOC)
        last = self.events[-1]
        return Status.CANCELLED if last.kind == Kind.CANCELLED else Status.FILLED

    # Changes

    def free_order_id(self) -> int:
        """Count on from the last id that the engine gave to the next one that no live order has."""
        order_id = self.last_order_id + 1
        while order_id in self.live:
            order_id += 1
        return order_id

    def rest(self, order: Order) -> None:
        """Queue an order and make its id known; how it was sent is forgotten."""
        order.detail = resting_detail(order)
        self.books[order.instrument].add(order)
        self.live[order.order_id] = order

    def withdraw(self, order: Order) -> None:
        """Take a resting order out of its queue; its id is free again."""
        self.books[order.instrument].remove(order)
        del self.live[order.order_id]

    def take_off(self, c: Command, order: Order, lots: int, reason: Reason) -> None:
        """Cancel some or all lots of an order, resting or not."""
        order.open_lots -= lots
        self.emit(c, Kind.CANCELLED, order, lots, value=order.open_lots, reason=reason)
        if order.open_lots == 0 and self.live.get(order.order_id) is order:
            self.withdraw(order)

    def emit(self, c: Command, kind: Kind, order: Order, lots: int, **fields: int) -> None:
        """Record an event about one order."""
        about = {"order_id": order.order_id, "price_ticks": order.price_ticks, "instrument": order.instrument}
        about["detail"] = order.detail
        self.record(c, kind=kind, qty_lots=lots, side=order.side, **about, **fields)

    def record(self, c: Command, **fields: int) -> None:
        """Give an event its number and the command's time."""
        self.last_seq += 1
        usual = {"value": 0, "instrument": c.instrument, "reason": 0, "flags": 0}
        numbers = {name: int(value) for name, value in (usual | fields).items()}
        self.events.append(Event(seq=self.last_seq, ts_ns=c.ts_ns, **numbers))
