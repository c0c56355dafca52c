"""Running a command with a client order id once, however often it comes."""

from libc.stdint cimport uint8_t, uint64_t
from pyengine._core.records cimport Command
from pyengine._core.state cimport State


cdef int once_execute(State* s, const Command* c, uint64_t client_id, uint8_t implied) noexcept nogil
