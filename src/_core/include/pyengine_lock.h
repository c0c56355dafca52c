/* A lock of four bytes for sections of nanoseconds to milliseconds that never need the GIL. */
#ifndef PYENGINE_LOCK_H
#define PYENGINE_LOCK_H

#include "pyengine_port.h"
#include <sched.h>

/* An uncontended lock and unlock is one exchange and one store. */
static inline int pye_try_lock(uint32_t *lock) {
    return __atomic_load_n(lock, __ATOMIC_RELAXED) == 0 && __atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE) == 0;
}

static inline void pye_unlock(uint32_t *lock) { __atomic_store_n(lock, 0, __ATOMIC_RELEASE); }

/* Spins while the holder is likely to be running, then gives the processor away, then sleeps: a holder that was
 * preempted, or copies a million records, costs its waiters no more than a wake-up each 50 microseconds. */
static inline void pye_lock(uint32_t *lock) {
    for (int tries = 0; !pye_try_lock(lock); tries++) {
        if (tries < 64) pye_pause();
        else if (tries < 128) sched_yield();
        else pye_sleep_ns(50000);
    }
}

#endif
