/* pyengine behind the interface of the matching-engine benchmark.
 *
 *     judge's matcher thread                        judge's drainer thread
 *     engine_on_* ─► command ─► apply ─► event ring ─► drain ─► me_report_t
 *
 * Each message becomes one command, and the engine's event ring is the transport: `drain` is a consumer of it that rewrites
 * published events as reports. The adapter keeps no order, price or count of its own. Python is started once to import the
 * engine and to take its table of C functions; from then on no Python runs.
 *
 * Compile-time settings: PYENGINE_PYTHON is the interpreter that has pyengine; RING_EVENTS (0: what the judge asks for) and
 * EXPECTED_ORDERS size the engine. */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <dlfcn.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "matching_engine_api.h"
#include "pyengine.h"

#ifndef PYENGINE_PYTHON
#error "PYENGINE_PYTHON must be the path of the interpreter that has pyengine"
#endif
#ifndef RING_EVENTS
#define RING_EVENTS 0
#endif
#ifndef EXPECTED_ORDERS
#define EXPECTED_ORDERS 0
#endif

_Static_assert(sizeof(pyengine_command) == 64 && sizeof(pyengine_event) == 64, "records are 64 bytes");

enum { BOOK = 0, BUY = 1, SELL = 2, LIMIT = 2, CANCEL = 3, AMEND = 6, GTC = 0, IOC = 1 };
enum { ACCEPTED = 1, REJECTED = 2, TRADE = 3, CANCELLED = 4, REPLACED = 5, KINDS = 6 };
enum { FIRST_CAPACITY_STATUS = 96 };
enum { NO_REPORT = 255 };

/* The judge's own watchdog ends a run after this long, so waiting longer for the drainer would be of no use. */
static const int64_t WAIT_NS = INT64_C(600) * 1000000000;

/* The widest limits that a book can have. */
static const int64_t GREATEST_PRICE = (INT64_C(1) << 62) - 1, LEAST_PRICE = 1 - (INT64_C(1) << 62);

/* What the two threads share. The drainer asks for reports before there is an engine, so `engine` is published last. */
struct transport {
    _Atomic(pyengine_state *) engine;
    int cursor;
    uint32_t capacity; /* reports that the judge wants room for */
};

static struct transport transport;
static const pyengine_api *api;
static pyengine_state *engine; /* the matcher thread's copy of transport.engine */

/* One command of each kind stands ready, and a message writes the four fields that differ. The engine reads several of the
 * narrow fields at once, which is slow right after they were written one by one. */
static alignas(64) pyengine_command limit_commands[2][2] = {
    {{.action = LIMIT, .tif = GTC, .side = BUY}, {.action = LIMIT, .tif = IOC, .side = BUY}},
    {{.action = LIMIT, .tif = GTC, .side = SELL}, {.action = LIMIT, .tif = IOC, .side = SELL}},
};
static alignas(64) pyengine_command cancel_command = {.action = CANCEL};
static alignas(64) pyengine_command amend_command = {.action = AMEND};

static _Noreturn void fail(const char *what) {
    fprintf(stderr, "pyengine adapter: %s\n", what);
    abort();
}

static _Noreturn void fail_in_python(const char *what) {
    PyErr_Print();
    fail(what);
}

/* --- transport: the engine's event ring ------------------------------------------------------------------------------- */

static inline uint8_t report_type(const pyengine_event *event) {
    static const uint8_t types[KINDS] = {
        [0] = NO_REPORT,          [ACCEPTED] = ME_ORDER_ACK,   [REJECTED] = NO_REPORT,
        [TRADE] = ME_TRADE,       [CANCELLED] = ME_CANCEL_ACK, [REPLACED] = ME_MODIFY_ACK,
    };
    if (event->kind != REJECTED) return event->kind < KINDS ? types[event->kind] : NO_REPORT;
    if (event->flags == CANCEL) return ME_CANCEL_REJECT;
    return event->flags == AMEND ? ME_MODIFY_REJECT : NO_REPORT;
}

static inline void translate(const pyengine_event *event, uint8_t type, me_report_t *report) {
    const int is_trade = type == ME_TRADE;
    *report = (me_report_t){
        .type = type,
        .side = (uint8_t)(event->side - BUY),
        .sequence_number = (uint64_t)event->ts_ns,
        .order_id = event->order_id,
        .price_ticks = event->price_ticks,
        .quantity = (uint32_t)event->qty_lots,
        .maker_order_id = is_trade ? event->detail : 0,
        .taker_order_id = is_trade ? event->order_id : 0,
    };
}

static void *transport_create(uint32_t capacity) {
    transport.capacity = capacity;
    return &transport;
}

static int transport_push(void *handle, const me_report_t *report) {
    (void)handle;
    (void)report;
    fail("the engine writes its events itself; nothing may be pushed");
}

static uint32_t transport_drain(void *handle, me_report_t *out, uint32_t max) {
    struct transport *t = handle;
    pyengine_state *source = atomic_load_explicit(&t->engine, memory_order_acquire);
    const pyengine_event *events;
    uint32_t reports = 0;
    if (!source) return 0;
    /* 0 means that nothing is left, so a batch without any report isn't the end. */
    while (reports == 0) {
        const uint64_t count = api->poll(source, t->cursor, &events, max);
        if (count == 0) return 0;
        for (uint64_t i = 0; i < count; i++) {
            const uint8_t type = report_type(&events[i]);
            if (type != NO_REPORT) translate(&events[i], type, &out[reports++]);
        }
        api->release(source, t->cursor, count);
    }
    return reports;
}

