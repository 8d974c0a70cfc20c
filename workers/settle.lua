-- Settle: tell the outcome of each job of a batch, if its lease is still this worker's.
-- ARGV: 1 worker name, 2 seconds a final hash stays, 3 how many users' sessions end, for each: id and session_version,
--       then seconds that a replica may lag, how many scopes reads have to drop, the hash of each, then per job:
--       id, queue, token, verb, owner or '', 'suspect' or '', state, ended_at, due in us, moment in us or '', kind
-- verb: final | again (an attempt was used up) | snooze (none was) | back (to the front of the queue, nothing counted) |
--       doubt (the same, of what may have been committed).
-- Returns how many were settled; a stranger's lease is left alone. The outcome itself stands in the receipt; a final
-- hash is there to be found for a while, small, and keeps its token, which names the worker. A failed one keeps its data.
-- include clock
-- include push
-- include requeue
-- include schedule
-- include sessions_end
-- include drop
-- include tell
local FIELDS = 11
local worker, ttl = ARGV[1], tonumber(ARGV[2])
local RQ = {succeeded = 'finished', rejected = 'finished', failed = 'failed', canceled = 'canceled'}
local settled, good, bad = 0, 0, 0
local counts, removals, registry, meters = {}, {}, {}, {}
redis.call('UNLINK', 'millrace:none') -- a removing write first: what follows is then allowed in a full Redis too
local now = math.floor(now_us() / 1000000)
local expiry = digits(now + ttl)

local function add(lists, name, value)
  local list = lists[name] or {}
  lists[name] = list
  list[#list + 1] = value
end

local function count(meter)
  meters[meter] = (meters[meter] or 0) + 1
end

local function final(at, key)
  local id, queue, owner, state = ARGV[at], ARGV[at + 1], ARGV[at + 4], ARGV[at + 6]
  if state == 'failed' then
    redis.call('HSET', key, 'state', state, 'status', RQ[state], 'ended_at', ARGV[at + 7])
  else
    redis.call('HSET', key, 'state', state, 'status', RQ[state], 'ended_at', ARGV[at + 7], 'data', '')
  end
  if ARGV[at + 5] ~= '' then redis.call('HDEL', key, 'suspect', 'crashes') end
  if state == 'canceled' then redis.call('HDEL', key, 'cancel') end
  redis.call('EXPIRE', key, ttl)
  local final_ones = 'rq:' .. RQ[state] .. ':' .. queue
  add(registry, final_ones, expiry)
  add(registry, final_ones, id)
  if owner ~= '' then add(removals, 'millrace:jobs:' .. owner, id) end
  counts[queue] = counts[queue] or {}
  counts[queue][state] = (counts[queue][state] or 0) + 1
  count('outcomes|' .. ARGV[at + 10] .. '|' .. state)
  if state == 'failed' then bad = bad + 1 else good = good + 1 end
  tell(id, key, state)
end

-- One that somebody has asked to cancel meanwhile does not wait for its time: the next worker that has it answers.
local function later(at, key, verb)
  local known = redis.call('HMGET', key, 'cancel', 'origin')
  local state = known[1] and known[2] and 'queued' or 'scheduled'
  redis.call('HSET', key, 'state', state, 'status', state, 'due', ARGV[at + 8])
  redis.call('HDEL', key, 'token', 'in_doubt')
  redis.call('HINCRBY', key, 'moves', 1)
  count((verb == 'snooze' and 'snoozes|' or 'retries|') .. ARGV[at + 10])
  if ARGV[at + 5] ~= '' then redis.call('HDEL', key, 'suspect') end -- it came to an end, and its worker lives
  if verb == 'snooze' then redis.call('HINCRBY', key, 'attempts', -1) end
  if ARGV[at + 9] ~= '' then
    redis.call('HSET', key, 'moment', ARGV[at + 9])
    redis.call('HINCRBY', key, 'waits', 1)
  end
  if state == 'queued' then push(known[2], ARGV[at], true) else schedule(ARGV[at], tonumber(ARGV[at + 8])) end
end

for at = drop(ARGV, end_sessions(ARGV, 3)), #ARGV, FIELDS do
  local id, queue, token, verb = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local key = 'rq:job:' .. id
  if redis.call('ZSCORE', 'rq:wip:' .. queue, id .. ':' .. token) then
    settled = settled + 1
    if verb == 'back' or verb == 'doubt' then
      local open = requeue(queue, id, token)
      if verb == 'doubt' then redis.call('HSET', key, 'in_doubt', 1) end
      if open then redis.call('HINCRBY', key, 'attempts', -1) end
    else
      add(removals, 'millrace:leases:' .. queue, id)
      add(removals, 'rq:wip:' .. queue, id .. ':' .. token)
      if verb == 'final' then final(at, key) else later(at, key, verb) end
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
  local rate = 'millrace:rate:' .. queue .. ':' .. digits(math.floor(now / 10))
  for state, jobs in pairs(states) do
    redis.call('HINCRBY', 'millrace:stats:' .. queue, state, jobs)
    redis.call('HINCRBY', rate, state, jobs)
  end
  redis.call('EXPIRE', rate, 120)
end
for meter, jobs in pairs(meters) do redis.call('HINCRBY', 'millrace:meters', meter, jobs) end
local registered = 'rq:worker:' .. worker
if redis.call('EXISTS', registered) == 1 then
  redis.call('HSET', registered, 'state', 'idle')
  redis.call('HINCRBY', registered, 'successful_job_count', good)
  redis.call('HINCRBY', registered, 'failed_job_count', bad)
end
return settled
