-- name: heads
SELECT link, n, file, bytes, last_id FROM audit_heads WHERE log = $1 ORDER BY kept_at, n

-- name: keep
INSERT INTO audit_heads (log, link, n, file, bytes, last_id) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (log, link) DO NOTHING

-- name: forget
DELETE FROM audit_heads WHERE log = $1 AND link = ANY($2::TEXT[])
