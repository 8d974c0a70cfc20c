-- The only way onto a queue: every path that pushes goes through here, so that a wake-up token is always left too.
-- Tokens are capped: more than a fleet of idle workers can use would only cost memory.
local WAKE_CAP = 64

local function wake(queue, count)
  local key = 'millrace:wake:' .. queue
  for _ = redis.call('LLEN', key) + 1, math.min(WAKE_CAP, redis.call('LLEN', key) + count) do
    redis.call('RPUSH', key, '1')
  end
end

local function push(queue, id, front)
  redis.call('SADD', 'rq:queues', 'rq:queue:' .. queue)
  redis.call(front and 'LPUSH' or 'RPUSH', 'rq:queue:' .. queue, id)
  wake(queue, 1)
end
