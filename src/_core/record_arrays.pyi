from collections.abc import Iterable

from pyengine._core.names import Names
from pyengine._core.order import Order
from pyengine._core.trade import Trade

from pyengine.records import Records

def order_array(orders: Records | Iterable[Order], names: Names, *, lent: bool = False, named: bool = False) -> Records: ...
def trade_array(trades: Records | Iterable[Trade], names: Names, *, lent: bool = False, named: bool = False) -> Records: ...
