-- name: get
SELECT seq FROM watermarks WHERE store = ? AND journal = ?

-- name: move
INSERT INTO watermarks (store, journal, seq) VALUES (?, ?, ?)
ON CONFLICT (store, journal) DO UPDATE SET seq = excluded.seq, updated_at = excluded.updated_at

-- name: forget_all
DELETE FROM watermarks WHERE store = ?

-- name: forget
DELETE FROM watermarks WHERE store = ? AND journal = ?
