-- name: columns
trade_id, buy_order_id, sell_order_id, price, quantity, timestamp, symbol, taker_side, seq, timestamp_ns

-- name: get
SELECT {columns} FROM trades WHERE trade_id = $1

-- name: recent
SELECT {columns} FROM trades ORDER BY trade_id DESC LIMIT $1

-- name: is_empty
SELECT NOT EXISTS (SELECT FROM trades)

-- name: highest_between
SELECT max(trade_id) FROM trades WHERE trade_id BETWEEN $1 AND $2

-- name: save
INSERT INTO trades ({columns}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (trade_id) DO NOTHING

-- name: create_staging
CREATE TEMPORARY TABLE staged_trades ON COMMIT DELETE ROWS AS SELECT {columns} FROM trades WITH NO DATA

-- name: empty_staging
TRUNCATE staged_trades

-- name: merge
INSERT INTO trades ({columns}) SELECT {columns} FROM staged_trades ON CONFLICT (trade_id) DO NOTHING

-- name: query
SELECT {columns} FROM trades WHERE trade_id <= $1 {filters} ORDER BY trade_id DESC LIMIT $2

-- name: filter_symbol
AND symbol = {value}

-- name: filter_order_id
AND (buy_order_id = {value} OR sell_order_id = {value})

-- name: filter_from
AND timestamp >= {micros} AND timestamp_ns >= {value}

-- name: filter_to
AND timestamp <= {micros} AND timestamp_ns < {value}
