-- Puts trades that came late in their places, if nothing has changed since the caller looked.
-- KEYS: the sorted set; the hash of instruments; the other name of the set; the hash of watermarks.
-- ARGV: journal, after, to, before and behind of the watermark; how many trades are kept; how many members the caller saw, from
--   the newest down; SHA-1 of those with their scores; how many foreign members follow, which go; those; then a score and a
--   member for each trade, new or moved.
-- Returns 0; or, having done nothing, the refusal of the watermark, -1 if there is no hash of instruments, -2 if something has
--   changed.
local call = redis.call
local journal, after, to, before, behind = unpack(ARGV, 1, 5)
local kept, seen, foreign = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[9])
local refusal = watermark_refusal(KEYS[4], journal, after, to, before)
if refusal then return refusal end
if call('TYPE', KEYS[2]).ok ~= 'hash' then return -1 end
if call('TYPE', KEYS[1]).ok ~= 'zset' then return -2 end
local members = call('ZRANGE', KEYS[1], -seen, -1, 'WITHSCORES')
if redis.sha1hex(table.concat(members, '\n')) ~= ARGV[8] then return -2 end
for at = 10, 9 + foreign do call('ZREM', KEYS[1], ARGV[at]) end
for at = 10 + foreign, #ARGV, 4000 do
  call('ZADD', KEYS[1], unpack(ARGV, at, math.min(at + 3999, #ARGV)))
end
call('ZREMRANGEBYRANK', KEYS[1], 0, -(kept + 1))
move_watermark(KEYS[4], journal, to, behind)
return 0
