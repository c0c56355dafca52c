"""The engine as Python sees it: shells that convert, lock, call the kernels and map the status."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from pyengine._core.names cimport Names
from pyengine._core.order_store cimport InMemoryOrderStore
from pyengine._core.records cimport Command
from pyengine._core.result cimport Result
from pyengine._core.state cimport State
from pyengine._core.trade_store cimport InMemoryTradeStore


cdef class EngineCore:
    cdef State* state              # owned
    cdef void* lock                # held while a call runs without the GIL
    cdef unsigned long owner       # thread that holds it
    cdef readonly bint closed
    cdef bint busy
    cdef list all_books            # Book by index
    cdef readonly Names names      # lent to the stores
    cdef InMemoryOrderStore order_memory  # written within each call, or None
    cdef InMemoryTradeStore trade_memory
    cdef readonly object order_store      # as given: `order_memory` itself, or a store that may have it as its first layer
    cdef readonly object trade_store
    cdef object acknowledge        # called with the last sequence number before a call returns, or None
    cdef object refusal            # raised by every later command, or None
    cdef uint64_t mode_changes     # how often a user's self-trade mode was set
    cdef object __weakref__

    cdef int enter(self) except -1
    cdef int limit_requests(self, object client_ids, object client_id_age_ns) except -1
    cdef int acknowledged(self) except -1
    cdef int attach_stores(self, object order_store, object trade_store) except -1
    cdef int stores_ready(self, uint64_t orders) except -1
    cdef int begin_unlocked(self) except -1
    cdef void end_unlocked(self)
    cdef Result call(self, const Command* c, object instrument)
    cdef Result call_linear(self, const Command* c, object instrument, uint64_t client_id)
    cdef Result result(self, const Command* c, int status, object instrument)
    cdef int keep_wrapped(self, Result r, uint64_t start, uint64_t count) except -1
    cdef bint find_command(self, Command* c, uint8_t action, object order_id, object user, object ts_ns) except -1
    cdef Result refuse(self, const Command* c, int reason, object instrument)
    cdef Result finish(self, const Command* c, int status, object instrument)
    cdef uint32_t user_number(self, object user) except? 0xFFFFFFFF
