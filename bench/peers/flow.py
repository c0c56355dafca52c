"""A seeded order flow around a book of steady size, with the trades it must cause.

The generator keeps a slow price-time book of dictionaries. It knows from it which orders are live and where the touch
is, and it takes from it the trades and the final book, so an engine is compared with something that shares no code with
it.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final, TypedDict

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

ADD: Final = 0
CANCEL: Final = 1
BUY: Final = 1
SELL: Final = 2

COMMAND_COLUMNS: Final = ("action", "order_id", "side", "price", "qty")
TRADE_COLUMNS: Final = ("trade_taker", "trade_maker", "trade_price", "trade_qty")

OPENING_PRICE: Final = 100_000
MAX_QTY: Final = 100
MAX_DEPTH_TICKS: Final = 400
DEPTH_SUCCESS: Final = 0.05
PASSIVE_SHARE: Final = 0.5
CANCEL_SHARE: Final = 0.4
DRAWS_PER_CHUNK: Final = 1 << 16

# A crossing order wants between 0.5 and 2.5 resting orders. Only whole ones leave the book, which are one on average.
LEAST_MAKERS: Final = 0.5
MAKERS_SPAN: Final = 2.0
# Five per cent too many orders raise the wish by half an order, the most that it is raised or lowered by. The size of
# the book is steady by that, and not by changing the shares of the three kinds of command.
SIZE_GAIN: Final = 10.0
MAX_CORRECTION: Final = 0.5
MAX_SLIPPAGE_TICKS: Final = 3


class Flow(TypedDict):
    """Columns of 64-bit integers; `prefill` has one element.

    The first `prefill` commands only build the book. A cancel repeats side and price of its order; its qty is what is
    still open. The trades are in the order of their execution, the final book is bids then asks, best first, oldest
    first.
    """

    prefill: NDArray[np.int64]
    action: NDArray[np.int64]
    order_id: NDArray[np.int64]
    side: NDArray[np.int64]
    price: NDArray[np.int64]
    qty: NDArray[np.int64]
    trade_taker: NDArray[np.int64]
    trade_maker: NDArray[np.int64]
    trade_price: NDArray[np.int64]
    trade_qty: NDArray[np.int64]
    final_order_id: NDArray[np.int64]
    final_side: NDArray[np.int64]
    final_price: NDArray[np.int64]
    final_qty: NDArray[np.int64]


class _BookSide:
    """One side: open quantities by order id by key, which is the price, negated for bids, so that less is better."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.sign = 1 if side == SELL else -1
        self.levels: dict[int, dict[int, int]] = {}
        self.best_key: int | None = None

    def add(self, order_id: int, price: int, qty: int) -> None:
        key = price * self.sign
        level = self.levels.get(key)
        if level is None:
            level = self.levels[key] = {}
            if self.best_key is None or key < self.best_key:
                self.best_key = key
        level[order_id] = qty

    def remove(self, order_id: int, price: int) -> int:
        key = price * self.sign
        level = self.levels[key]
        qty = level.pop(order_id)
        if not level:
            del self.levels[key]
            if key == self.best_key:
                self.best_key = min(self.levels, default=None)
        return qty

    def best_price(self) -> int | None:
        return None if self.best_key is None else self.best_key * self.sign

    def in_priority(self) -> Iterator[tuple[int, int, int]]:
        """Yield order id, price and open quantity, best price first, oldest first."""
        for key in sorted(self.levels):
            for order_id, qty in self.levels[key].items():
                yield order_id, key * self.sign, qty

    def size_of_sweep(self, makers: float) -> tuple[int, int]:
        """Give quantity and worst price of taking so many resting orders from the front, the last one in part."""
        qty = 0
        price = 0
        for _, price, open_qty in self._front():
            if makers < 1.0:
                return qty + int(open_qty * makers), price
            qty += open_qty
            makers -= 1.0
        return qty, price

    def _front(self) -> Iterator[tuple[int, int, int]]:
        """Yield as `in_priority` does, but without sorting levels that a small sweep will not reach."""
        key = self.best_key
        while key is not None:
            for order_id, qty in self.levels[key].items():
                yield order_id, key * self.sign, qty
            key = min((other for other in self.levels if other > key), default=None)


