from pyengine._core.names import Names

from pyengine.records import Records

TRADE_COLUMNS: tuple[str, ...]
ORDER_COLUMNS: tuple[str, ...]

def trade_rows(trades: Records, names: Names) -> bytes: ...
def order_rows(orders: Records, names: Names) -> bytes: ...
