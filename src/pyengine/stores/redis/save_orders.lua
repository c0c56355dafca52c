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

local function is_older(value, other)
  local a, b = version(value), version(other)
  return #a < #b or (#a == #b and a < b), a == b
end

-- Whether a value that was there is of an open order with the same id, user, symbol, type and side, and so in the same sets.
local function stays_in_sets(old, value)
  if find(old, sub(value, 1, find(value, ',"price":', 1, true)), 1, true) ~= 1 then return false end
  local _, at = find(old, '"status":', -200, true)
  local status, behind = byte(old, (at or 0) + 1, (at or 0) + 2)
  return (status == 49 or status == 50) and behind == 44
end

-- The user of a value: between quotes, where a quote or a backslash of his own has a backslash before it.
local function user(value)
  local name = match(value, '"user_id":"(.-)","symbol":')
  return name and name:gsub('\\(.)', '%1')
end

-- An order that changes is in its sets already: `stays` has their numbers, `staying` those of the orders. One of the same version may
-- come a second time because the first time its sets failed.
local joins, leaves, stays, staying = {}, {}, {}, {}
local olds = call('MGET', unpack(KEYS, 3, n + 2))
local stored = 0
for i = 1, n do
  local value, old = ARGV[HEAD + i], olds[i]
  local changes, again = false, false
  if old and mode ~= '2' then changes, again = is_older(old, value) end
  if changes or again or (not old and mode ~= '1') then
    local key = KEYS[i + 2]
    call('SET', key, value, 'PX', ttl)
    stored = stored + 1
    local low, high, side = byte(links, i * 3 - 2, i * 3)
    local owner = low + high * 256
    local id = sub(key, id_at)
    if changes and side > 0 and stays_in_sets(old, value) then
      stays[SETS + side] = true
      if owner > 0 then stays[SETS + 2 + owner] = true end
      staying[#staying + 1] = i
    else
      if owner > 0 then note(joins, KEYS[SETS + 2 + owner], id) end
      if side > 0 then
        note(joins, KEYS[SETS + side], id)
      else
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
end

-- A set that was evicted or overwritten gets back those who stay.
local lost = {}
for number in pairs(stays) do
  if call('TYPE', KEYS[number]).ok == 'set' then
    call('PEXPIRE', KEYS[number], ttl)
  else
    lost[number] = true
  end
end
if next(lost) then
  for _, i in ipairs(staying) do
    local low, high, side = byte(links, i * 3 - 2, i * 3)
    local owner, id = low + high * 256, sub(KEYS[i + 2], id_at)
    if lost[SETS + side] then note(joins, KEYS[SETS + side], id) end
    if owner > 0 and lost[SETS + 2 + owner] then note(joins, KEYS[SETS + 2 + owner], id) end
  end
end

local refused = change_sets('SADD', joins, ttl) or change_sets('SREM', leaves)
if refused then return refused end
move_watermark(KEYS[1], journal, to, behind)
return stored
