/* Group commit: who waits for the disk, who writes for all of them, and the frame that is written. None of it needs the GIL. */
#ifndef PYENGINE_COMMIT_H
#define PYENGINE_COMMIT_H

#include "pyengine_port.h"
#include <errno.h>
#include <pthread.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>
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

typedef struct {
    pthread_mutex_t lock;    /* of all that follows; held for moments */
    pthread_cond_t done[2];  /* those whom commit number `turn` lets go, and those who wait for the next, by its lowest bit */
    pthread_cond_t idle;     /* whoever claims the lead */
    uint64_t turn;           /* number of the commit that was begun last */
    uint64_t covering;       /* sequence number below which it makes durable what has happened */
    uint32_t leading;        /* somebody writes */
    uint32_t claimed;        /* somebody wants to be next, before all others */
} pye_gate;

static inline void pye_gate_begin(pye_gate *g) {
    pthread_condattr_t attributes;
    memset(g, 0, sizeof *g);
    pthread_mutex_init(&g->lock, NULL);
    pthread_condattr_init(&attributes);
#if defined(__linux__)
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
#endif
    pthread_cond_init(&g->done[0], &attributes);
    pthread_cond_init(&g->done[1], &attributes);
    pthread_cond_init(&g->idle, &attributes);
    pthread_condattr_destroy(&attributes);
}

static inline void pye_gate_end(pye_gate *g) {
    pthread_cond_destroy(&g->done[0]);
    pthread_cond_destroy(&g->done[1]);
    pthread_cond_destroy(&g->idle);
    pthread_mutex_destroy(&g->lock);
}

static inline void pye_gate_lock(pye_gate *g) { pthread_mutex_lock(&g->lock); }
static inline void pye_gate_unlock(pye_gate *g) { pthread_mutex_unlock(&g->lock); }
static inline void pye_gate_await_idle(pye_gate *g) { pthread_cond_wait(&g->idle, &g->lock); }

/* Wait for the commit that is under way, or for the next; 0 when the time is over. */
static inline int pye_gate_await(pye_gate *g, uint64_t turn, int64_t ns) {
    struct timespec until;
#if defined(__linux__)
    clock_gettime(CLOCK_MONOTONIC, &until);
#else
    clock_gettime(CLOCK_REALTIME, &until);
#endif
    until.tv_nsec += ns;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return pthread_cond_timedwait(&g->done[turn & 1], &g->lock, &until) == 0;
}

static inline void pye_gate_wake_all(pye_gate *g, uint64_t turn) { pthread_cond_broadcast(&g->done[turn & 1]); }
static inline void pye_gate_wake_one(pye_gate *g, uint64_t turn) { pthread_cond_signal(&g->done[turn & 1]); }
static inline void pye_gate_wake_claimer(pye_gate *g) { pthread_cond_signal(&g->idle); }

#endif
