-- Submit: the one round trip of a write. Counts the caller's limit, recognises repeats, refuses when full, takes the
-- accepted-at time, and stores and queues each job. Bodies are opaque here.
-- ARGV: 1 max depth, 2 max memory percent, 3 limit key or '', 4 limit amount, 5 limit seconds, 6 limit cost,
--       then per job: id, queue, kind, data, owner or '', fingerprint or '', run_at in us or '', timeout, notify or ''
-- Returns {verdict, accepted us, count in window, seconds left in window, word, word, ...};
--   verdict: ok | limited | full_depth | full_memory; word: new | scheduled | same | other (a repeat with another body)
-- include clock
-- include push
-- include schedule
local FIELDS = 9
local max_depth, max_percent = tonumber(ARGV[1]), tonumber(ARGV[2])
local now = now_us()

local function counted()
  if ARGV[3] == '' then return 0, 0 end
  local cost = tonumber(ARGV[6])
  local count = redis.call('INCRBY', ARGV[3], cost)
  if count == cost then redis.call('EXPIRE', ARGV[3], ARGV[5]) end
  return count, redis.call('TTL', ARGV[3])
end

-- Asking Redis for its memory costs more than a submit, so the answer is kept for a quarter of a second.
local function memory_full()
  local known = redis.call('GET', 'millrace:memory')
  if not known then
    local info = redis.call('INFO', 'memory')
    local used, max = tonumber(info:match('used_memory:(%d+)')), tonumber(info:match('maxmemory:(%d+)'))
    known = (max > 0 and used * 100 > max * max_percent) and 'full' or 'ok'
    redis.call('SET', 'millrace:memory', known, 'PX', 250)
  end
  return known == 'full'
end

local count, left = counted()
if ARGV[3] ~= '' and count > tonumber(ARGV[4]) then return {'limited', digits(now), count, left} end

local reply = {'ok', digits(now), count, left}
local fresh = {}
for at = 7, #ARGV, FIELDS do
  local key = 'rq:job:' .. ARGV[at]
  if redis.call('EXISTS', key) == 1 then
    local same = redis.call('HGET', key, 'fingerprint') == ARGV[at + 5] and redis.call('HGET', key, 'owner') == ARGV[at + 4]
    reply[#reply + 1] = same and 'same' or 'other'
  else
    fresh[#fresh + 1] = at
    reply[#reply + 1] = 'new'
  end
end
if #fresh == 0 then return reply end
if memory_full() then return {'full_memory', digits(now), count, left} end
for _, at in ipairs(fresh) do
  if redis.call('LLEN', 'rq:queue:' .. ARGV[at + 1]) >= max_depth then return {'full_depth', digits(now), count, left} end
end

for _, at in ipairs(fresh) do
  local id, queue, owner, fingerprint = ARGV[at], ARGV[at + 1], ARGV[at + 4], ARGV[at + 5]
  local run_at = tonumber(ARGV[at + 6])
  local later = run_at ~= nil and run_at > now
  local fields = {'created_at', iso(now), 'origin', queue, 'description', ARGV[at + 2], 'data', ARGV[at + 3],
    'timeout', ARGV[at + 7], 'status', later and 'scheduled' or 'queued', 'state', later and 'scheduled' or 'queued'}
  local function also(name, value)
    if value ~= '' then fields[#fields + 1] = name; fields[#fields + 1] = value end
  end
  also('owner', owner)
  also('fingerprint', fingerprint)
  also('notify', ARGV[at + 8])
  if ARGV[at + 8] ~= '' then redis.call('SADD', 'millrace:watched', id) end
  if later then
    also('due', digits(run_at))
    also('moment', digits(run_at))
  end
  redis.call('HSET', 'rq:job:' .. id, unpack(fields))
  if owner ~= '' then
    redis.call('ZADD', 'millrace:jobs:' .. owner, digits(now), id)
    redis.call('SADD', 'millrace:owners', owner)
  end
  if later then
    schedule(id, run_at)
    reply[5 + (at - 7) / FIELDS] = 'scheduled'
  else
    push(queue, id, false)
  end
end
return reply
