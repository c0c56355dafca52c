-- The two ends of a transaction that adds trades. Between them a plain ZADD adds to the set under another name: through a
-- script, each trade would cost half as much again.
-- KEYS: the sorted set; the hash of instruments; the other name.
-- ARGV: 'begin' and the member that the caller takes for the newest, or 'end' and how many trades are kept.
-- Returns 0; or, having seen to it that the ZADD fails, -1 if there is no hash of instruments, or -2 if another member is the
--   newest: only who knows the newest gives trades scores above its own.
local call = redis.call
local set, instruments, aside = KEYS[1], KEYS[2], KEYS[3]

if ARGV[1] == 'begin' then
  local refusal = call('TYPE', instruments).ok ~= 'hash' and -1 or 0
  local newest = call('TYPE', set).ok == 'zset' and call('ZRANGE', set, -1, -1)[1]
  if newest and newest ~= ARGV[2] then refusal = -2 end
  if refusal < 0 then
    call('SET', aside, 'no sorted set')
  elseif newest then
    call('RENAME', set, aside)
  else
    call('DEL', set, aside)
  end
  return refusal
end

-- If the set is still there, the beginning failed, and what was added is nothing to put in its place.
if call('TYPE', aside).ok == 'zset' and call('EXISTS', set) == 0 then
  call('ZREMRANGEBYRANK', aside, 0, -(tonumber(ARGV[2]) + 1))
  call('RENAME', aside, set)
else
  call('DEL', aside)
end
return 0
