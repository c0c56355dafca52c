/* The engine for C and C++ callers: the records and a table of functions.
 *
 * The table comes from the capsule "pyengine._core.capi.TABLE" (PyCapsule_Import). All functions run without the GIL, raise
 * nothing and call no Python. An engine made by create() belongs to the caller and knows nothing of Python; the state of a
 * Python engine comes from capi.state_capsule(engine), and must not be used while the engine runs in another thread.
 * One thread writes at a time; each cursor is read by one thread. */
#ifndef PYENGINE_H
#define PYENGINE_H

#include <stddef.h>
#include <stdint.h>

#define PYENGINE_API_VERSION 1

typedef struct pyengine_state pyengine_state; /* opaque */

/* One command, 64 bytes. Codes are those of pyengine.records; reserved fields are 0. */
typedef struct {
    uint8_t action; /* 1 MARKET, 2 LIMIT, 3 CANCEL, 6 AMEND, 7 MASS_CANCEL */
    uint8_t tif;    /* 0 GTC, 1 IOC, 2 FOK */
    uint8_t flags;  /* 1 POST_ONLY, 2 SLIDE, 128 ASSIGN_ID */
    uint8_t stp;    /* 0 default, 1 off, 2 cancel taker, 3 cancel maker, 4 cancel both, 5 decrement */
    uint32_t instrument;
    uint64_t order_id;
    int64_t price_ticks;
    int64_t qty_lots;
    int64_t ts_ns; /* copied to the events */
    uint32_t user;
    uint8_t side; /* 1 buy, 2 sell */
    uint8_t reserved[3];
    int64_t aux1;
    int64_t aux2;
} pyengine_command;

/* One event, 64 bytes. */
typedef struct {
    uint64_t seq;
    int64_t ts_ns;
    uint64_t order_id;   /* TRADE: the taker; REQUEST: the client order id */
    uint64_t detail;     /* TRADE: the maker; else user | type << 32 | tif << 40 | flags << 48 | stp << 56 */
    int64_t price_ticks; /* TRADE: the maker's */
    int64_t qty_lots;
    int64_t value; /* TRADE: trade id; CANCELLED: lots still open; REPLACED: open before */
    uint32_t instrument;
    uint8_t kind; /* 1 ACCEPTED, 2 REJECTED, 3 TRADE, 4 CANCELLED, 5 REPLACED, 6 REQUEST */
    uint8_t side;
    uint8_t reason;
    uint8_t flags; /* TRADE: 1 maker filled, 2 taker filled; REPLACED: 1 kept its place; REJECTED: the action */
} pyengine_event;

typedef struct {
    uint32_t version; /* PYENGINE_API_VERSION */
    uint32_t command_bytes;
    uint32_t event_bytes;
    uint32_t unused;
    /* An engine without Python; ring_capacity is a power of two from 64 to 2^28, expected_orders at most 2^27. NULL for
     * other values and without memory. */
    pyengine_state *(*create)(uint64_t ring_capacity, uint64_t expected_orders);
    void (*destroy)(pyengine_state *state);
    /* Index of a new book; -1 without memory, or unless -2^62 < min_price <= max_price < 2^62 and
     * 1 <= min_qty <= max_qty < 2^62. Limits are inclusive. */
    int (*add_book)(pyengine_state *state, int64_t min_price, int64_t max_price, int64_t min_qty, int64_t max_qty);
    /* Number of a new user, or -1. */
    int (*add_user)(pyengine_state *state);
    /* Run one command. Returns its status: below 32 a Status, otherwise the Reason of the rejection. Events become visible
     * to consumers every 256 of them, and by publish(). Waits for required consumers, see set_wait(). */
    int (*apply)(pyengine_state *state, const pyengine_command *command);
    void (*publish)(pyengine_state *state);
    void (*set_wait)(pyengine_state *state, int64_t wait_ns);
    /* A cursor at the next event, or -1. Call it from the producer's thread. */
    int (*attach)(pyengine_state *state, int required);
    void (*detach)(pyengine_state *state, int cursor);
    /* Point at up to `limit` published events from the cursor on; they stay until release(). 0 if there are none. */
    uint64_t (*poll)(pyengine_state *state, int cursor, const pyengine_event **first, uint64_t limit);
    /* Give the next `count` events of the cursor back to the producer. */
    void (*release)(pyengine_state *state, int cursor, uint64_t count);
    /* Best price of a side (1 bids, 2 asks) in *price; 0 if the side is empty, else 1. */
    int (*best)(const pyengine_state *state, uint32_t book, int side, int64_t *price);
    /* Lots resting at a price of a side. */
    int64_t (*depth_at)(pyengine_state *state, uint32_t book, int side, int64_t price);
    uint64_t (*state_hash)(const pyengine_state *state);
} pyengine_api;

#define PYENGINE_CAPSULE "pyengine._core.capi.TABLE"

#endif
