"""The mapping of a feed's events onto commands, against the book that applies them one by one."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pyengine import Engine, Instrument
from pyengine.replay.feed import BookEvents, Op, map_events

BID_TICKS, ASK_TICKS = (90, 99), (101, 110)  # never cross, as in a feed of a market that has matched


class PlainBook:
    """What a feed says, done by the letter: queues of [order id, size] by instrument, side and price."""

    def __init__(self) -> None:
        self.queues: dict[tuple[int, int, int], list[list[int]]] = {}
        self.places: dict[tuple[int, int], tuple[int, int, int]] = {}

    def apply(self, op: int, order: tuple[int, int], side: int, price: int, size: int) -> None:
        instrument = order[0]
        if op == Op.CLEAR:
            self.queues = {key: queue for key, queue in self.queues.items() if key[0] != instrument}
            self.places = {key: place for key, place in self.places.items() if key[0] != instrument}
        elif op == Op.REDUCE:
            entry = self.entry(order)
            entry[1] -= size
            if not entry[1]:
                self.drop(order)
        elif op == Op.ADD or (op == Op.CHANGE and order not in self.places):
            self.put(order, (instrument, side, price), size)
        elif op == Op.CHANGE:
            place, entry = self.places[order], self.entry(order)
            if place[2] == price and size <= entry[1]:
                entry[1] = size
            else:
                self.drop(order)
                self.put(order, (instrument, place[1], price), size)

    def put(self, order: tuple[int, int], place: tuple[int, int, int], size: int) -> None:
        self.places[order] = place
        self.queues.setdefault(place, []).append([order[1], size])

    def entry(self, order: tuple[int, int]) -> list[int]:
        return next(entry for entry in self.queues[self.places[order]] if entry[0] == order[1])

    def drop(self, order: tuple[int, int]) -> None:
        entry = self.entry(order)
        self.queues[self.places.pop(order)].remove(entry)

    def orders(self, instrument: int) -> list[tuple[int, int, int, int]]:
        keys = sorted((key for key in self.queues if key[0] == instrument), key=lambda k: (k[1], -k[2] if k[1] == 1 else k[2]))
        return [(entry[0], key[2], entry[1], key[1]) for key in keys for entry in self.queues[key]]


@st.composite
def feeds(draw: st.DrawFn) -> tuple[list[tuple[int, tuple[int, int], int, int, int]], PlainBook]:
    """Draw a consistent feed of two instruments, and the book it makes."""
    book, rows = PlainBook(), []
    fresh = 1
    for _ in range(draw(st.integers(0, 40))):
        instrument, side = draw(st.integers(0, 1)), draw(st.integers(1, 2))
        price = draw(st.integers(*(BID_TICKS if side == 1 else ASK_TICKS)))
        size = draw(st.integers(1, 9))
        live = sorted(book.places)
        op = Op(draw(st.sampled_from([1, 1, 1, 2, 2, 3, 3, 5, 0, 4 if draw(st.booleans()) else 1])))
        order = (instrument, fresh)
        if op in {Op.REDUCE, Op.FILL} or (op == Op.CHANGE and draw(st.booleans())):
            if not live:
                continue
            order = draw(st.sampled_from(live))
            side, at = book.places[order][1:]
            price = draw(st.sampled_from([at, at, price])) if price // 100 == at // 100 else at
            if op != Op.CHANGE:
                price, size = at, min(size, book.entry(order)[1])
        elif op in {Op.ADD, Op.CHANGE}:
            # An id is free again once its order is done, and feeds do use it again.
            done = sorted({row[1] for row in rows if row[0] == Op.ADD} - set(live))
            order = draw(st.sampled_from(done)) if done and draw(st.booleans()) else order
            fresh += 1
        row = (int(op), order, side, price, size)
        rows.append(row)
        book.apply(*row)
    return rows, book


def events_of(rows: list[tuple[int, tuple[int, int], int, int, int]]) -> BookEvents:
    columns = [(op, order[1], side, price, size, k, order[0]) for k, (op, order, side, price, size) in enumerate(rows)]
    arrays = np.array(columns, np.int64).reshape(-1, 7).T
    types = ("u1", "<u8", "u1", "<i8", "<i8", "<i8", "<u4")
    return BookEvents(*(values.astype(dtype) for values, dtype in zip(arrays, types, strict=True)))


@settings(max_examples=150, deadline=None)
@given(feeds())
def test_commands_make_the_book_that_the_feed_means(
    feed: tuple[list[tuple[int, tuple[int, int], int, int, int]], PlainBook],
) -> None:
    rows, book = feed
    mapped = map_events(events_of(rows))
    engine = Engine([Instrument("A"), Instrument("B")], ring_capacity=64)
    out = engine.run(mapped.commands)
    assert not out.rejected.any()
    assert len(out.trades) == 0
    assert mapped.excess == -1
    for instrument in range(2):
        orders = engine.books[instrument].orders()[["order_id", "price_ticks", "qty_lots", "side"]].tolist()
        assert orders == book.orders(instrument)
    engine.check()


@settings(max_examples=60, deadline=None)
@given(feeds())
def test_each_row_knows_how_many_commands_ran_and_what_changes_its_order_next(
    feed: tuple[list[tuple[int, tuple[int, int], int, int, int]], PlainBook],
) -> None:
    rows, _ = feed
    mapped = map_events(events_of(rows))
    sends = [row[0] in {Op.ADD, Op.REDUCE, Op.CHANGE, Op.CLEAR} for row in rows]
    assert mapped.run_after.tolist() == np.cumsum(sends).tolist()
    for k, row in enumerate(rows):
        following = int(mapped.next_of_order[k])
        if following >= 0:
            assert following > k
            assert rows[following][1] == row[1]
            assert rows[following][0] in {Op.ADD, Op.REDUCE, Op.CHANGE}


def test_taking_more_off_than_there_is_names_the_event() -> None:
    rows = [(Op.ADD, (0, 1), 1, 95, 5), (Op.REDUCE, (0, 1), 1, 95, 2), (Op.REDUCE, (0, 1), 1, 95, 4)]
    assert map_events(events_of(rows)).excess == 2


def test_what_is_about_an_unknown_order_is_left_to_the_engine_to_refuse() -> None:
    rows = [
        (Op.REDUCE, (0, 7), 1, 95, 2),
        (Op.CHANGE, (0, 8), 1, 95, 4),
        (Op.CLEAR, (0, 0), 0, 0, 0),
        (Op.CHANGE, (0, 8), 1, 96, 3),
    ]
    engine = Engine([Instrument("A")])
    out = engine.run(map_events(events_of(rows)).commands)
    assert out.rejected.tolist() == [True, False, False, False]
    assert engine.books[0].orders()[["order_id", "price_ticks", "qty_lots"]].tolist() == [(8, 96, 3)]
