-- name: keep
INSERT INTO instruments (symbol, tick_size, lot_size, min_price, max_price, min_qty, max_qty)
SELECT * FROM unnest($1::TEXT[], $2::NUMERIC[], $3::NUMERIC[], $4::NUMERIC[], $5::NUMERIC[], $6::NUMERIC[], $7::NUMERIC[])
ON CONFLICT (symbol) DO NOTHING

-- name: load
SELECT symbol, tick_size, lot_size, min_price, max_price, min_qty, max_qty FROM instruments WHERE symbol = ANY($1::TEXT[])
