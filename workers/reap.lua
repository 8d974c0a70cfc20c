-- Reap: put jobs whose lease has expired back at the front of their queue.
-- ARGV: 1 lease in ms, 2 '1' when this worker could not reach Redis since its last call, 3 most jobs, then the queues.
-- Returns how many were put back.
-- After a gap (Redis was restarted, or out of reach) nobody could send heartbeats: the reaper waits one full lease,
-- and leases taken before its end count as no crash: whoever took them may not even have heard of it. Otherwise the members of a crashed batch are suspects: they
-- run in halves, then alone, and only a death while alone counts.
-- include clock
-- include push
local lease_ms, gap, most = tonumber(ARGV[1]), ARGV[2] == '1', tonumber(ARGV[3])
local now = math.floor(now_us() / 1000)
redis.call('UNLINK', 'millrace:none') -- a removing write first: what follows is then allowed in a full Redis too
local run_id = redis.call('INFO', 'server'):match('run_id:(%w+)')
local known = redis.call('HMGET', 'millrace:reaper', 'run_id', 'grace_until')
if gap or known[1] ~= run_id then
  redis.call('HSET', 'millrace:reaper', 'run_id', run_id, 'grace_until', digits(now + lease_ms))
  return 0
end
if now < tonumber(known[2]) then return 0 end

local function suspect(key)
  local group = tonumber(redis.call('HGET', key, 'group') or '1') or 1
  if group > 1 then
    redis.call('HSET', key, 'suspect', math.ceil(group / 2))
  else
    redis.call('HSET', key, 'suspect', 1)
    redis.call('HINCRBY', key, 'crashes', 1)
  end
end

local reaped = 0
for i = 4, #ARGV do
  local queue = ARGV[i]
  local leases = 'millrace:leases:' .. queue
  local expired = redis.call('ZREVRANGEBYSCORE', leases, digits(now), '-inf', 'WITHSCORES', 'LIMIT', 0, most)
  for at = 1, #expired, 2 do
    local id, key = expired[at], 'rq:job:' .. expired[at]
    redis.call('ZREM', leases, id)
    local token = redis.call('HGET', key, 'token')
    if token then
      redis.call('ZREM', 'rq:wip:' .. queue, id .. ':' .. token)
      if tonumber(expired[at + 1]) > tonumber(known[2]) then suspect(key) end
      redis.call('HDEL', key, 'token', 'worker_name', 'group')
      redis.call('HSET', key, 'state', 'queued', 'status', 'queued')
      push(queue, id, true)
      reaped = reaped + 1
    end
  end
  for _, registry in ipairs({'rq:finished:', 'rq:failed:', 'rq:canceled:'}) do
    redis.call('ZREMRANGEBYSCORE', registry .. queue, '-inf', math.floor(now / 1000))
  end
end
return reaped
