"""What stores hold, as dicts and sorted lists: slow, obvious, and right by reading."""

from __future__ import annotations

from dataclasses import dataclass, field

from pyengine.records import Side
from pyengine.stores import Order, Trade


@dataclass
class Orders:
    """Orders by id, and symbols in the order in which they came."""

    held: dict[int, Order] = field(default_factory=dict)
    symbols: dict[str | None, int] = field(default_factory=dict)

    def save(self, order: Order) -> bool:
        """Add or replace, unless the version there is higher."""
        old = self.held.get(order.order_id)
        if old is not None and old.version > order.version:
            return False
        self.symbols.setdefault(order.symbol, len(self.symbols))
        self.held[order.order_id] = order
        return True

    def update(self, order: Order) -> bool:
        """Replace what is there."""
        return order.order_id in self.held and self.save(order)

    def remove(self, order_id: int) -> bool:
        """Forget one."""
        return self.held.pop(order_id, None) is not None

    def all(self) -> list[Order]:
        """List everything by id."""
        return [order for _, order in sorted(self.held.items())]

    def by_user(self, user: str) -> list[Order]:
        """List a user's by id."""
        return [order for order in self.all() if order.user == user]

    def by_side(self, side: Side, symbol: str | None) -> list[Order]:
        """List the open ones in price-time order."""
        sign = -1 if side == Side.BUY else 1
        found = [o for o in self.all() if o.is_open and o.side == side and symbol in {None, o.symbol}]
        found.sort(key=lambda o: (sign * o.price_ticks, o.entered, o.created_ns, o.order_id))
        return sorted(found, key=lambda o: self.symbols[o.symbol])


@dataclass
class Trades:
    """Trades by id."""

    held: dict[int, Trade] = field(default_factory=dict)

    def save(self, trade: Trade) -> bool:
        """Keep the first of an id."""
        return self.held.setdefault(trade.trade_id, trade) is trade

    def recent(self, limit: int) -> list[Trade]:
        """List the newest, newest first."""
        return [trade for _, trade in sorted(self.held.items(), reverse=True)][:limit]
