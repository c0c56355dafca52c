-- Stores orders that are new enough and keeps the index sets right, as one step.
-- KEYS: the hash of watermarks; that of instruments; n orders; the sets of buys and of sells; the sets of the users who occur.
-- ARGV: n; milliseconds to live; mode (0 save, 1 only what is there, 2 only what isn't); for each order two bytes for the
--   number of its user's set (0: nobody), low byte first, and one for its side (0: finished); where in its key an order's
--   id begins; what the key of a user's set begins with; journal, after, to, before and behind of the watermark; the n values.
-- Returns how many were stored; or, having done nothing, the refusal of the watermark, or -1 if there is no hash of instruments.
-- Safe to do twice: an order gives way to one of the same or a higher version only.
local call, find, match, sub, byte = redis.call, string.find, string.match, string.sub, string.byte
local n, ttl, mode, links = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
local id_at, user_sets = tonumber(ARGV[5]), ARGV[6]
local journal, after, to, before, behind = unpack(ARGV, 7, 11)
local HEAD, SETS = 11, n + 2

local refusal = watermark_refusal(KEYS[1], journal, after, to, before)
if refusal then return refusal end
if call('TYPE', KEYS[2]).ok ~= 'hash' then return -1 end

-- Versions go up to 2^64, beyond what Lua's numbers tell apart: the longer text is the higher one. A value that nobody here
-- wrote may have none, and gives way to all.
local function version(value)
  local _, at = find(value, 'version":', -130, true)
  return at and match(value, '^%d+', at + 1) or match(value, '"version"%s*:%s*(%d+)') or ''
end

local function is_newer(value, other)
  local a, b = version(value), version(other)
  return #a > #b or (#a == #b and a > b)
end

-- The user of a value: between quotes, where a quote or a backslash of his own has a backslash before it.
local function user(value)
  local name = match(value, '"user_id":"(.-)","symbol":')
  return name and name:gsub('\\(.)', '%1')
end

local joins, leaves = {}, {}
local olds = call('MGET', unpack(KEYS, 3, n + 2))
local stored = 0
for i = 1, n do
  local value, old = ARGV[HEAD + i], olds[i]
  local taken
  if old then taken = mode ~= '2' and not is_newer(old, value) else taken = mode ~= '1' end
  if taken then
    local key = KEYS[i + 2]
    call('SET', key, value, 'PX', ttl)
    stored = stored + 1
    local low, high, side = byte(links, i * 3 - 2, i * 3)
    local id = sub(key, id_at)
    if low > 0 or high > 0 then note(joins, KEYS[SETS + 2 + low + high * 256], id) end
    if side > 0 then note(joins, KEYS[SETS + side], id) end
    if side == 0 then
      note(leaves, KEYS[SETS + 1], id)
      note(leaves, KEYS[SETS + 2], id)
    end
    if old then
      local head = find(value, ',"price":', 1, true)
      if find(old, sub(value, 1, head), 1, true) ~= 1 then
        if side > 0 then note(leaves, KEYS[SETS + 3 - side], id) end
        local before = user(old)
        if before and before ~= user(value) then note(leaves, user_sets .. before, id) end
      end
    end
  end
end

local refused = change_sets('SADD', joins, ttl) or change_sets('SREM', leaves)
if refused then return refused end
move_watermark(KEYS[1], journal, to, behind)
return stored
