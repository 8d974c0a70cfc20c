-- Settle: tell the outcome of each job of a batch, if its lease is still this worker's.
-- ARGV: 1 worker name, 2 seconds a final hash stays, then per job:
--       id, queue, token, verb, state, outcome, ended_at, started_at, attempts, due in us or '', moment in us or '', data or ''
-- verb: final | again (an attempt was used up) | snooze (none was) | back (to the front of the queue, nothing counted).
-- Returns how many were settled; a stranger's lease is left alone.
-- include clock
-- include push
-- include requeue
-- include schedule
local FIELDS = 12
local worker, ttl = ARGV[1], tonumber(ARGV[2])
local now = now_us()
local RQ = {succeeded = 'finished', rejected = 'finished', failed = 'failed', canceled = 'canceled'}
local counts, settled, good, bad = {}, 0, 0, 0

local function forget(owner, id)
  if not owner then return end
  local index = 'millrace:jobs:' .. owner
  redis.call('ZREM', index, id)
  if redis.call('EXISTS', index) == 0 then redis.call('SREM', 'millrace:owners', owner) end
end

local function final(at, key)
  local id, queue, state = ARGV[at], ARGV[at + 1], ARGV[at + 4]
  local known = redis.call('HMGET', key, 'owner', 'notify')
  redis.call('HSET', key, 'state', state, 'status', RQ[state], 'outcome', ARGV[at + 5], 'ended_at', ARGV[at + 6],
    'started_at', ARGV[at + 7], 'attempts', ARGV[at + 8])
  if ARGV[at + 11] ~= '' then redis.call('HSET', key, 'data', ARGV[at + 11]) end
  redis.call('HDEL', key, 'notify', 'suspect', 'crashes')
  redis.call('EXPIRE', key, ttl)
  redis.call('ZADD', 'rq:' .. RQ[state] .. ':' .. queue, math.floor(now / 1000000) + ttl, id)
  forget(known[1], id)
  counts[queue] = counts[queue] or {}
  counts[queue][state] = (counts[queue][state] or 0) + 1
  if state == 'failed' then bad = bad + 1 else good = good + 1 end
  for channel in string.gmatch(known[2] or '', '%S+') do redis.call('PUBLISH', channel, id .. ' ' .. state) end
end

local function later(at, key, verb)
  redis.call('HSET', key, 'state', 'scheduled', 'status', 'scheduled', 'due', ARGV[at + 9])
  if verb == 'snooze' then redis.call('HINCRBY', key, 'attempts', -1) end
  if ARGV[at + 10] ~= '' then
    redis.call('HSET', key, 'moment', ARGV[at + 10])
    redis.call('HINCRBY', key, 'waits', 1)
  end
  schedule(ARGV[at], tonumber(ARGV[at + 9]))
end


for at = 3, #ARGV, FIELDS do
  local id, queue, token, verb = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local key = 'rq:job:' .. id
  redis.call('ZREM', 'rq:wip:' .. queue, id .. ':' .. token)
  if redis.call('HGET', key, 'token') == token then
    settled = settled + 1
    if verb == 'back' then
      requeue(queue, id, token)
      redis.call('HINCRBY', key, 'attempts', -1)
    else
      redis.call('ZREM', 'millrace:leases:' .. queue, id)
      redis.call('HDEL', key, 'token', 'worker_name', 'group')
      if verb == 'final' then final(at, key) else later(at, key, verb) end
    end
  end
end

for queue, states in pairs(counts) do
  for state, count in pairs(states) do redis.call('HINCRBY', 'millrace:stats:' .. queue, state, count) end
end
local registered = 'rq:worker:' .. worker
if redis.call('EXISTS', registered) == 1 then
  redis.call('HSET', registered, 'state', 'idle')
  redis.call('HINCRBY', registered, 'successful_job_count', good)
  redis.call('HINCRBY', registered, 'failed_job_count', bad)
end
return settled
