-- What the engine knows of instruments, orders and trades beyond the first tables.
--
-- Unsigned 64-bit numbers (order ids, client_order_id, version, entered, seq) are stored as the BIGINT of the same bits.
--
-- price and size become NUMERIC without limits. NUMERIC(18,8) ends at ten digits before the point and eight behind it, INTEGER
-- at 2147483647 and has no fractions; an instrument's tick and lot may be finer (a size of 0.001, a price of 0.0000000001),
-- and counts of up to 2**62 of them are allowed. NUMERIC holds every such value exactly; BIGINT wouldn't hold fractions.

CREATE TABLE instruments (
    symbol TEXT PRIMARY KEY,
    tick_size NUMERIC NOT NULL,
    lot_size NUMERIC NOT NULL,
    min_price NUMERIC NOT NULL,
    max_price NUMERIC NOT NULL,
    min_qty NUMERIC NOT NULL,
    max_qty NUMERIC NOT NULL
);

-- TIMESTAMPTZ ends at microseconds; the columns *_ns are the whole time in nanoseconds since 1970.

ALTER TABLE orders
    ALTER COLUMN price TYPE NUMERIC,
    ALTER COLUMN size TYPE NUMERIC,
    ADD COLUMN remaining NUMERIC,
    ADD COLUMN status SMALLINT NOT NULL DEFAULT 1,
    ADD COLUMN tif SMALLINT NOT NULL DEFAULT 0,
    ADD COLUMN client_order_id BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN version BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN entered BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN flags SMALLINT NOT NULL DEFAULT 0,
    ADD COLUMN stp SMALLINT NOT NULL DEFAULT 0,
    ADD COLUMN aux BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN created_ns BIGINT,
    ADD COLUMN updated_ns BIGINT;

-- Orders from before are open (1) and untouched, as far as anybody wrote down. Times outside of what nanoseconds can say
-- (1677 to 2262) become 1970, missing ones too.

UPDATE orders SET
    order_type = known.order_type,
    price = CASE WHEN known.order_type = 1 THEN NULL ELSE price END,
    created_at = known.created_at,
    updated_at = known.updated_at,
    remaining = size,
    created_ns = (EXTRACT(EPOCH FROM known.created_at) * 1000000)::BIGINT * 1000,
    updated_ns = (EXTRACT(EPOCH FROM known.updated_at) * 1000000)::BIGINT * 1000
FROM (
    SELECT
        order_id,
        COALESCE(order_type, CASE WHEN price IS NULL THEN 1 ELSE 2 END) AS order_type,
        CASE
            WHEN COALESCE(created_at, updated_at) BETWEEN '1677-09-22 00:00Z' AND '2262-04-11 00:00Z'
            THEN COALESCE(created_at, updated_at) ELSE 'epoch'
        END AS created_at,
        CASE
            WHEN COALESCE(updated_at, created_at) BETWEEN '1677-09-22 00:00Z' AND '2262-04-11 00:00Z'
            THEN COALESCE(updated_at, created_at) ELSE 'epoch'
        END AS updated_at
    FROM orders
) AS known
WHERE orders.order_id = known.order_id;

-- From here on the store says all of it itself.

ALTER TABLE orders
    ALTER COLUMN status DROP DEFAULT,
    ALTER COLUMN created_ns SET NOT NULL,
    ALTER COLUMN updated_ns SET NOT NULL;

ALTER TABLE trades
    ALTER COLUMN price TYPE NUMERIC,
    ALTER COLUMN quantity TYPE NUMERIC,
    ADD COLUMN symbol TEXT NOT NULL DEFAULT 'UNKNOWN',
    ADD COLUMN taker_side SMALLINT NOT NULL DEFAULT 1,
    ADD COLUMN seq BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN timestamp_ns BIGINT;

-- Trades from before don't say what was traded, but their orders do, as far as they are still there. Order ids were given in
-- the order of arrival, so the later order was the taker.

UPDATE trades SET
    symbol = COALESCE(
        (SELECT orders.symbol FROM orders WHERE orders.order_id = trades.buy_order_id),
        (SELECT orders.symbol FROM orders WHERE orders.order_id = trades.sell_order_id),
        'UNKNOWN'
    ),
    taker_side = CASE WHEN buy_order_id > sell_order_id THEN 1 ELSE 2 END,
    timestamp = known.timestamp,
    timestamp_ns = (EXTRACT(EPOCH FROM known.timestamp) * 1000000)::BIGINT * 1000
FROM (
    SELECT
        trade_id,
        CASE
            WHEN timestamp BETWEEN '1677-09-22 00:00Z' AND '2262-04-11 00:00Z' THEN timestamp ELSE 'epoch'
        END AS timestamp
    FROM trades
) AS known
WHERE trades.trade_id = known.trade_id;

ALTER TABLE trades
    ALTER COLUMN symbol DROP DEFAULT,
    ALTER COLUMN taker_side DROP DEFAULT,
    ALTER COLUMN timestamp_ns SET NOT NULL;
