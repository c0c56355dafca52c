-- name: save
INSERT INTO trades (
    trade_id, buy_order_id, sell_order_id, price, quantity, symbol, side, seq, flags, price_ticks, qty_lots, timestamp_ns
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (trade_id) DO NOTHING

-- name: is_empty
SELECT NOT EXISTS (SELECT 1 FROM trades)

-- name: select
SELECT
    trade_id, buy_order_id, sell_order_id, price, quantity, symbol, side, seq, flags, price_ticks, qty_lots, timestamp_ns
FROM trades

-- name: by_id
WHERE trade_id = ?

-- name: recent
ORDER BY trade_id DESC LIMIT ?

-- name: between
WHERE timestamp_ns >= ?1 AND timestamp_ns < ?2 AND trade_id > ?3 AND (?4 IS NULL OR symbol = ?4)
ORDER BY trade_id LIMIT ?5
