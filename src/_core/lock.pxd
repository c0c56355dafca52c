"""A lock of four bytes, 0 when free; each word is one inline function of include/pyengine_lock.h.

Who holds it must not wait for the GIL nor make Python objects (their allocation can run any code), so a thread with the
GIL may wait for a holder without it. Python methods try the lock first and release the GIL before they wait.
"""

from libc.stdint cimport uint32_t


cdef extern from "pyengine_lock.h" nogil:
    bint pye_try_lock(uint32_t* lock) noexcept
    void pye_lock(uint32_t* lock) noexcept
    void pye_unlock(uint32_t* lock) noexcept
