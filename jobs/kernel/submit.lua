-- Submit: the one round trip of a write. Counts the caller's limit, recognises repeats, refuses when full, takes the
-- accepted-at time, and stores and queues each job. Bodies are opaque here.
-- ARGV: 1 max depth, 2 max memory percent, 3 limit key or '', 4 limit amount, 5 limit seconds, 6 limit cost,
--       7 the sender's sessions or '', 8 the one that has to be among them, then per job: id, lane, kind, data, owner or '', fingerprint or '', run_at in us or '', timeout, notify or '',
--       caps or '' (limits of jobs, counted by those that are made: a JSON array of key, amount, seconds of each), target or ''
-- Returns {verdict, accepted us, count in window, seconds left in window, word, word, ...};
--   verdict: ok | ended (the session) | limited | full_memory;
--   word: new | scheduled | same | other (a repeat with another body) | full (no room in its queue) | limited (the window
--         has room for some of the jobs that come before it)
--         | {capped, which of its caps from 1, count in window, seconds left in window}
-- What many jobs share (a queue, an owner's index) is written once for all of them.
-- include clock
-- include memory
-- include push
-- include schedule
-- include lanes
local FIRST, FIELDS, NONE = 9, 11, {}
local max_depth, max_percent = tonumber(ARGV[1]), tonumber(ARGV[2])
local now = now_us()
local accepted = digits(now)

if ARGV[7] ~= '' and redis.call('HEXISTS', ARGV[7], ARGV[8]) == 0 then return {'ended', accepted, 0, 0} end

local count, left, fit = 0, 0, math.huge
if ARGV[3] ~= '' then
  local cost = tonumber(ARGV[6])
  count = redis.call('INCRBY', ARGV[3], cost)
  if count == cost then redis.call('EXPIRE', ARGV[3], ARGV[5]) end
  left = redis.call('TTL', ARGV[3])
  fit = math.floor((tonumber(ARGV[4]) - count + cost) * (#ARGV - FIRST + 1) / FIELDS / cost)
  if fit < 1 then return {'limited', accepted, count, left} end
end

-- What a cap has counted, and what jobs of this call add to it once it is sure that they are made.
local windows = {}
local function exceeded(caps)
  for at = 1, #caps, 3 do
    local key, seconds = caps[at], caps[at + 2]
    local window = windows[key]
    if not window then
      window = {count = tonumber(redis.call('GET', key) or 0), more = 0, seconds = seconds}
      windows[key] = window
    end
    if window.count + window.more >= caps[at + 1] then
      local ttl = redis.call('TTL', key)
      return {'capped', (at + 2) / 3, window.count + window.more, ttl > 0 and ttl or seconds}
    end
  end
end

local reply, fresh, queues, room, seen = {'ok', accepted, count, left}, {}, {}, {}, {}
local last = FIRST + fit * FIELDS - 1
for at = FIRST, #ARGV, FIELDS do
  local id = ARGV[at]
  local known = seen[id]
  if not known and redis.call('EXISTS', 'rq:job:' .. id) == 1 then
    known = redis.call('HMGET', 'rq:job:' .. id, 'fingerprint', 'owner')
  end
  if at > last then
    reply[#reply + 1] = 'limited'
  elseif known then
    reply[#reply + 1] = known[1] == ARGV[at + 5] and (known[2] or '') == ARGV[at + 4] and 'same' or 'other'
  else
    local lane = ARGV[at + 1]
    local queue = queue_of(lane)
    local caps = ARGV[at + 9] == '' and NONE or cjson.decode(ARGV[at + 9])
    local capped = exceeded(caps)
    queues[lane], room[queue] = queues[lane] or {}, room[queue] or max_depth - depth(queue)
    if capped then
      reply[#reply + 1] = capped
    elseif room[queue] < 1 then
      reply[#reply + 1] = 'full'
    else
      room[queue] = room[queue] - 1
      for cap = 1, #caps, 3 do windows[caps[cap]].more = windows[caps[cap]].more + 1 end
      fresh[#fresh + 1] = at
      seen[id] = {ARGV[at + 5], ARGV[at + 4]}
      reply[#reply + 1] = 'new'
    end
  end
end
if #fresh == 0 then return reply end
if memory_percent() > max_percent then return {'full_memory', accepted, count, left} end

for key, window in pairs(windows) do
  if window.more > 0 and redis.call('INCRBY', key, window.more) == window.more then redis.call('EXPIRE', key, window.seconds) end
end

local created, owned, kinds = iso(now), {}, {}
for _, at in ipairs(fresh) do
  local id, lane, kind, owner = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 4]
  local run_at = tonumber(ARGV[at + 6])
  local later = run_at ~= nil and run_at > now
  local state = later and 'scheduled' or 'queued'
  local fields = {'created_at', created, 'origin', lane, 'description', kind, 'data', ARGV[at + 3],
    'timeout', ARGV[at + 7], 'status', state, 'state', state}
  local n = 14
  kinds[kind] = (kinds[kind] or 0) + 1
  if owner ~= '' then
    fields[n + 1], fields[n + 2], n = 'owner', owner, n + 2
    local index = owned[owner]
    if not index then index = {}; owned[owner] = index end
    index[#index + 1] = accepted
    index[#index + 1] = id
  end
  if ARGV[at + 5] ~= '' then fields[n + 1], fields[n + 2], n = 'fingerprint', ARGV[at + 5], n + 2 end
  if ARGV[at + 8] ~= '' then
    fields[n + 1], fields[n + 2], n = 'notify', ARGV[at + 8], n + 2
    redis.call('SADD', 'millrace:watched', id)
  end
  if ARGV[at + 10] ~= '' then fields[n + 1], fields[n + 2], n = 'target', ARGV[at + 10], n + 2 end
  if later then
    local due = digits(run_at)
    fields[n + 1], fields[n + 2], fields[n + 3], fields[n + 4] = 'due', due, 'moment', due
  end
  redis.call('HSET', 'rq:job:' .. id, unpack(fields))
  if later then
    schedule(id, run_at)
    reply[5 + (at - FIRST) / FIELDS] = 'scheduled'
  else
    local ids = queues[lane]
    ids[#ids + 1] = id
  end
end
for owner, index in pairs(owned) do
  redis.call('ZADD', 'millrace:jobs:' .. owner, unpack(index))
  redis.call('SADD', 'millrace:owners', owner)
end
for lane, ids in pairs(queues) do
  if #ids > 0 then push_all(lane, ids, false) end
end
for kind, jobs in pairs(kinds) do redis.call('HINCRBY', 'millrace:meters', 'accepted|' .. kind, jobs) end
return reply
