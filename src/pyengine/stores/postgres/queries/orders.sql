-- name: columns
order_id, user_id, symbol, order_type, side, price, size, created_at, updated_at, remaining, status, tif, client_order_id,
version, entered, flags, stp, aux, created_ns, updated_ns

-- name: get
SELECT {columns} FROM orders WHERE order_id = $1

-- Ids are unsigned: those from 2**63 on are stored as negative numbers and come last. So each list is read in two halves.

-- name: all
SELECT {columns} FROM orders WHERE order_id BETWEEN $1 AND $2 ORDER BY order_id

-- name: of_user
SELECT {columns} FROM orders WHERE order_id BETWEEN $1 AND $2 AND user_id = $3 ORDER BY order_id

-- name: of_side
SELECT {columns} FROM orders WHERE side = $1 AND status IN (1, 2)

-- name: of_side_and_symbol
SELECT {columns} FROM orders WHERE side = $1 AND status IN (1, 2) AND symbol = $2

-- name: is_empty
SELECT NOT EXISTS (SELECT FROM orders)

-- name: highest_between
SELECT max(order_id) FROM orders WHERE order_id BETWEEN $1 AND $2

-- name: remove
DELETE FROM orders WHERE order_id = $1

-- name: remove_batch
DELETE FROM orders WHERE order_id = ANY($1::BIGINT[])

-- name: create_staging
CREATE TEMPORARY TABLE staged_orders ON COMMIT DELETE ROWS AS SELECT {columns} FROM orders WITH NO DATA

-- name: empty_staging
TRUNCATE staged_orders

-- name: merge
INSERT INTO orders ({columns}) SELECT {columns} FROM staged_orders
ON CONFLICT (order_id) DO UPDATE SET {set_all} WHERE {not_older}

-- name: save
INSERT INTO orders ({columns})
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
ON CONFLICT (order_id) DO UPDATE SET {set_all} WHERE {not_older}

-- name: update
UPDATE orders SET {set_all}
FROM (
    VALUES (
        $1::BIGINT, $2::TEXT, $3::TEXT, $4::INTEGER, $5::INTEGER, $6::NUMERIC, $7::NUMERIC, $8::TIMESTAMPTZ, $9::TIMESTAMPTZ,
        $10::NUMERIC, $11::SMALLINT, $12::SMALLINT, $13::BIGINT, $14::BIGINT, $15::BIGINT, $16::SMALLINT, $17::SMALLINT,
        $18::BIGINT, $19::BIGINT, $20::BIGINT
    )
) AS excluded ({columns})
WHERE orders.order_id = excluded.order_id AND {not_older}

-- Versions are unsigned too; with the highest bit flipped they compare as they should.

-- name: not_older
(orders.version # (-9223372036854775808)::BIGINT) <= (excluded.version # (-9223372036854775808)::BIGINT)

-- name: set_all
user_id = excluded.user_id, symbol = excluded.symbol, order_type = excluded.order_type, side = excluded.side,
price = excluded.price, size = excluded.size, created_at = excluded.created_at, updated_at = excluded.updated_at,
remaining = excluded.remaining, status = excluded.status, tif = excluded.tif,
client_order_id = excluded.client_order_id, version = excluded.version, entered = excluded.entered,
flags = excluded.flags, stp = excluded.stp, aux = excluded.aux, created_ns = excluded.created_ns,
updated_ns = excluded.updated_ns

-- name: query
SELECT {columns} FROM orders WHERE order_id BETWEEN $1 AND $2 {filters} ORDER BY order_id LIMIT $3

-- name: filter_user
AND user_id = {value}

-- name: filter_symbol
AND symbol = {value}

-- name: filter_side
AND side = {value}

-- name: filter_status
AND status = ANY({value}::SMALLINT[])

-- name: filter_from
AND created_at >= {micros} AND created_ns >= {value}

-- name: filter_to
AND created_at <= {micros} AND created_ns < {value}