static void transport_flush(void *handle) {
    (void)handle;
    api->publish(engine);
}

static void transport_destroy(void *handle) { (void)handle; }

const me_transport_t *engine_get_transport(void) {
    static const me_transport_t table = {
        .create = transport_create,
        .push = transport_push,
        .drain = transport_drain,
        .flush = transport_flush,
        .destroy = transport_destroy,
    };
    return &table;
}

/* --- start and end ------------------------------------------------------------------------------------------------------ */

/* The judge loads this library without giving its symbols to others, and so libpython's; extension modules need them. */
static void promote_libpython(void) {
    Dl_info found;
    if (!dladdr((void *)(uintptr_t)&Py_InitializeFromConfig, &found)) fail("libpython must be a shared library");
    if (!dlopen(found.dli_fname, RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD)) fail(dlerror());
}

static void start_python(void) {
    PyConfig config;
    PyStatus status;
    if (Py_IsInitialized()) fail("Python must not run before engine_init");
    promote_libpython();
    /* Threads that NumPy's algebra library starts would stay on the matcher's processor. */
    setenv("OPENBLAS_NUM_THREADS", "1", 1);
    PyConfig_InitIsolatedConfig(&config);
    /* The interpreter's path leads to its environment, and to pyengine in it. */
    status = PyConfig_SetBytesString(&config, &config.program_name, PYENGINE_PYTHON);
    if (!PyStatus_Exception(status)) status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status)) fail(status.err_msg ? status.err_msg : "Python must start, it did not");
}

static const pyengine_api *import_api(void) {
    const pyengine_api *table;
    PyObject *module = PyImport_ImportModule("pyengine._core.capi");
    if (!module) fail_in_python("pyengine must be installed for " PYENGINE_PYTHON);
    table = PyCapsule_Import(PYENGINE_CAPSULE, 0);
    if (!table) fail_in_python("the capsule " PYENGINE_CAPSULE " must exist");
    if (table->version != PYENGINE_API_VERSION || table->command_bytes != sizeof(pyengine_command) ||
        table->event_bytes != sizeof(pyengine_event)) {
        fprintf(stderr, "pyengine adapter: version and record sizes must be %d, %zu and %zu, were %u, %u and %u\n",
                PYENGINE_API_VERSION, sizeof(pyengine_command), sizeof(pyengine_event), (unsigned)table->version,
                (unsigned)table->command_bytes, (unsigned)table->event_bytes);
        abort();
    }
    return table;
}

static uint64_t ring_events(uint32_t wanted) {
    uint64_t capacity = 64;
    while (capacity < wanted) capacity *= 2;
    return RING_EVENTS ? RING_EVENTS : capacity;
}

void engine_init(uint64_t seed, const me_transport_t *ours, void *handle) {
    struct transport *t = handle;
    (void)seed;
    (void)ours;
    start_python();
    api = import_api();
    PyEval_SaveThread();
    engine = api->create(ring_events(t->capacity), EXPECTED_ORDERS);
    if (!engine) fail("the engine must be made, it was not");
    if (api->add_book(engine, LEAST_PRICE, GREATEST_PRICE, 1, UINT32_MAX) != BOOK) fail("the engine must add a book with these limits, it did not");
    t->cursor = api->attach(engine, 1);
    if (t->cursor < 0) fail("a cursor must be free, none was");
    api->set_wait(engine, WAIT_NS);
    atomic_store_explicit(&t->engine, engine, memory_order_release);
}

void engine_shutdown(void) {
    atomic_store_explicit(&transport.engine, NULL, memory_order_release);
    api->destroy(engine);
    engine = NULL;
}

/* --- messages ------------------------------------------------------------------------------------------------------------ */

static inline void run(const pyengine_command *command) {
    if (__builtin_expect(api->apply(engine, command) >= FIRST_CAPACITY_STATUS, 0))
        fail("the engine must have room for every event and order, it had none");
}

void engine_on_new_order(const new_order_t *order) {
    pyengine_command *command = &limit_commands[order->side & 1][order->ioc & 1];
    command->order_id = order->order_id;
    command->price_ticks = order->price_ticks;
    command->qty_lots = order->quantity;
    command->ts_ns = (int64_t)order->sequence_number;
    run(command);
}

void engine_on_cancel(const cancel_t *cancel) {
    cancel_command.order_id = cancel->order_id;
    cancel_command.ts_ns = (int64_t)cancel->sequence_number;
    run(&cancel_command);
}

void engine_on_modify(const modify_t *modify) {
    amend_command.order_id = modify->order_id;
    amend_command.price_ticks = modify->new_price_ticks;
    amend_command.qty_lots = modify->new_quantity;
    amend_command.ts_ns = (int64_t)modify->sequence_number;
    run(&amend_command);
}

void engine_flush(void) { api->publish(engine); }

int64_t engine_query_best_bid(void) {
    int64_t price;
    return api->best(engine, BOOK, BUY, &price) ? price : INT64_MIN;
}

int64_t engine_query_best_ask(void) {
    int64_t price;
    return api->best(engine, BOOK, SELL, &price) ? price : INT64_MAX;
}

uint64_t engine_query_depth_at(int64_t price_ticks, uint8_t side) {
    return (uint64_t)api->depth_at(engine, BOOK, side + BUY, price_ticks);
}
