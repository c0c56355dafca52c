"""Bringing an engine's state up to date from its own events, without matching again.

What an event says has happened is done, whatever the rules are by now. An order that was accepted is on its way until the
next event that isn't about it: only then is it known whether and with how much it rests.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from pyengine._core.records cimport Event
from pyengine._core.state cimport State

cdef enum:
    RECOVERY_OK = 0
    RECOVERY_GAP = 1               # the sequence number isn't the next one
    RECOVERY_UNKNOWN = 2           # an order, a book or a user that isn't there
    RECOVERY_WRONG = 3             # sizes, prices or kinds that contradict the state
    RECOVERY_NO_MEMORY = 4
    RECOVERY_REQUEST = 5           # not what the command with a client order id leads to


ctypedef struct OnItsWay:          # the order of the last ACCEPTED or REPLACED that left its place
    uint64_t id
    int64_t qty_lots               # 0: there is none
    int64_t price_ticks
    uint32_t instrument
    uint32_t user
    uint32_t index                 # of the order in the slab, if it was there before; else 0
    uint32_t side                  # 0 bids, 1 asks
    bint rests                     # a limit order, good till cancelled


cdef int recovery_apply(State* s, OnItsWay* w, const Event* events, uint64_t n, uint64_t* done) noexcept nogil
cdef int recovery_settle(State* s, OnItsWay* w) noexcept nogil
