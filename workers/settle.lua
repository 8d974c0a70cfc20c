-- Settle: tell the outcome of each job of a batch, if its lease is still this worker's.
-- ARGV: 1 worker name, 2 seconds a final hash stays, then per job:
--       id, queue, token, verb, state, outcome, ended_at, started_at or '', attempts or '', due in us or '',
--       moment in us or '', data or ''; what is '' stays as it is
-- verb: final | again (an attempt was used up) | snooze (none was) | back (to the front of the queue, nothing counted).
-- Returns how many were settled; a stranger's lease is left alone. A final hash keeps the token: it names the worker.
-- include clock
-- include push
-- include requeue
-- include schedule
local FIELDS = 12
local worker, ttl = ARGV[1], tonumber(ARGV[2])
local RQ = {succeeded = 'finished', rejected = 'finished', failed = 'failed', canceled = 'canceled'}
local settled, good, bad = 0, 0, 0
local counts, removals, registry = {}, {}, {}
redis.call('UNLINK', 'millrace:none') -- a removing write first: what follows is then allowed in a full Redis too
local expiry = digits(math.floor(now_us() / 1000000) + ttl)

local function add(lists, name, value)
  local list = lists[name] or {}
  lists[name] = list
  list[#list + 1] = value
end

local function final(at, key, owner, notify, suspect)
  local id, queue, state = ARGV[at], ARGV[at + 1], ARGV[at + 4]
  local fields = {'state', state, 'status', RQ[state], 'outcome', ARGV[at + 5], 'ended_at', ARGV[at + 6]}
  local function also(name, value)
    if value ~= '' then fields[#fields + 1], fields[#fields + 2] = name, value end
  end
  also('started_at', ARGV[at + 7])
  also('attempts', ARGV[at + 8])
  also('data', ARGV[at + 11])
  redis.call('HSET', key, unpack(fields))
  if notify or suspect then redis.call('HDEL', key, 'notify', 'suspect', 'crashes') end
  redis.call('EXPIRE', key, ttl)
  local final_ones = 'rq:' .. RQ[state] .. ':' .. queue
  add(registry, final_ones, expiry)
  add(registry, final_ones, id)
  if owner then add(removals, 'millrace:jobs:' .. owner, id) end
  counts[queue] = counts[queue] or {}
  counts[queue][state] = (counts[queue][state] or 0) + 1
  if state == 'failed' then bad = bad + 1 else good = good + 1 end
  for channel in string.gmatch(notify or '', '%S+') do redis.call('PUBLISH', channel, id .. ' ' .. state) end
end

local function later(at, key, verb)
  redis.call('HSET', key, 'state', 'scheduled', 'status', 'scheduled', 'due', ARGV[at + 9])
  redis.call('HDEL', key, 'token')
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
  local known = redis.call('HMGET', key, 'token', 'state', 'owner', 'notify', 'suspect')
  if known[1] == token and known[2] == 'running' then
    settled = settled + 1
    if verb == 'back' then
      requeue(queue, id, token)
      redis.call('HINCRBY', key, 'attempts', -1)
    else
      add(removals, 'millrace:leases:' .. queue, id)
      add(removals, 'rq:wip:' .. queue, id .. ':' .. token)
      if verb == 'final' then final(at, key, known[3], known[4], known[5]) else later(at, key, verb) end
    end
  end
end

for name, members in pairs(removals) do
  redis.call('ZREM', name, unpack(members))
  local owner = name:match('^millrace:jobs:(.+)')
  if owner and redis.call('EXISTS', name) == 0 then redis.call('SREM', 'millrace:owners', owner) end
end
for name, members in pairs(registry) do redis.call('ZADD', name, unpack(members)) end
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
