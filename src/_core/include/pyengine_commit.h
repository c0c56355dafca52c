/* Group commit: who waits for the disk, who writes for all of them, and the frame that is written. None of it needs the GIL. */
#ifndef PYENGINE_COMMIT_H
#define PYENGINE_COMMIT_H

#include "pyengine_port.h"
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>
#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#endif
#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

/* --- CRC-32C ------------------------------------------------------------------------------------------------------- */

static uint32_t pye_crc_table[256];

/* Fill the table; to be called before any other. Twice is once. */
static inline void pye_crc_begin(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++) c = c & 1 ? c >> 1 ^ 0x82F63B78u : c >> 1;
        pye_crc_table[i] = c;
    }
}

static inline uint32_t pye_crc_slow(uint32_t c, const uint8_t *p, size_t n) {
    while (n--) c = pye_crc_table[(c ^ *p++) & 255] ^ c >> 8;
    return c;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t pye_crc_fast(uint32_t c, const uint8_t *p, size_t n) {
    uint64_t wide = c, word;
    for (; n >= 8; n -= 8, p += 8) {
        memcpy(&word, p, 8);
        wide = _mm_crc32_u64(wide, word);
    }
    c = (uint32_t)wide;
    while (n--) c = _mm_crc32_u8(c, *p++);
    return c;
}
#endif

/* CRC-32C of bytes, going on from that of what lies before. */
static inline uint32_t pye_crc32c(uint32_t before, const void *data, size_t n) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) return ~pye_crc_fast(~before, (const uint8_t *)data, n);
#endif
    return ~pye_crc_slow(~before, (const uint8_t *)data, n);
}

/* --- the frame ----------------------------------------------------------------------------------------------------- */

#define PYE_FRAME_BYTES 40

static inline void pye_put_little(uint8_t *out, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) out[i] = (uint8_t)(value >> 8 * i);
}

/* Make the head of a commit's only frame, of events in two parts: see journal/format.py. Returns its CRC. */
static inline uint32_t pye_frame_head(uint8_t *head, const void *first, size_t n, const void *second, size_t m,
                                      uint64_t count, uint64_t seq, uint64_t commit, uint32_t previous) {
    memcpy(head, "FRAM\1\1\0\0", 8);
    pye_put_little(head + 8, n + m, 4);
    pye_put_little(head + 12, count, 4);
    pye_put_little(head + 16, seq, 8);
    pye_put_little(head + 24, commit, 8);
    pye_put_little(head + 32, previous, 4);
    uint32_t crc = pye_crc32c(0, head, 36);
    crc = pye_crc32c(crc, first, n);
    crc = pye_crc32c(crc, second, m);
    pye_put_little(head + 36, crc, 4);
    return crc;
}

/* Write three parts one behind the other at an offset; 0, or the error. A write that did only some of it goes on. */
static inline int pye_write_parts(int fd, int64_t at, const void *a, size_t na, const void *b, size_t nb, const void *c, size_t nc) {
    struct iovec parts[3] = {{(void *)a, na}, {(void *)b, nb}, {(void *)c, nc}};
    int first = 0;
    while (first < 3) {
        if (parts[first].iov_len == 0) {
            first++;
            continue;
        }
        ssize_t written = pwritev(fd, parts + first, 3 - first, (off_t)at);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return written < 0 ? errno : EIO;
        at += written;
        while (first < 3 && (size_t)written >= parts[first].iov_len) written -= parts[first++].iov_len;
        if (first < 3) {
            parts[first].iov_base = (char *)parts[first].iov_base + written;
            parts[first].iov_len -= written;
        }
    }
    return 0;
}

/* Make it durable; 0, or the error. Not tried twice: after a failure nobody knows what the disk has. */
static inline int pye_sync(int fd) {
#if defined(__linux__)
    return fdatasync(fd) == 0 ? 0 : errno;
#else
    return fsync(fd) == 0 ? 0 : errno;
#endif
}

/* --- who leads, and who waits -------------------------------------------------------------------------------------- */

#if defined(__linux__)
/* Who is woken by a futex comes back without the gate's lock, so that thirty at once don't queue for it. Ringing returns how many
 * were asleep and are woken. */
