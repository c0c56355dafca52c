-- In front of the scripts that write: the watermark, a hash of journals and how far in each the store has got.
-- A batch may come in several calls. Each but the last leaves a token behind it that the next one must find, so that the last one
-- moves the watermark only if all before it went through, and nobody has wiped the server between them.
-- journal: '' for none; after: where the watermark must be, '' for nowhere; to: where it goes; before: the token that must be
--   there, '' in a first call; behind: the token to leave, '' in a last one.

-- Returns nil; or -3 if it is at `to` already, the text of where else it is, or -2 if the token isn't there.
local function watermark_refusal(hash, journal, after, to, before)
  if journal == '' then return nil end
  local found = redis.pcall('HMGET', hash, journal, 'batch:' .. journal)
  if found.err then found = {false, false} end
  local at = found[1] or ''
  if not (at == '0' or string.match(at, '^[1-9]%d*$')) then at = '' end
  if at ~= after then return at == to and -3 or at end
  if before ~= '' and found[2] ~= before then return -2 end
  return nil
end

local function move_watermark(hash, journal, to, behind)
  if journal == '' then return end
  -- A key of ours that holds something else gives way.
  if redis.call('TYPE', hash).ok ~= 'hash' then redis.call('DEL', hash) end
  if behind ~= '' then
    redis.call('HSET', hash, 'batch:' .. journal, behind)
  else
    redis.call('HDEL', hash, 'batch:' .. journal)
    redis.call('HSET', hash, journal, to)
  end
end
