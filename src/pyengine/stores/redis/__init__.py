"""Orders and recent trades in Redis or Valkey, as a cache that several nodes share."""

from pyengine.stores.redis.anchor import RedisAnchor
from pyengine.stores.redis.connection import RedisConnection
from pyengine.stores.redis.orders import RedisOrderStore
from pyengine.stores.redis.trades import RedisTradeStore

__all__ = ["RedisAnchor", "RedisConnection", "RedisOrderStore", "RedisTradeStore"]
