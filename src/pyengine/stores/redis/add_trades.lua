-- The two ends of a transaction that adds trades. Between them a plain ZADD adds to the set under another name: through a
-- script, each trade would cost half as much again.
-- KEYS: the sorted set; the hash of instruments; the other name; the hash of watermarks.
-- ARGV: 'begin' and the member that the caller takes for the newest, or 'end' and how many trades are kept; the last member that
--   the ZADD adds; journal, after, to, before and behind of the watermark.
-- Returns 0; or, having seen to it that the ZADD fails, the refusal of the watermark, -1 if there is no hash of instruments, or
--   -2 if another member is the newest: only who knows the newest gives trades scores above its own.
local call = redis.call
local set, instruments, aside = KEYS[1], KEYS[2], KEYS[3]
local last, journal, after, to, before, behind = unpack(ARGV, 3, 8)

if ARGV[1] == 'begin' then
  local refusal = watermark_refusal(KEYS[4], journal, after, to, before)
  local newest = call('TYPE', set).ok == 'zset' and call('ZRANGE', set, -1, -1)[1]
  if not refusal then
    if newest and newest ~= ARGV[2] then refusal = -2 end
    if call('TYPE', instruments).ok ~= 'hash' then refusal = refusal or -1 end
  end
  if refusal then
    call('SET', aside, 'no sorted set')
  elseif newest then
    call('RENAME', set, aside)
  else
    call('DEL', set, aside)
  end
  return refusal or 0
end

-- If the set is still there, the beginning failed, and what was added is nothing to put in its place.
if call('TYPE', aside).ok == 'zset' and call('EXISTS', set) == 0 then
  -- The ZADD may have failed by itself, with the memory full.
  local added = call('ZSCORE', aside, last)
  call('ZREMRANGEBYRANK', aside, 0, -(tonumber(ARGV[2]) + 1))
  call('RENAME', aside, set)
  if added then move_watermark(KEYS[4], journal, to, behind) end
else
  call('DEL', aside)
end
return 0
