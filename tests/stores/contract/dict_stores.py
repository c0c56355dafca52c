"""Stores as a user would write them: dicts, and only the methods that the interfaces have no body for."""

from __future__ import annotations

from pyengine.errors import FieldTypeError
from pyengine.records import Side
from pyengine.store_errors import StoreClosed
from pyengine.stores import Names, Order, Trade
from pyengine.stores.arguments import limit_of, order_id_of, side_of, user_of
from pyengine.stores.interfaces import OrderStore, TradeStore

NOBODY = Names()


class DictOrderStore(OrderStore):
    """Orders in a dict."""

    def __init__(self) -> None:
        self._orders: dict[int, Order] = {}
        self._symbols: dict[str | None, int] = {}
        self._closed = False

    def save(self, order: Order) -> bool:
        self._refuse_closed()
        if not isinstance(order, Order):
            raise FieldTypeError("order", order, "an Order")
        old = self._orders.get(order.order_id)
        if old is not None and old.version > order.version:
            return False
        self._symbols.setdefault(order.symbol, len(self._symbols))
        self._orders[order.order_id] = order
        return True

    def update(self, order: Order) -> bool:
        self._refuse_closed()
        if not isinstance(order, Order):
            raise FieldTypeError("order", order, "an Order")
        return order.order_id in self._orders and self.save(order)

    def get(self, order_id: int) -> Order | None:
        self._refuse_closed()
        return self._orders.get(order_id_of(order_id))

    def remove(self, order_id: int) -> bool:
        self._refuse_closed()
        return self._orders.pop(order_id_of(order_id), None) is not None

    def get_all(self) -> list[Order]:
        self._refuse_closed()
        return [order for _, order in sorted(self._orders.items())]

    def get_by_user(self, user: str) -> list[Order]:
        self._refuse_closed()
        name = user_of(user, NOBODY)
        return [order for order in self.get_all() if order.user == name]

    def get_by_side(self, side: Side | int | str, symbol: str | None = None) -> list[Order]:
        self._refuse_closed()
        wanted = side_of(side)
        if not isinstance(symbol, str | None):
            raise FieldTypeError("symbol", symbol, "an int")
        sign = -1 if wanted == Side.BUY else 1
        found = [o for o in self.get_all() if o.is_open and o.side == wanted and symbol in {None, o.symbol}]
        return sorted(found, key=lambda o: (self._symbols[o.symbol], sign * o.price_ticks, o.entered, o.created_ns))

    def close(self) -> None:
        self._closed = True

    def _refuse_closed(self) -> None:
        if self._closed:
            raise StoreClosed("dict: the store was closed")


class DictTradeStore(TradeStore):
    """Trades in a dict."""

    def __init__(self) -> None:
        self._trades: dict[int, Trade] = {}
        self._closed = False

    def save(self, trade: Trade) -> bool:
        self._refuse_closed()
        if not isinstance(trade, Trade):
            raise FieldTypeError("trade", trade, "a Trade")
        new = trade.trade_id not in self._trades
        self._trades.setdefault(trade.trade_id, trade)
        return new

    def get_recent(self, limit: int = 100) -> list[Trade]:
        self._refuse_closed()
        return [trade for _, trade in sorted(self._trades.items(), reverse=True)][: limit_of(limit)]

    def close(self) -> None:
        self._closed = True

    def _refuse_closed(self) -> None:
        if self._closed:
            raise StoreClosed("dict: the store was closed")
