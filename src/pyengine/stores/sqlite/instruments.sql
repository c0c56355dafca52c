-- name: keep
INSERT INTO instruments (symbol, tick_size, lot_size, min_price, max_price, min_qty, max_qty)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (symbol) DO NOTHING

-- name: get
SELECT symbol, tick_size, lot_size, min_price, max_price, min_qty, max_qty
FROM instruments
WHERE symbol = ?

-- name: all
SELECT symbol, tick_size, lot_size, min_price, max_price, min_qty, max_qty
FROM instruments
ORDER BY rowid