typedef uint32_t pye_bell;
static inline void pye_bell_begin(pye_bell *b) { *b = 0; }
static inline void pye_bell_end(pye_bell *b) { (void)b; }
static inline int pye_bell_ring(pye_bell *b, int how_many) {
    __atomic_add_fetch(b, 1, __ATOMIC_RELEASE);
    return (int)syscall(SYS_futex, b, FUTEX_WAKE_PRIVATE, how_many, NULL, NULL, 0);
}
/* With the lock before, without it afterwards. 0: the time is over, or a signal came. */
static inline int pye_bell_await(pye_bell *b, pthread_mutex_t *lock, int64_t ns) {
    uint32_t before = __atomic_load_n(b, __ATOMIC_RELAXED);
    struct timespec time = {ns / 1000000000, ns % 1000000000};
    pthread_mutex_unlock(lock);
    return syscall(SYS_futex, b, FUTEX_WAIT_PRIVATE, before, &time, NULL, 0) == 0 || errno == EAGAIN;
}
#else
typedef pthread_cond_t pye_bell;
static inline void pye_bell_begin(pye_bell *b) { pthread_cond_init(b, NULL); }
static inline void pye_bell_end(pye_bell *b) { pthread_cond_destroy(b); }
static inline int pye_bell_ring(pye_bell *b, int how_many) {
    if (how_many == 1) pthread_cond_signal(b);
    else pthread_cond_broadcast(b);
    return 1;
}
static inline int pye_bell_await(pye_bell *b, pthread_mutex_t *lock, int64_t ns) {
    struct timespec until;
    int in_time;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += ns;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    in_time = pthread_cond_timedwait(b, lock, &until) == 0;
    pthread_mutex_unlock(lock);
    return in_time;
}
#endif

typedef struct {
    pthread_mutex_t lock;    /* of all that follows; held for moments */
    pye_bell done[2];        /* those whom commit number `turn` lets go, and those who wait for the next, by its lowest bit */
    pthread_cond_t idle;     /* whoever claims the lead */
    uint64_t turn;           /* number of the commit that was begun last */
    uint64_t covering;       /* sequence number below which it makes durable what has happened */
    uint32_t leading;        /* somebody writes */
    uint32_t claimed;        /* somebody wants to be next, before all others */
    uint32_t waiting[2];     /* how many sleep for each bell */
    uint32_t owed[2];        /* likewise, with the commit done that they wait for */
    uint32_t rung;           /* how many of these were woken and have yet to come */
    uint32_t going;          /* how many have come and have yet to get the interpreter's lock */
} pye_gate;

static inline void pye_gate_begin(pye_gate *g) {
    memset(g, 0, sizeof *g);
    pthread_mutex_init(&g->lock, NULL);
    pye_bell_begin(&g->done[0]);
    pye_bell_begin(&g->done[1]);
    pthread_cond_init(&g->idle, NULL);
}

static inline void pye_gate_end(pye_gate *g) {
    pye_bell_end(&g->done[0]);
    pye_bell_end(&g->done[1]);
    pthread_cond_destroy(&g->idle);
    pthread_mutex_destroy(&g->lock);
}

static inline void pye_gate_lock(pye_gate *g) { pthread_mutex_lock(&g->lock); }
static inline void pye_gate_unlock(pye_gate *g) { pthread_mutex_unlock(&g->lock); }
static inline void pye_gate_await_idle(pye_gate *g) { pthread_cond_wait(&g->idle, &g->lock); }

/* Wait for the commit that is under way, or for the next, with the lock before and without it afterwards. 0: the time is over, or
 * a signal came. */
static inline int pye_gate_await(pye_gate *g, uint64_t turn, int64_t ns) {
    g->waiting[turn & 1]++;
    return pye_bell_await(&g->done[turn & 1], &g->lock, ns);
}

/* Behind each wait, with the lock. */
static inline void pye_gate_left(pye_gate *g, uint64_t turn) {
    int is_done = turn < g->turn || (turn == g->turn && !g->leading);
    if (is_done) g->owed[turn & 1]--;
    else g->waiting[turn & 1]--;
    /* Perhaps another was meant; then one more than necessary is woken, never one too few. */
    if (g->rung) g->rung--;
}

/* The commit that was begun last is over, with the lock. */
static inline void pye_gate_done(pye_gate *g) {
    int bell = g->turn & 1;
    g->leading = 0;
    g->owed[bell] += g->waiting[bell];
    g->waiting[bell] = 0;
}

/* Let go of those whose commit is done, with the lock; also by each of them that has got the interpreter's lock. All need that
 * one: were all woken at once, most would sleep a second time, for it. So one has it, and one more is on the way. */
static inline void pye_gate_pass_on(pye_gate *g) {
    while (g->rung + g->going < 2 && g->owed[0] + g->owed[1] > g->rung) {
        int former = (g->turn + 1) & 1;
        /* Who was about to sleep and doesn't comes without having been woken. */
        if (!pye_bell_ring(&g->done[g->owed[former] ? former : !former], 1)) break;
        g->rung++;
    }
}

static inline void pye_gate_wake_all(pye_gate *g, uint64_t turn) { pye_bell_ring(&g->done[turn & 1], INT_MAX); }
static inline void pye_gate_wake_one(pye_gate *g, uint64_t turn) { pye_bell_ring(&g->done[turn & 1], 1); }
static inline void pye_gate_wake_claimer(pye_gate *g) { pthread_cond_signal(&g->idle); }

#endif
