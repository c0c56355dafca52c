-- Puts trades that came late in their places, if nothing has changed since the caller looked.
-- KEYS: the sorted set; the hash of instruments.
-- ARGV: how many trades are kept; how many members the caller saw, from the newest down; SHA-1 of those with their scores;
--   how many foreign members follow, which go; those; then a score and a member for each trade, new or moved.
-- Returns 0; or, having done nothing, -1 if there is no hash of instruments, -2 if something has changed.
local call = redis.call
local kept, seen, foreign = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[4])
if call('TYPE', KEYS[2]).ok ~= 'hash' then return -1 end
if call('TYPE', KEYS[1]).ok ~= 'zset' then return -2 end
local members = call('ZRANGE', KEYS[1], -seen, -1, 'WITHSCORES')
if redis.sha1hex(table.concat(members, '\n')) ~= ARGV[3] then return -2 end
for at = 5, 4 + foreign do call('ZREM', KEYS[1], ARGV[at]) end
for at = 5 + foreign, #ARGV, 4000 do
  call('ZADD', KEYS[1], unpack(ARGV, at, math.min(at + 3999, #ARGV)))
end
call('ZREMRANGEBYRANK', KEYS[1], 0, -(kept + 1))
return 0
