-- Adds trades that are all newer than what is there.
-- KEYS: the sorted set; the hash of instruments.
-- ARGV: how many trades are kept; the member that the caller takes for the newest; then a score and a member for each trade.
-- Returns how many were new; or, having done nothing, -1 if there is no hash of instruments, or -2 if another one is the
--   newest: only who knows the newest gives trades scores above its own.
local call = redis.call
local kept, expected = tonumber(ARGV[1]), ARGV[2]
if call('TYPE', KEYS[2]).ok ~= 'hash' then return -1 end
local kind = call('TYPE', KEYS[1]).ok
if kind ~= 'zset' and kind ~= 'none' then call('DEL', KEYS[1]) end
local newest = call('ZRANGE', KEYS[1], -1, -1)[1]
if newest and newest ~= expected then return -2 end
local added = 0
for at = 3, #ARGV, 4000 do
  added = added + call('ZADD', KEYS[1], 'NX', unpack(ARGV, at, math.min(at + 3999, #ARGV)))
end
call('ZREMRANGEBYRANK', KEYS[1], 0, -(kept + 1))
return added
