-- name: save
INSERT INTO orders (
    order_id, price_ticks, qty_lots, remaining_lots, created_ns, updated_ns, version, client_order_id, aux,
    symbol, user_id, side, order_type, tif, status, flags, stp, entered, price, size, remaining
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (order_id) DO UPDATE SET
    price_ticks = excluded.price_ticks,
    qty_lots = excluded.qty_lots,
    remaining_lots = excluded.remaining_lots,
    created_ns = excluded.created_ns,
    updated_ns = excluded.updated_ns,
    version = excluded.version,
    client_order_id = excluded.client_order_id,
    aux = excluded.aux,
    symbol = excluded.symbol,
    user_id = excluded.user_id,
    side = excluded.side,
    order_type = excluded.order_type,
    tif = excluded.tif,
    status = excluded.status,
    flags = excluded.flags,
    stp = excluded.stp,
    entered = excluded.entered,
    price = excluded.price,
    size = excluded.size,
    remaining = excluded.remaining
WHERE (excluded.version < 0, excluded.version) >= (orders.version < 0, orders.version)

-- name: exists
SELECT 1 FROM orders WHERE order_id = ?

-- name: remove
DELETE FROM orders WHERE order_id = ?

-- name: remove_finished
DELETE FROM orders WHERE status > 2 AND updated_ns < ?

-- name: is_empty
SELECT NOT EXISTS (SELECT 1 FROM orders)

-- name: select
SELECT
    order_id, price_ticks, qty_lots, remaining_lots, created_ns, updated_ns, version, client_order_id, aux,
    symbol, user_id, side, order_type, tif, status, flags, stp, entered, price, size, remaining
FROM orders

-- name: by_id
WHERE order_id = ?

-- name: all
ORDER BY order_id < 0, order_id

-- name: of_user
WHERE user_id = ? ORDER BY order_id < 0, order_id

-- name: bids
WHERE status <= 2 AND side = 1 AND (?1 IS NULL OR symbol = ?1)
ORDER BY price_ticks DESC, entered < 0, entered, created_ns, order_id < 0, order_id

-- name: asks
WHERE status <= 2 AND side = 2 AND (?1 IS NULL OR symbol = ?1)
ORDER BY price_ticks, entered < 0, entered, created_ns, order_id < 0, order_id
