-- A user's sessions are the fields of one hash, by their ids. Those opened below a session_version end; and the floor
-- refuses who has looked at the user's row before it changed, and opens a session only now. That takes seconds at most.
local FLOOR_STAYS = 3600

-- args[at]: how many users; then for each the id and the version. Returns the place after them.
local function end_sessions(args, at)
  local last = at + 2 * tonumber(args[at])
  for place = at + 1, last, 2 do
    local key, version = 'millrace:sessions:' .. args[place], tonumber(args[place + 1])
    redis.call('HDEL', key, '') -- a removing write first: what follows is then allowed in a full Redis too
    local sessions = redis.call('HGETALL', key)
    for field = 1, #sessions, 2 do
      if cjson.decode(sessions[field + 1]).version < version then redis.call('HDEL', key, sessions[field]) end
    end
    local floor = 'millrace:sessions:floor:' .. args[place]
    if version > tonumber(redis.call('GET', floor) or 0) then redis.call('SET', floor, version, 'EX', FLOOR_STAYS) end
  end
  return last + 1
end
