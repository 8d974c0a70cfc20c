-- Reap: put jobs whose lease has expired back at the front of their queue.
-- ARGV: 1 lease in ms, 2 most jobs, then the queues. Returns how many were put back.
-- After a restart of Redis nobody could send heartbeats: reapers wait one full lease, and leases taken before count as
-- no crash. (A worker that could not reach a Redis that others could abstains by itself.) Otherwise the members of a
-- crashed batch are suspects: they run in halves, then alone, and only a death while alone counts.
-- include clock
-- include push
-- include requeue
local lease_ms, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local now = math.floor(now_us() / 1000)
redis.call('UNLINK', 'millrace:none') -- a removing write first: what follows is then allowed in a full Redis too
local run_id = redis.call('INFO', 'server'):match('run_id:(%w+)')
local known = redis.call('HMGET', 'millrace:reaper', 'run_id', 'grace_until')
if known[1] ~= run_id then
  redis.call('HSET', 'millrace:reaper', 'run_id', run_id, 'grace_until', digits(now + lease_ms))
  return 0
end
if now < tonumber(known[2]) then return 0 end

local function suspect(key, token)
  local group = tonumber(token:match(':(%d+)$')) or 1
  if group > 1 then
    redis.call('HSET', key, 'suspect', math.ceil(group / 2))
  else
    redis.call('HSET', key, 'suspect', 1)
    redis.call('HINCRBY', key, 'crashes', 1)
  end
end

local reaped = 0
for i = 3, #ARGV do
  local queue, before = ARGV[i], reaped
  local leases = 'millrace:leases:' .. queue
  local expired = redis.call('ZREVRANGEBYSCORE', leases, digits(now), '-inf', 'WITHSCORES', 'LIMIT', 0, most)
  for at = 1, #expired, 2 do
    local id, key = expired[at], 'rq:job:' .. expired[at]
    local token = redis.call('HGET', key, 'token')
    if token then
      redis.call('HSET', key, 'in_doubt', 1) -- its worker may have committed
      if tonumber(expired[at + 1]) > tonumber(known[2]) then suspect(key, token) end
      requeue(queue, id, token)
      reaped = reaped + 1
    else
      redis.call('ZREM', leases, id)
    end
  end
  if reaped > before then redis.call('HINCRBY', 'millrace:meters', 'reaped|' .. queue, reaped - before) end
  for _, registry in ipairs({'rq:finished:', 'rq:failed:', 'rq:canceled:'}) do
    redis.call('ZREMRANGEBYSCORE', registry .. queue, '-inf', math.floor(now / 1000))
  end
end
return reaped
