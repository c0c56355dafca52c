-- name: server
SELECT
    current_setting('server_version') AS version,
    current_user::TEXT AS login,
    current_setting('transaction_read_only')::BOOLEAN AS read_only,
    current_setting('max_connections')::INTEGER - current_setting('superuser_reserved_connections')::INTEGER AS connections

-- name: lacking
SELECT privilege || ' on ' || name
FROM unnest(ARRAY['orders', 'trades', 'instruments', 'watermarks']) AS name, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
WHERE to_regclass(name) IS NOT NULL AND NOT has_table_privilege(to_regclass(name), privilege)
ORDER BY name, privilege

-- name: may_create
SELECT has_schema_privilege(current_schema(), 'CREATE')

-- name: nothing
SELECT 1
