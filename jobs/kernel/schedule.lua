-- Where rq-scheduler keeps what waits for a time: its score is in seconds, rounded up so that nothing runs early.
local SCHEDULED = 'rq:scheduler:scheduled_jobs'

local function schedule(id, due_us)
  redis.call('ZADD', SCHEDULED, string.format('%.3f', math.ceil(due_us / 1000) / 1000), id)
end
