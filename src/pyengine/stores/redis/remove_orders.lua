-- Forgets orders and takes them out of the index sets, as one step.
-- KEYS: n orders; the sets of buys and of sells.
-- ARGV: n; where in its key an order's id begins; what the key of a user's set begins with.
-- Returns how many there were.
local call, pcall = redis.call, redis.pcall
local n, id_at, user_sets = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local values = call('MGET', unpack(KEYS, 1, n))
local removed = 0
for i = 1, n do
  local key, value = KEYS[i], values[i]
  local id = string.sub(key, id_at)
  if value then
    removed = removed + 1
    local user = string.match(value, '"user_id":"(.-)","symbol":')
    if user then pcall('SREM', user_sets .. user:gsub('\\(.)', '%1'), id) end
  end
  call('DEL', key)
  pcall('SREM', KEYS[n + 1], id)
  pcall('SREM', KEYS[n + 2], id)
end
return removed
