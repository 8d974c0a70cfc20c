-- Queues: how each stands, all at one moment, however long they are. KEYS: none.
-- ARGV: 1 how many final states there are, then these, then the queues.
-- Returns {now in us, how many jobs wait for a time, then per queue {1 where it is paused or 0, leases, per lane {jobs,
-- created_at and due of the first that waits}, jobs by final state: in the last full minute, and ever}}
-- include clock
-- include lanes
local LOOKS = 100 -- at the head of a lane, past ids that workers will pass over as well
local states, first = {}, 2 + tonumber(ARGV[1])
for at = 2, first - 1 do states[#states + 1] = ARGV[at] end
local now = now_us()

local function head(lane)
  for _, id in ipairs(redis.call('LRANGE', lane, 0, LOOKS - 1)) do
    local found = redis.pcall('HMGET', 'rq:job:' .. id, 'state', 'status', 'created_at', 'due')
    if (found[1] or found[2]) == 'queued' then return found[3], found[4] end
  end
end

local function counted(keys)
  local sums = {}
  for at in ipairs(states) do sums[at] = 0 end
  for _, key in ipairs(keys) do
    for at, count in ipairs(redis.call('HMGET', key, unpack(states))) do sums[at] = sums[at] + (tonumber(count) or 0) end
  end
  return sums
end

local function last_minute(queue)
  local keys, bucket = {}, math.floor(now / 10000000)
  for back = 1, 6 do keys[back] = 'millrace:rate:' .. queue .. ':' .. string.format('%.0f', bucket - back) end
  return keys
end

local reply = {digits(now), redis.call('ZCARD', 'rq:scheduler:scheduled_jobs')}
for at = first, #ARGV do
  local queue, waiting = ARGV[at], {}
  for place, lane in ipairs(LANES) do
    local key = 'rq:queue:' .. queue .. lane
    local created, due = head(key)
    waiting[place] = {redis.call('LLEN', key), created or '', due or ''}
  end
  reply[#reply + 1] = {redis.call('SISMEMBER', 'millrace:paused', queue), redis.call('ZCARD', 'millrace:leases:' .. queue),
    waiting, counted(last_minute(queue)), counted({'millrace:stats:' .. queue})}
end
return reply
