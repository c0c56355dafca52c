"""Group commit in the caller's own thread: whoever waits for the disk while nobody writes, writes for all who wait.

    a caller       publishes its events, then waits ──► nobody leads: leads ──► writes all that is published, syncs ─┐
    other callers  publish theirs, then wait for this commit, or for the next ◄── those of this one go on, one leads ┘

The journal's thread leads like everybody else, but for whole steps in Python: it has what only it can do, such as names and new
segments. While it leads it has the place in the file, and gives it back at its end.

Invariants: only who leads touches consumer, file and place. `durable` rises only. After an error nobody leads any more.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from pyengine._core.consumer cimport Consumer


cdef extern from "pyengine_commit.h" nogil:
    ctypedef struct pye_gate:
        uint64_t turn
        uint64_t covering
        uint32_t leading
        uint32_t claimed
        uint32_t going

    enum: PYE_FRAME_BYTES
    void pye_crc_begin() noexcept
    uint32_t pye_frame_head(unsigned char* head, const void* first, size_t n, const void* second, size_t m, uint64_t count,
                            uint64_t seq, uint64_t commit, uint32_t previous) noexcept
    int pye_write_parts(int fd, int64_t at, const void* a, size_t na, const void* b, size_t nb, const void* c,
                        size_t nc) noexcept
    int pye_sync(int fd) noexcept
    void pye_gate_begin(pye_gate* g) noexcept
    void pye_gate_end(pye_gate* g) noexcept
    void pye_gate_lock(pye_gate* g) noexcept
    void pye_gate_unlock(pye_gate* g) noexcept
    void pye_gate_await_idle(pye_gate* g) noexcept
    bint pye_gate_await(pye_gate* g, uint64_t turn, int64_t ns) noexcept
    void pye_gate_left(pye_gate* g, uint64_t turn) noexcept
    void pye_gate_done(pye_gate* g) noexcept
    void pye_gate_pass_on(pye_gate* g) noexcept
    void pye_gate_wake_all(pye_gate* g, uint64_t turn) noexcept
    void pye_gate_wake_one(pye_gate* g, uint64_t turn) noexcept
    void pye_gate_wake_claimer(pye_gate* g) noexcept


cdef class GroupCommit:
    cdef Consumer consumer                 # owned reference: keeps engine and ring alive
    cdef pye_gate gate                     # owned
    cdef bint open_to_callers              # callers may lead
    cdef unsigned long leader              # thread between `begin_lead` and its end, or 0
    cdef int fd                            # borrowed from the writer of segments
    cdef int64_t at                        # where the next frame goes
    cdef int64_t limit                     # what callers write ends before it
    cdef uint64_t seq                      # of the next event in the file
    cdef uint64_t number                   # of the last commit
    cdef uint32_t crc                      # of its last frame
    cdef uint64_t instruments              # how many were defined,
    cdef uint64_t users                    # likewise; and how often modes were set by then
    cdef uint64_t mode_changes
    cdef readonly uint64_t durable         # last event that is on the disk
    cdef readonly uint64_t led             # commits that callers made
    cdef readonly uint64_t led_events      # events in them
    cdef readonly int64_t longest_sync_ns  # of these commits
    cdef readonly int error                # errno of the write or sync that ended it; 0 for none

    cdef bint is_ready(self, uint64_t head) noexcept nogil
    cdef int lead(self, uint64_t head) noexcept nogil
    cdef int follow(self, uint64_t wanted) noexcept nogil
    cdef void let_go(self) noexcept nogil
    cdef void end_lead_of(self, unsigned long thread) noexcept nogil
