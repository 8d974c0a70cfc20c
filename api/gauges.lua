-- How queues, their workers and what is scheduled stand now. KEYS: none. ARGV: queues.
-- Returns {now in us, jobs scheduled, how many of them are due, 1 where a scheduler acts, then per queue:
--   {leases, 1 where it is paused, {when each of its workers was last heard of}, per lane: {depth, of its first job:
--   created_at, due in us, run}}}.
-- include clock
-- include lanes
local SCHEDULED = 'rq:scheduler:scheduled_jobs'
local now = now_us()
local found = {digits(now), redis.call('ZCARD', SCHEDULED),
  redis.call('ZCOUNT', SCHEDULED, '-inf', string.format('%.3f', now / 1000000)), redis.call('EXISTS', 'rq:scheduler_lock')}

local heard = {}
local function last_heard(worker)
  if heard[worker] == nil then
    local said = redis.call('HMGET', worker, 'last_heartbeat', 'death')
    heard[worker] = said[1] and not said[2] and said[1]
  end
  return heard[worker]
end

for _, queue in ipairs(ARGV) do
  local workers = {}
  for _, worker in ipairs(redis.call('SMEMBERS', 'rq:workers:' .. queue)) do
    workers[#workers + 1] = last_heard(worker) or nil
  end
  local row = {redis.call('ZCARD', 'millrace:leases:' .. queue), redis.call('SISMEMBER', 'millrace:paused', queue), workers}
  for _, lane in ipairs(LANES) do
    local jobs = 'rq:queue:' .. queue .. lane
    local first = redis.call('LINDEX', jobs, 0)
    local told = first and redis.call('HMGET', 'rq:job:' .. first, 'created_at', 'due', 'run') or {false, false, false}
    row[#row + 1] = {redis.call('LLEN', jobs), told[1], told[2], told[3]}
  end
  found[#found + 1] = row
end
return found
