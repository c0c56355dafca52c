-- Takes ids out of an index set unless their orders belong in it.
-- KEYS: the set.
-- ARGV: what the key of an order begins with; two texts of which a value has to contain the first, and a third or fourth of
--   which it has to contain one (an empty text is in every value); the ids.
-- Returns how many were taken out.
local find = string.find
local gone = {}
for i = 5, #ARGV do
  local value = redis.pcall('GET', ARGV[1] .. ARGV[i])
  local stays = type(value) == 'string' and find(value, ARGV[2], 1, true)
    and (find(value, ARGV[3], 1, true) or find(value, ARGV[4], 1, true))
  if not stays then gone[#gone + 1] = ARGV[i] end
end
if #gone == 0 then return 0 end
return redis.call('SREM', KEYS[1], unpack(gone))
