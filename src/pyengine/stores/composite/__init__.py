"""Several stores as one: memory within the call, the others each at their own pace."""

from pyengine.stores.composite.layer import LayerOptions
from pyengine.stores.composite.orders import CompositeOrderStore
from pyengine.stores.composite.receipt import Answer, Receipt
from pyengine.stores.composite.trades import CompositeTradeStore

__all__ = ["Answer", "CompositeOrderStore", "CompositeTradeStore", "LayerOptions", "Receipt"]
