/* What the core needs from compiler, processor and operating system, and Cython has no words for. */
#ifndef PYENGINE_PORT_H
#define PYENGINE_PORT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define pye_likely(x) __builtin_expect(!!(x), 1)
#define pye_unlikely(x) __builtin_expect(!!(x), 0)
#define pye_prefetch_read(p) __builtin_prefetch((p), 0, 3)
#define pye_prefetch_write(p) __builtin_prefetch((p), 1, 3)
#define pye_lowest_bit(x) ((uint32_t)__builtin_ctzll(x)) /* x != 0 */
#define pye_mul_overflows(a, b, out) __builtin_mul_overflow((int64_t)(a), (int64_t)(b), (out))
#define pye_add_overflows(a, b, out) __builtin_add_overflow((int64_t)(a), (int64_t)(b), (out))
#define pye_unsigned_mul_overflows(a, b, out) __builtin_mul_overflow((uint64_t)(a), (uint64_t)(b), (out))
#define pye_highest_bit(x) ((uint32_t)(63 - __builtin_clzll(x))) /* x != 0 */

/* Which of 8 tags, 16-byte aligned, are equal to one: bit i for tags[i]. */
static inline uint32_t pye_match8(const uint32_t *tags, uint32_t tag) {
#if defined(__SSE2__)
    __m128i wanted = _mm_set1_epi32((int)tag);
    __m128i low = _mm_cmpeq_epi32(_mm_load_si128((const __m128i *)tags), wanted);
    __m128i high = _mm_cmpeq_epi32(_mm_load_si128((const __m128i *)(tags + 4)), wanted);
    return (uint32_t)_mm_movemask_ps(_mm_castsi128_ps(low)) | (uint32_t)_mm_movemask_ps(_mm_castsi128_ps(high)) << 4;
#else
    uint32_t found = 0;
    for (int i = 0; i < 8; i++) found |= (uint32_t)(tags[i] == tag) << i;
    return found;
#endif
}

/* a * b + carry, split at 10**9: the low part is returned, the high one becomes the next carry. a < 10**9 */
static inline uint32_t pye_mul_limb(uint32_t a, uint64_t b, uint64_t *carry) {
    unsigned __int128 product = (unsigned __int128)b * a + *carry;
    *carry = (uint64_t)(product / 1000000000);
    return (uint32_t)(product % 1000000000);
}

/* A literal: its length is a constant where this is inlined. */
static inline char *pye_put_text(char *out, const char *text) {
    size_t n = strlen(text);
    memcpy(out, text, n);
    return out + n;
}

/* Integers in network order, at any address. */
static inline char *pye_put16(char *out, uint16_t v) { v = __builtin_bswap16(v); memcpy(out, &v, 2); return out + 2; }
static inline char *pye_put32(char *out, uint32_t v) { v = __builtin_bswap32(v); memcpy(out, &v, 4); return out + 4; }
static inline char *pye_put64(char *out, uint64_t v) { v = __builtin_bswap64(v); memcpy(out, &v, 8); return out + 8; }

/* One-way fences are all the event ring needs: plain moves on x86, ldar and stlr on ARM. */
static inline uint64_t pye_load_acquire(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void pye_store_release(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
static inline void pye_fence_acquire(void) { __atomic_thread_fence(__ATOMIC_ACQUIRE); }

/* After a private copy of what another thread may be writing: the compiler must look at the copy from now on, and not fetch
 * some of it from the original once more. */
static inline void pye_copied(void *copy) { __asm__ volatile("" : : "r"(copy) : "memory"); }

static inline void pye_fence_full(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

static inline void pye_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Monotonic nanoseconds, only ever used to bound a wait. */
static inline int64_t pye_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline void pye_sleep_ns(int64_t ns) {
    struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    nanosleep(&t, NULL);
}

/* Blocks below this come from malloc; larger ones from the kernel, aligned to and asking for huge pages, because random
 * access to millions of orders through 4 KiB pages costs more in page walks than in the reads themselves. */
#define PYE_HUGE ((size_t)2 << 20)

/* AddressSanitizer can only guard what comes from malloc, each time anew: nothing is mapped or reused under it. */
#if defined(__SANITIZE_ADDRESS__)
#define PYE_MAPS_LARGE_BLOCKS 0
#define PYE_REUSES_BLOCKS 0
#else
#if defined(__linux__)
#define PYE_MAPS_LARGE_BLOCKS 1
#else
#define PYE_MAPS_LARGE_BLOCKS 0
#endif
#define PYE_REUSES_BLOCKS 1
#endif

static inline size_t pye_huge_round(size_t n) { return (n + PYE_HUGE - 1) & ~(PYE_HUGE - 1); }

#if PYE_MAPS_LARGE_BLOCKS
static inline void *pye_map(size_t n) {
    size_t want = pye_huge_round(n);
    char *p = (char *)mmap(NULL, want + PYE_HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == (char *)MAP_FAILED) return NULL;
    size_t head = (size_t)(-(uintptr_t)p & (PYE_HUGE - 1));
    if (head) munmap(p, head);
    munmap(p + head + want, PYE_HUGE - head);
    madvise(p + head, want, MADV_HUGEPAGE);
    return p + head;
}
#endif

/* Memory of n bytes, aligned to a cache line and zeroed; NULL when there is none. */
static inline void *pye_alloc(size_t n) {
#if PYE_MAPS_LARGE_BLOCKS
    if (n >= PYE_HUGE) return pye_map(n);
#endif
    void *p = NULL;
    size_t want = n ? (n + 63) & ~(size_t)63 : 64;
    if (posix_memalign(&p, 64, want)) return NULL;
    memset(p, 0, want);
    return p;
}

/* Frees a block from pye_alloc; n is the size it was asked for with. */
static inline void pye_free(void *p, size_t n) {
    if (!p) return;
#if PYE_MAPS_LARGE_BLOCKS
    if (n >= PYE_HUGE) {
        munmap(p, pye_huge_round(n));
        return;
    }
#endif
    free(p);
}

/* Moves a block to a larger size. The old block stays valid if there is no memory (NULL). The new part is zero. */
static inline void *pye_grow(void *p, size_t old_n, size_t new_n) {
    void *q;
#if PYE_MAPS_LARGE_BLOCKS
    if (p && old_n >= PYE_HUGE) {
        size_t a = pye_huge_round(old_n), b = pye_huge_round(new_n);
        if (a == b) return p;
        q = mremap(p, a, b, 0);
        if (q != MAP_FAILED) {
            madvise(q, b, MADV_HUGEPAGE);
            return q;
        }
        q = pye_map(new_n);
        if (!q) return NULL;
        /* Page tables move, bytes do not. */
        if (mremap(p, a, a, MREMAP_MAYMOVE | MREMAP_FIXED, q) == MAP_FAILED) {
            memcpy(q, p, old_n);
            munmap(p, a);
        }
        return q;
    }
#endif
    q = pye_alloc(new_n);
    if (!q) return NULL;
    if (p) {
        memcpy(q, p, old_n);
        pye_free(p, old_n);
    }
    return q;
}

#endif
