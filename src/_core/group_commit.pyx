"""Group commit in the caller's own thread. See group_commit.pxd."""

from cpython.exc cimport PyErr_CheckSignals
from cpython.pythread cimport PyThread_get_thread_ident
from libc.stdint cimport int64_t, uint32_t, uint64_t
from pyengine._core.consumer cimport Consumer
from pyengine._core.port cimport pye_load_acquire, pye_now_ns
from pyengine._core.records cimport Event
from pyengine._core.ring cimport Ring, ring_release

cdef enum:
    DONE = 0
    OTHERWISE = 1                  # the journal's thread has to do it
    AGAIN = 2                      # signals have to be looked at
    CHECK_SIGNALS_NS = 50000000


cdef class GroupCommit:
    """
    Who waits for events to be on the disk, and the commits that those who wait make themselves.

    Parameters
    ----------
    consumer : Consumer
        A required one.
    durable : int
        Last event that is on the disk already.

    Notes
    -----
    Thread-safety: any thread. `wait` gives the GIL away before it looks for anybody to wait for, so whoever leads never needs it.
    """

    def __cinit__(self, Consumer consumer not None, uint64_t durable):
        pye_crc_begin()
        pye_gate_begin(&self.gate)
        self.consumer = consumer
        self.durable = durable

    def __dealloc__(self):
        pye_gate_end(&self.gate)

    # --- callers ------------------------------------------------------------------------------------------------------

    def wait(self, uint64_t seq):
        """
        Wait until an event is on the disk, and write it and all others if nobody else does.

        Returns
        -------
        bool
            False: it isn't, and only the journal's thread can see to it, or say why not.
        """
        cdef int code
        while self.durable < seq:
            with nogil:
                code = self.follow(seq)
            # Only now, with the GIL: the next one comes when this one gives it back.
            pye_gate_lock(&self.gate)
            self.gate.going -= 1
            pye_gate_pass_on(&self.gate)
            pye_gate_unlock(&self.gate)
            if code == OTHERWISE:
                return False
            if code == AGAIN:
                PyErr_CheckSignals()
        return True

    cdef int follow(self, uint64_t wanted) noexcept nogil:
        cdef pye_gate* g = &self.gate
        cdef uint64_t head, turn
        cdef int code
        pye_gate_lock(g)
        while True:
            if self.durable >= wanted:
                code = DONE
                break
            if not self.open_to_callers:
                code = OTHERWISE
                break
            if g.leading == 0 and g.claimed == 0:
                head = pye_load_acquire(&self.consumer.engine.state.ring.head)
                if not self.is_ready(head):
                    # Nobody else can lead either, and who waits has to hear of it.
                    pye_gate_wake_all(g, 0)
                    pye_gate_wake_all(g, 1)
                    code = OTHERWISE
                    break
                g.turn += 1
                g.covering = head
                g.leading = 1
                pye_gate_unlock(g)
                code = self.lead(head)
                pye_gate_lock(g)
                if code == 0:
                    self.durable = head - 1
                else:
                    self.error = code
                    self.open_to_callers = False
                self.let_go()
                continue
            # Of this commit are all whose events were there when it began; the others are let go by the next one.
            turn = g.turn if wanted < g.covering else g.turn + 1
            code = pye_gate_await(g, turn, CHECK_SIGNALS_NS)
            pye_gate_lock(g)
            pye_gate_left(g, turn)
            if self.durable < wanted and not code and g.leading != 0:
                code = AGAIN
                break
        g.going += 1
        pye_gate_unlock(g)
        return code

    cdef void let_go(self) noexcept nogil:
        """Lead no more: those go on for whom it was, and one of the others leads next."""
        cdef pye_gate* g = &self.gate
        pye_gate_done(g)
        # First whoever leads next: the disk is what takes longest.
        if g.claimed != 0:
            pye_gate_wake_claimer(g)
        if self.open_to_callers:
            pye_gate_wake_one(g, g.turn + 1)
        else:
            pye_gate_wake_all(g, g.turn + 1)
        pye_gate_pass_on(g)

    cdef bint is_ready(self, uint64_t head) noexcept nogil:
        """Whether a caller can write what is there: it needs no new names, and no new segment."""
        cdef uint64_t count = head - self.seq
        return (
            self.error == 0 and count != 0 and not self.consumer.closed
            and self.consumer.engine.state.book_count == self.instruments
            and self.consumer.engine.state.user_count == self.users + 1
            and self.consumer.engine.mode_changes == self.mode_changes
            and count <= <uint64_t>(self.limit - self.at) // sizeof(Event)
            and self.at + 2 * PYE_FRAME_BYTES + <int64_t>(count * sizeof(Event)) <= self.limit
        )

    cdef int lead(self, uint64_t head) noexcept nogil:
        """Write and sync what was published below `head`; the error, or 0. O(events)."""
        cdef Ring* ring = self.consumer.engine.state.ring
        cdef uint64_t count = head - self.seq, begin = self.seq & ring.mask
        cdef uint64_t first = min(count, ring.capacity - begin)
        cdef size_t n = first * sizeof(Event), m = (count - first) * sizeof(Event)
        cdef unsigned char frame[PYE_FRAME_BYTES]
        cdef uint32_t crc = pye_frame_head(frame, &ring.events[begin], n, ring.events, m, count, self.seq, self.number + 1,
                                           self.crc)
        cdef int64_t begun
        cdef int code = pye_write_parts(self.fd, self.at, frame, PYE_FRAME_BYTES, &ring.events[begin], n, ring.events, m)
        if code != 0:
            return code
        # The engine may have this part of its ring back before the disk has it: after a failure nothing is read any more.
        self.consumer.at = head
        ring_release(ring, self.consumer.cursor, head)
        begun = pye_now_ns()
        code = pye_sync(self.fd)
        if code != 0:
            return code
        self.longest_sync_ns = max(self.longest_sync_ns, pye_now_ns() - begun)
        self.at = self.at + PYE_FRAME_BYTES + <int64_t>(n + m)
        self.seq = head
        self.crc = crc
        self.number = self.number + 1
        self.led = self.led + 1
        self.led_events = self.led_events + count
        return 0

    # --- the journal's thread -----------------------------------------------------------------------------------------

    def begin_lead(self):
        """
        Lead from now on, as soon as nobody else does. Twice is once.

        Returns
        -------
        (at, seq, crc, commit)
            The place in the file, the next event, and checksum and number of the last commit.
        """
        cdef pye_gate* g = &self.gate
        cdef unsigned long thread = <unsigned long>PyThread_get_thread_ident()
        with nogil:
            pye_gate_lock(g)
            g.claimed += 1
            while g.leading != 0 and self.leader != thread:
                pye_gate_await_idle(g)
            g.claimed -= 1
            g.turn += 1
            g.covering = pye_load_acquire(&self.consumer.engine.state.ring.head)
            g.leading = 1
            self.leader = thread
            pye_gate_unlock(g)
        return self.at, self.seq, self.crc, self.number

    def end_lead(self, uint64_t durable, tuple place=None, tuple marks=None):
        """
        Lead no more. Whoever doesn't lead only says what is known: so whatever interrupts `begin_lead` may be followed by this.

        Parameters
        ----------
        durable : int
            Last event that is on the disk.
        place : (fd, at, limit, seq, crc, commit), optional
            Where the next commit goes, and the end of what callers may write. None: nothing may be written any more.
        marks : (instruments, users, mode_changes), optional
            How many of each were defined. None: callers may not lead.
        """
        cdef unsigned long thread = <unsigned long>PyThread_get_thread_ident()
        cdef bint allowed = place is not None and marks is not None
        if place is not None:
            self.fd, self.at, self.limit, self.seq, self.crc, self.number = place
        if allowed:
            self.instruments, self.users, self.mode_changes = marks
        with nogil:
            pye_gate_lock(&self.gate)
            if durable > self.durable:
                self.durable = durable
            self.open_to_callers = allowed and self.error == 0
            self.end_lead_of(thread)
            pye_gate_unlock(&self.gate)

    def resume(self):
        """Lead no more; all is as it was at `begin_lead`."""
        cdef unsigned long thread = <unsigned long>PyThread_get_thread_ident()
        with nogil:
            pye_gate_lock(&self.gate)
            self.end_lead_of(thread)
            pye_gate_unlock(&self.gate)

    cdef void end_lead_of(self, unsigned long thread) noexcept nogil:
        if self.leader == thread:
            self.leader = 0
            self.let_go()

    def start_anew(self):
        """Forget, in a forked child, who waited and who led: they are threads of the parent. Callers may lead no more."""
        pye_gate_begin(&self.gate)
        self.open_to_callers = False
        self.leader = 0
