-- name: lock
SELECT pg_advisory_xact_lock(7308324465869316)

-- name: no_timeout
SET LOCAL statement_timeout = 0

-- A look into a table of the catalogue takes notice of what others have committed; to_regclass alone may remember, from before
-- the wait for the lock, that there was no such table.

-- name: journal_exists
SELECT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass('schema_migrations'))

-- name: create_journal
CREATE TABLE IF NOT EXISTS schema_migrations (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL DEFAULT now()
)

-- name: version
SELECT COALESCE(max(version), 0)::INTEGER FROM schema_migrations

-- name: record
INSERT INTO schema_migrations (version, name) VALUES ($1, $2)

-- name: columns
SELECT attrelid::regclass::text, attname::text, format_type(atttypid, NULL)
FROM pg_attribute
WHERE attrelid IN (to_regclass('orders'), to_regclass('trades')) AND attnum > 0 AND NOT attisdropped
