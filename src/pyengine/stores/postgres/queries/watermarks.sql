-- name: get
SELECT seq FROM watermarks WHERE store = $1 AND journal = $2

-- name: forget
DELETE FROM watermarks WHERE store = $1 AND journal = $2

-- name: clear
TRUNCATE {table}

-- name: forget_all
DELETE FROM watermarks WHERE store = $1

-- Whoever comes second waits for the end of the first one's transaction, and then finds the watermark moved.

-- name: moving
WITH moved AS (
    UPDATE watermarks SET seq = $4, updated_at = now() WHERE store = $1 AND journal = $2 AND seq = $3::BIGINT
    RETURNING seq
), made AS (
    INSERT INTO watermarks (store, journal, seq) SELECT $1, $2, $4 WHERE $3::BIGINT IS NULL
    ON CONFLICT (store, journal) DO NOTHING
    RETURNING seq
)

-- name: has_moved
EXISTS (SELECT seq FROM moved UNION ALL SELECT seq FROM made) AS moved

-- name: move
{moving} SELECT {has_moved}

-- With what a writer of rows asks anyway, so that it costs no way to the server and back of its own.

-- name: move_for_orders
{moving} SELECT {has_moved}, (SELECT max(order_id) FROM orders WHERE order_id BETWEEN $5 AND $6) AS highest

-- name: move_for_trades
{moving} SELECT {has_moved}, (SELECT max(trade_id) FROM trades WHERE trade_id BETWEEN $5 AND $6) AS highest
