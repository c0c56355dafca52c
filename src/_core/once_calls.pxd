"""Single calls with a client order id. Engines and books come here only when they are given one, so that others don't pay."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from pyengine._core.engine cimport EngineCore
from pyengine._core.records cimport Command
from pyengine._core.result cimport Result


cdef Result once_call(EngineCore engine, const Command* c, object client_order_id, uint8_t implied, object instrument)
cdef Result once_amend(EngineCore engine, Command* c, uint8_t implied, object client_order_id)
cdef object once_instrument(EngineCore engine, uint64_t order_id, uint32_t user, object client_order_id, int64_t ts_ns)
