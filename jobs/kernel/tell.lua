-- Tell whoever waits for a job that it is final. They are asked of the set of all who are waited for, which is mostly not there.
local any_watched = redis.call('EXISTS', 'millrace:watched') == 1

local function tell(id, key, state)
  if not any_watched or redis.call('SREM', 'millrace:watched', id) == 0 then return end
  for channel in string.gmatch(redis.call('HGET', key, 'notify') or '', '%S+') do
    redis.call('PUBLISH', channel, id .. ' ' .. state)
  end
  redis.call('HDEL', key, 'notify')
end
