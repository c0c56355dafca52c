"""Compiler and system words for the core; each is one inline function or macro of include/pyengine_port.h."""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t


cdef extern from "pyengine_port.h" nogil:
    bint pye_likely(bint condition) noexcept
    bint pye_unlikely(bint condition) noexcept
    void pye_prefetch_read(const void* address) noexcept
    void pye_prefetch_write(const void* address) noexcept
    uint32_t pye_lowest_bit(uint64_t bits) noexcept                           # bits must not be 0
    uint32_t pye_match8(const uint32_t* tags, uint32_t tag) noexcept         # bit i: tags[i] == tag
    bint pye_mul_overflows(int64_t a, int64_t b, int64_t* out) noexcept
    bint pye_add_overflows(int64_t a, int64_t b, int64_t* out) noexcept
    bint pye_unsigned_mul_overflows(uint64_t a, uint64_t b, uint64_t* out) noexcept
    uint32_t pye_highest_bit(uint64_t bits) noexcept                          # bits must not be 0
    uint32_t pye_mul_limb(uint32_t a, uint64_t b, uint64_t* carry) noexcept   # a * b + carry, split at 10**9; a < 10**9
    char* pye_put_text(char* out, const char* text) noexcept                  # a literal; returns the next place
    char* pye_put16(char* out, uint16_t value) noexcept                       # network order; returns the next place
    char* pye_put32(char* out, uint32_t value) noexcept
    char* pye_put64(char* out, uint64_t value) noexcept
    uint64_t pye_load_acquire(const uint64_t* p) noexcept
    void pye_store_release(uint64_t* p, uint64_t value) noexcept
    void pye_fence_acquire() noexcept
    void pye_fence_full() noexcept
    void pye_pause() noexcept
    int64_t pye_now_ns() noexcept                                             # monotonic; only to bound waits
    void pye_sleep_ns(int64_t ns) noexcept
    void pye_copied(void* copy) noexcept                                      # after a private copy of what others write
    void* pye_alloc(size_t n) noexcept                                        # zeroed, 64-byte aligned, or NULL
    void pye_free(void* p, size_t n) noexcept                                 # n: the size it was taken with
    void* pye_grow(void* p, size_t old_n, size_t new_n) noexcept              # NULL: the old block is still valid
    bint PYE_REUSES_BLOCKS                                                    # whether freed blocks may be kept for later
