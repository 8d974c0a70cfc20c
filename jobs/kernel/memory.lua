-- How much of its memory Redis uses, in whole percent; 0 where it has no bound. To ask for it costs more than a submit, so
-- the answer is kept for a quarter of a second.
local function memory_percent()
  local known = redis.call('GET', 'millrace:memory')
  if not known then
    local info = redis.call('INFO', 'memory')
    local used, max = tonumber(info:match('used_memory:(%d+)')), tonumber(info:match('maxmemory:(%d+)'))
    known = max > 0 and math.ceil(used * 100 / max) or 0
    redis.call('SET', 'millrace:memory', known, 'PX', 250)
  end
  return tonumber(known) or 0
end
