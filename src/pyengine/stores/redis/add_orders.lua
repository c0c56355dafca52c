-- The two ends of a transaction that adds orders of which there is none yet. Between them a plain MSETNX sets the values, and one
-- key more: through a script, each value would cost the server twice as much.
-- KEYS: the hash of watermarks; that of instruments; the key more. At the end also the n orders, and the sets as for save_orders.
-- ARGV: 'begin' or 'end'; journal, after, to, before and behind of the watermark. At the end also n; milliseconds to live; the
--   orders' sets as for save_orders; where in its key an order's id begins.
-- Returns at the beginning 0; or, having seen to it that the MSETNX does nothing, the refusal of the watermark, or -1 if there is no
--   hash of instruments. At the end how many were added: n; or -2, having done nothing, if the MSETNX did nothing.
local call, sub, byte = redis.call, string.sub, string.byte
local journal, after, to, before, behind = unpack(ARGV, 2, 6)

if ARGV[1] == 'begin' then
  local refusal = watermark_refusal(KEYS[1], journal, after, to, before)
  if not refusal and call('TYPE', KEYS[2]).ok ~= 'hash' then refusal = -1 end
  if refusal then call('SET', KEYS[3], 'refused') else call('DEL', KEYS[3]) end
  return refusal or 0
end

local added = call('GET', KEYS[3]) == 'added'
call('DEL', KEYS[3])
if not added then return -2 end

local n, ttl, links, id_at = tonumber(ARGV[7]), ARGV[8], ARGV[9], tonumber(ARGV[10])
local SETS = n + 3
local joins, leaves = {}, {}
for i = 1, n do
  local key = KEYS[i + 3]
  call('PEXPIRE', key, ttl)
  local low, high, side = byte(links, i * 3 - 2, i * 3)
  local id = sub(key, id_at)
  if low > 0 or high > 0 then note(joins, KEYS[SETS + 2 + low + high * 256], id) end
  if side > 0 then
    note(joins, KEYS[SETS + side], id)
  else
    -- An order of this id may have been there before, and have outlived its time.
    note(leaves, KEYS[SETS + 1], id)
    note(leaves, KEYS[SETS + 2], id)
  end
end
local refused = change_sets('SADD', joins, ttl) or change_sets('SREM', leaves)
if refused then return refused end
move_watermark(KEYS[1], journal, to, behind)
return n
