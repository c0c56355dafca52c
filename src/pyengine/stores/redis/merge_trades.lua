-- Puts trades that came late in their places, if nothing has changed since the caller looked.
-- KEYS: the sorted set; the hash of instruments.
-- ARGV: how many trades are kept; the newest member that the caller saw; how many members it saw; how many foreign members
--   follow, which go; those; then a score and a member for each trade, new or moved.
-- Returns 0; or, having done nothing, -1 if there is no hash of instruments, -2 if something has changed.
local call = redis.call
local kept, expected, count, foreign = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
if call('TYPE', KEYS[2]).ok ~= 'hash' then return -1 end
if call('TYPE', KEYS[1]).ok ~= 'zset' or call('ZCARD', KEYS[1]) ~= count then return -2 end
if call('ZRANGE', KEYS[1], -1, -1)[1] ~= expected then return -2 end
for at = 5, 4 + foreign do call('ZREM', KEYS[1], ARGV[at]) end
for at = 5 + foreign, #ARGV, 4000 do
  call('ZADD', KEYS[1], unpack(ARGV, at, math.min(at + 3999, #ARGV)))
end
call('ZREMRANGEBYRANK', KEYS[1], 0, -(kept + 1))
return 0
