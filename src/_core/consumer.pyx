"""Consumers of the event ring, as Python sees them: whole batches as read-only arrays. See ring.pxd for the protocol."""

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport UINT64_MAX, int64_t, uint64_t
from pyengine._core.arguments cimport unsigned_field
from pyengine._core.batch cimport buffer_of, take_warm
from pyengine._core.port cimport pye_now_ns, pye_sleep_ns
from pyengine._core.records cimport Event
from pyengine._core.ring cimport ring_attach, ring_copy, ring_detach, ring_read, ring_release

import numpy as np

from pyengine.errors import EngineClosed, FieldError, FieldTypeError
from pyengine.records import EVENT_DTYPE

cdef enum:
    KEPT_GAPS = 1000
    SHORTEST_NAP_NS = 2000
    LONGEST_NAP_NS = 200000
    CHECK_SIGNALS_NS = 50000000

cdef object nothing = np.empty(0, EVENT_DTYPE)
nothing.flags.writeable = False


@cython.no_gc_clear                # its place must be given back, even when the collector takes it apart
cdef class Batch:
    """Part of the ring, exported read-only. While an array refers to it, a required consumer's events stay in place."""

    def __dealloc__(self):
        if self.consumer is not None:
            self.consumer.held.remove(self.start)
            self.consumer.settle()

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(view, self, <void*>self.events, self.count * sizeof(Event), 1, flags)


cdef class Consumer:
    """
    A reader of the engine's events, with a place of its own in the ring. Made by `Engine.attach`.

    A required consumer never misses an event: the engine waits for it, and refuses commands when it waits in vain. It reads
    without copying; an array that it got is valid as long as it is referred to, and holds its events in the ring. An optional
    consumer never holds anybody up; it gets copies, and the numbers of what was overwritten before it came.

    Parameters
    ----------
    engine : EngineCore
    required : bool
    name : str

    Notes
    -----
    Thread-safety: one thread reads; it may be another one than the engine's. All methods hold the GIL but to sleep.
    """

    def __cinit__(self, EngineCore engine not None, bint required=True, str name=""):
        self.cursor = -1
        self.closed = True
        self.held = []
        self.gaps = []
        self.name = name
        self.required = required
        engine.enter()
        self.at = engine.state.out.seq
        self.cursor = ring_attach(engine.state.ring, required, self.at)
        if self.cursor < 0:
            raise FieldError("consumers", 65, "at most 64 at a time")
        # The producer must look at the new cursor before it writes on.
        engine.state.out.limit = engine.state.out.seq
        self.engine = engine
        self.closed = False

    def __dealloc__(self):
        if self.cursor >= 0 and self.engine is not None:
            ring_detach(self.engine.state.ring, self.cursor)

    cdef int settle(self) except -1:
        """Let the producer have what no array refers to any more."""
        if self.cursor >= 0:
            ring_release(self.engine.state.ring, self.cursor, self.held[0] if self.held else self.at)
            if self.closed and not self.held:
                ring_detach(self.engine.state.ring, self.cursor)
                self.cursor = -1
        return 0

    def close(self):
        """Give the place in the ring back; for a required consumer, once its last array is gone."""
        if not self.closed:
            self.closed = True
            self.settle()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    @property
    def position(self):
        """Sequence number of the next event to read."""
        return self.at

    @property
    def lag(self):
        """Number of events that are published and not read yet."""
        return self.engine.state.ring.head - self.at

    @property
    def missed_count(self):
        """Number of events that were overwritten before they were read; always 0 for a required consumer."""
        return self.missed_total

    @property
    def missed(self):
        """Ranges (first, last) of sequence numbers that were missed; of more than 1,000 the newest."""
        return tuple([tuple(gap) for gap in self.gaps])

    def read(self, max_events=None, timeout_s=0):
        """
        Read the next events.

        Parameters
        ----------
        max_events : int, optional
            At most so many. There may be fewer: a batch ends at the end of the ring.
        timeout_s : float
            How long to wait for the first one; 0 doesn't wait.

        Returns
        -------
        read-only array of EVENT_DTYPE; empty when the time is over. O(1) for a required consumer, else O(events).

        Raises
        ------
        EngineClosed
            The consumer is closed.
        """
        cdef uint64_t limit = UINT64_MAX if max_events is None else unsigned_field("max_events", max_events)
        if isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)):
            raise FieldTypeError("timeout_s", timeout_s, "a number of seconds")
        if not 0 <= timeout_s <= 1e6:
            raise FieldError("timeout_s", timeout_s, "from 0 to 1e6 seconds")
        if self.closed:
            raise EngineClosed("the consumer is closed")
        if limit == 0:
            return nothing
        return self.wait(limit, pye_now_ns() + <int64_t>(timeout_s * 1e9))

    def __iter__(self):
        return self

    def __next__(self):
        """Wait for the next batch; the iteration ends when the engine is closed and everything is read."""
        if self.closed:
            raise StopIteration
        while True:
            events = self.wait(UINT64_MAX, pye_now_ns() + CHECK_SIGNALS_NS)
            if len(events):
                return events
            if self.engine.closed:
                raise StopIteration

    cdef object wait(self, uint64_t limit, int64_t deadline):
        cdef int64_t nap = SHORTEST_NAP_NS, checked = 0, now
        while True:
            events = self.take(limit)
            now = pye_now_ns()
            if events is not None:
                return events
            if now >= deadline or self.closed:
                return nothing
            if now - checked > CHECK_SIGNALS_NS:
                PyErr_CheckSignals()
                checked = now
            with nogil:
                pye_sleep_ns(min(nap, deadline - now))
            nap = min(nap * 2, <int64_t>LONGEST_NAP_NS)

    cdef object take(self, uint64_t limit):
        """The next events as an array, or None if there are none."""
        if self.engine.state.ring.head == self.at:
            return None
        return self.view_ring(limit) if self.required else self.copy_ring(limit)

    cdef object view_ring(self, uint64_t limit):
        cdef Event* first = NULL
        cdef uint64_t n = ring_read(self.engine.state.ring, self.cursor, self.at, &first, limit)
        cdef Batch batch
        if n == 0:
            return None
        batch = Batch.__new__(Batch)
        batch.events = first
        batch.start = self.at
        batch.count = n
        self.held.append(self.at)
        batch.consumer = self
        self.at += n
        return np.frombuffer(batch, EVENT_DTYPE)

    cdef object copy_ring(self, uint64_t limit):
        cdef uint64_t n, capacity, missed = 0, before = self.at
        cdef Event* events = take_warm(min(limit, self.engine.state.ring.capacity), &capacity)
        if events == NULL:
            raise MemoryError
        n = ring_copy(self.engine.state.ring, &self.at, events, min(limit, capacity), &missed)
        buffer = buffer_of(events, capacity, n)
        if missed:
            self.note_gap(before, before + missed - 1)
        self.settle()
        return np.frombuffer(buffer, EVENT_DTYPE) if n else None

    cdef int note_gap(self, uint64_t first, uint64_t last) except -1:
        self.missed_total += last - first + 1
        if self.gaps and self.gaps[-1][1] + 1 == first:
            self.gaps[-1][1] = last
        else:
            self.gaps.append([first, last])
            if len(self.gaps) > KEPT_GAPS:
                del self.gaps[0]
        return 0