class _SlowBook:
    """Both sides, the live orders in a list that a random one can be picked from, and all that was recorded."""

    def __init__(self) -> None:
        self.sides = {BUY: _BookSide(BUY), SELL: _BookSide(SELL)}
        self.live: list[int] = []
        self.place: dict[int, int] = {}
        self.origin: dict[int, tuple[int, int]] = {}
        self.next_order_id = 1
        self.commands = tuple(array("q") for _ in COMMAND_COLUMNS)
        self.trades = tuple(array("q") for _ in TRADE_COLUMNS)

    def submit(self, side: int, price: int, qty: int) -> None:
        order_id = self.next_order_id
        self.next_order_id += 1
        _append(self.commands, (ADD, order_id, side, price, qty))
        opposite = self.sides[BUY + SELL - side]
        limit_key = price * opposite.sign
        while qty and opposite.best_key is not None and opposite.best_key <= limit_key:
            level = opposite.levels[opposite.best_key]
            maker_id = next(iter(level))
            maker_price = opposite.best_key * opposite.sign
            traded = min(qty, level[maker_id])
            qty -= traded
            level[maker_id] -= traded
            _append(self.trades, (order_id, maker_id, maker_price, traded))
            if not level[maker_id]:
                opposite.remove(maker_id, maker_price)
                self._forget(maker_id)
        if qty:
            self.sides[side].add(order_id, price, qty)
            self.place[order_id] = len(self.live)
            self.live.append(order_id)
            self.origin[order_id] = (side, price)

    def cancel(self, order_id: int) -> None:
        side, price = self.origin[order_id]
        qty = self.sides[side].remove(order_id, price)
        _append(self.commands, (CANCEL, order_id, side, price, qty))
        self._forget(order_id)

    def _forget(self, order_id: int) -> None:
        """Let the last order take the place of this one, so that leaving costs the same wherever it was."""
        place = self.place.pop(order_id)
        last = self.live.pop()
        if last != order_id:
            self.live[place] = last
            self.place[last] = place
        del self.origin[order_id]

    def cross(self, side: int, slippage_ticks: int, makers: float) -> None:
        """Submit an order that takes so many resting orders, priced no worse than that needs, but for the slippage."""
        opposite = self.sides[BUY + SELL - side]
        qty, worst_price = opposite.size_of_sweep(makers)
        self.submit(side, worst_price + opposite.sign * slippage_ticks, max(1, qty))

    def passive_price(self, side: int, depth_ticks: int) -> int:
        """Price an order behind the opposite touch: no crossing, and a mid that wanders as orders come and go."""
        opposite = self.sides[BUY + SELL - side]
        touch = opposite.best_price()
        if touch is None:
            touch = self.sides[side].best_price() or OPENING_PRICE
            depth_ticks = max(1, depth_ticks)
        return touch - opposite.sign * depth_ticks


def mixed_flow(n: int, seed: int, book_orders: int = 4000) -> Flow:
    """Generate commands around a book of steady size and the trades they must cause.

    `book_orders` passive orders come first and count on top of `n`. After them half of the commands are passive orders,
    40 % cancel a random live order, and 10 % are limit orders at or through the touch that take about one resting order
    and never rest themselves. Where nothing is left to cancel or to take, the command is a passive order instead.

    Parameters
    ----------
    n
        Number of commands after the prefill.
    seed
        Seed of the random draws; the same arguments give the same flow.
    book_orders
        Number of resting orders that the flow keeps to; of 4,000 it strays by a few per cent, of 50 by more.

    Returns
    -------
    Flow
        Commands, expected trades and final book as columns; order ids are dense from 1.
    """
    if n < 0 or book_orders < 1:
        message = f"n must be at least 0 and book_orders at least 1, were {n} and {book_orders}"
        raise ValueError(message)
    book = _SlowBook()
    rng = np.random.Generator(np.random.PCG64(seed))
    for _, side, depth_ticks, qty, _ in _draws(rng, book_orders):
        book.submit(side, book.passive_price(side, depth_ticks), qty)
    for kind, side, depth_ticks, qty, fraction in _draws(rng, n):
        if kind >= PASSIVE_SHARE + CANCEL_SHARE and book.sides[BUY + SELL - side].levels:
            surplus = SIZE_GAIN * (len(book.live) - book_orders) / book_orders
            makers = LEAST_MAKERS + MAKERS_SPAN * fraction + min(MAX_CORRECTION, max(-MAX_CORRECTION, surplus))
            book.cross(side, depth_ticks % (MAX_SLIPPAGE_TICKS + 1), makers)
        elif PASSIVE_SHARE <= kind < PASSIVE_SHARE + CANCEL_SHARE and book.live:
            book.cancel(book.live[int(fraction * len(book.live))])
        else:
            book.submit(side, book.passive_price(side, depth_ticks), qty)
    return _columns(book, book_orders)


def _draws(rng: np.random.Generator, count: int) -> Iterator[tuple[float, int, int, int, float]]:
    """Draw in chunks, because one call a number is slow and all numbers at once do not fit millions of commands."""
    for start in range(0, count, DRAWS_PER_CHUNK):
        size = min(DRAWS_PER_CHUNK, count - start)
        yield from zip(
            rng.random(size).tolist(),
            rng.integers(BUY, SELL, size, endpoint=True).tolist(),
            np.minimum(rng.geometric(DEPTH_SUCCESS, size), MAX_DEPTH_TICKS).tolist(),
            rng.integers(1, MAX_QTY, size, endpoint=True).tolist(),
            rng.random(size).tolist(),
            strict=True,
        )


def _append(columns: tuple[array[int], ...], row: Iterable[int]) -> None:
    for column, value in zip(columns, row, strict=True):
        column.append(value)


def _columns(book: _SlowBook, prefill: int) -> Flow:
    final = [(order_id, side.side, price, qty) for side in book.sides.values() for order_id, price, qty in side.in_priority()]
    final_columns = np.array(final, dtype=np.int64).reshape(len(final), 4).T.copy()
    action, order_id, side, price, qty = (np.array(column, dtype=np.int64) for column in book.commands)
    taker, maker, trade_price, trade_qty = (np.array(column, dtype=np.int64) for column in book.trades)
    return Flow(
        prefill=np.array([prefill], dtype=np.int64),
        action=action,
        order_id=order_id,
        side=side,
        price=price,
        qty=qty,
        trade_taker=taker,
        trade_maker=maker,
        trade_price=trade_price,
        trade_qty=trade_qty,
        final_order_id=final_columns[0],
        final_side=final_columns[1],
        final_price=final_columns[2],
        final_qty=final_columns[3],
    )
