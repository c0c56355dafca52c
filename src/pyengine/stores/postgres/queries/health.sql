-- name: server
SELECT
    current_setting('server_version') AS version,
    current_user::TEXT AS login,
    current_setting('transaction_read_only')::BOOLEAN AS read_only,
    current_setting('max_connections')::INTEGER - current_setting('superuser_reserved_connections')::INTEGER AS connections

-- name: lacking
SELECT privilege || ' on ' || name
FROM
    unnest(ARRAY['orders', 'trades', 'instruments', 'watermarks', 'audit_heads']) AS name,
    unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
WHERE to_regclass(name) IS NOT NULL AND NOT has_table_privilege(to_regclass(name), privilege)
    -- A user who can't take heads away is no fault.
    AND (name <> 'audit_heads' OR privilege IN ('SELECT', 'INSERT'))
ORDER BY name, privilege

-- name: may_create
SELECT has_schema_privilege(current_schema(), 'CREATE')

-- name: nothing
SELECT 1
