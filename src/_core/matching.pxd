"""Price-time matching. Each function takes one command and returns its status (see `Status` and `Reason` in records).

`matching_execute` changes nothing and emits nothing when it returns a rejection; `matching_apply` also emits the REJECTED
event. `State.last` tells the rest of the outcome. All run without the GIL and never raise.
"""

from pyengine._core.records cimport Command
from pyengine._core.state cimport State


cdef int matching_execute(State* s, const Command* c) noexcept nogil
cdef int matching_apply(State* s, const Command* c) noexcept nogil
cdef int matching_reject(State* s, const Command* c, int reason) noexcept nogil
