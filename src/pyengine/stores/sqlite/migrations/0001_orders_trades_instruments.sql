-- Ids, versions and sequence numbers are unsigned 64-bit numbers, kept as SQLite's signed ones of the same bits.
-- The integers in ticks and lots are what counts; the decimals beside them are for people, and must agree.

CREATE TABLE instruments (
    symbol TEXT NOT NULL PRIMARY KEY,
    tick_size TEXT NOT NULL,
    lot_size TEXT NOT NULL,
    min_price TEXT NOT NULL,
    max_price TEXT NOT NULL,
    min_qty TEXT NOT NULL,
    max_qty TEXT NOT NULL
) STRICT;

CREATE TABLE orders (
    order_id INTEGER PRIMARY KEY,
    user_id TEXT NOT NULL,  -- '' is nobody
    symbol TEXT NOT NULL,
    order_type INTEGER NOT NULL,  -- 1 market, 2 limit, 4 stop market, 5 stop limit
    side INTEGER NOT NULL,  -- 1 buy, 2 sell
    price TEXT,  -- NULL for a market order
    size TEXT NOT NULL,
    remaining TEXT NOT NULL,  -- never filled
    status INTEGER NOT NULL,  -- 1 resting, 2 partially filled, 3 filled, 4 cancelled
    tif INTEGER NOT NULL,  -- 0 until cancelled, 1 immediate or cancel, 2 fill or kill
    client_order_id INTEGER NOT NULL,  -- 0 is none
    version INTEGER NOT NULL,  -- the event that changed it last
    entered INTEGER NOT NULL,  -- the event that gave it its place in the queue
    flags INTEGER NOT NULL,
    stp INTEGER NOT NULL,
    aux INTEGER NOT NULL,
    price_ticks INTEGER NOT NULL,
    qty_lots INTEGER NOT NULL,
    remaining_lots INTEGER NOT NULL,
    created_ns INTEGER NOT NULL,
    updated_ns INTEGER NOT NULL,
    created_at TEXT GENERATED ALWAYS AS (strftime('%Y-%m-%dT%H:%M:%fZ', created_ns / 1e9, 'unixepoch')) VIRTUAL,
    updated_at TEXT GENERATED ALWAYS AS (strftime('%Y-%m-%dT%H:%M:%fZ', updated_ns / 1e9, 'unixepoch')) VIRTUAL
) STRICT;

CREATE INDEX orders_of_user ON orders (user_id);

CREATE INDEX orders_open ON orders (side, symbol, price_ticks) WHERE status <= 2;

CREATE TABLE trades (
    trade_id INTEGER PRIMARY KEY,
    buy_order_id INTEGER NOT NULL,
    sell_order_id INTEGER NOT NULL,
    price TEXT NOT NULL,
    quantity TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side INTEGER NOT NULL,  -- the taker's: 1 buy, 2 sell
    seq INTEGER NOT NULL,
    flags INTEGER NOT NULL,
    price_ticks INTEGER NOT NULL,
    qty_lots INTEGER NOT NULL,
    timestamp_ns INTEGER NOT NULL,
    timestamp TEXT GENERATED ALWAYS AS (strftime('%Y-%m-%dT%H:%M:%fZ', timestamp_ns / 1e9, 'unixepoch')) VIRTUAL
) STRICT;

CREATE INDEX trades_of_time ON trades (timestamp_ns);
