-- In front of the scripts that change index sets: ids are noted by the key of their set, and then added or taken out all at once.

local function note(list, key, id)
  local ids = list[key]
  if ids then ids[#ids + 1] = id else list[key] = {id} end
end

-- `ttl` is for how many milliseconds a set lives from now on, nil to leave that as it is. Returns what Redis refused with, or nil.
local function change_sets(command, list, ttl)
  for key, ids in pairs(list) do
    local reply = redis.pcall(command, key, unpack(ids))
    -- A key of ours that holds something else gives way.
    if type(reply) == 'table' and reply.err and string.find(reply.err, 'WRONGTYPE', 1, true) then
      redis.call('DEL', key)
      reply = redis.pcall(command, key, unpack(ids))
    end
    if type(reply) == 'table' and reply.err then return reply end
    if ttl then redis.call('PEXPIRE', key, ttl) end
  end
end
