-- The only way onto a queue: every path that pushes goes through here, so that a wake-up token is always left too.
-- Tokens are capped: more than a fleet of idle workers can use would only cost memory.
-- include lanes
local WAKE_CAP = 64

local function wake(queue, count)
  local key = 'millrace:wake:' .. queue
  local there = redis.call('LLEN', key)
  for _ = there + 1, math.min(WAKE_CAP, there + count) do redis.call('RPUSH', key, '1') end
end

-- At most a few thousand ids: Lua unpacks no more. RQ's list of queues is told of a queue that was empty; RQ takes a
-- queue off it only together with its jobs.
local function push_all(lane, ids, front)
  local length = redis.call(front and 'LPUSH' or 'RPUSH', 'rq:queue:' .. lane, unpack(ids))
  if length == #ids then redis.call('SADD', 'rq:queues', 'rq:queue:' .. lane) end
  wake(queue_of(lane), #ids)
end

local function push(lane, id, front)
  push_all(lane, {id}, front)
end
