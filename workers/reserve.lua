-- Reserve: take up to N jobs over the queues in order, and lease each to this worker.
-- ARGV: 1 token, 2 lease in ms, 3 most jobs, 4 most bytes of payload, 5 worker name, then the queues.
-- Returns one {id, queue, data, owner, created_at, moment, due, run, attempt, waits, crashes, fingerprint, started_at}
-- per job. Passed over: paused queues; ids that are none (RQ's letters), gone, leased or final already.
-- Suspects of a crash (field `suspect`: how many may run together) are never mixed with others.
-- include clock
-- include push
local token, lease_ms, most, most_bytes, worker = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local now = now_us()
local taken, seen, bytes, limit, group = {}, {}, 0, most, false

local function give_back(queue, ids, from)
  for i = #ids, from, -1 do redis.call('LPUSH', 'rq:queue:' .. queue, ids[i]) end
end

-- What is under the key of a job is not always ours: a key of another type is moved aside, so that the job can fail.
local function read(id)
  local key = 'rq:job:' .. id
  local fields = redis.pcall('HMGET', key, 'state', 'data', 'owner', 'created_at', 'moment', 'due', 'run', 'attempts',
    'waits', 'crashes', 'suspect', 'fingerprint', 'status')
  if fields.err then
    redis.call('RENAME', key, 'millrace:corrupt:' .. id)
    redis.call('EXPIRE', 'millrace:corrupt:' .. id, 604800)
    fields = {}
    for i = 1, 13 do fields[i] = false end
    fields[1] = 'queued'
  end
  return fields
end

local function runnable(queue, id, fields)
  local state = fields[1]
  if not id:match('^[%w_-]+$') then return false end
  if not state and not fields[2] and not fields[13] then return false end
  if state == 'succeeded' or state == 'rejected' or state == 'failed' or state == 'canceled' then return false end
  return not seen[id] and not redis.call('ZSCORE', 'millrace:leases:' .. queue, id)
end

local function take(queue)
  while #taken < limit and bytes < most_bytes do
    local ids = redis.call('LPOP', 'rq:queue:' .. queue, math.min(limit - #taken, 100))
    if not ids or #ids == 0 then return true end
    for i, id in ipairs(ids) do
      local fields = read(id)
      if runnable(queue, id, fields) then
        local suspect = tonumber(fields[11]) or false
        if #taken == 0 then
          group = suspect
          limit = math.min(most, suspect or most)
        end
        if suspect ~= group or #taken >= limit or (bytes > 0 and bytes + #(fields[2] or '') > most_bytes) then
          give_back(queue, ids, i)
          return false
        end
        bytes = bytes + #(fields[2] or '')
        taken[#taken + 1], seen[id] = {id, queue, fields}, true
      end
    end
  end
  return #taken < limit
end

for i = 6, #ARGV do
  if redis.call('SISMEMBER', 'millrace:paused', ARGV[i]) == 0 and not take(ARGV[i]) then break end
end

local reply, started = {}, iso(now)
for i, job in ipairs(taken) do
  local id, queue, f = job[1], job[2], job[3]
  local attempt = (tonumber(f[8]) or 0) + 1
  redis.call('HSET', 'rq:job:' .. id, 'state', 'running', 'status', 'started', 'started_at', started,
    'worker_name', worker, 'token', token, 'attempts', attempt, 'group', #taken)
  redis.call('ZADD', 'millrace:leases:' .. queue, digits(now / 1000 + lease_ms), id)
  redis.call('ZADD', 'rq:wip:' .. queue, '+inf', id .. ':' .. token)
  reply[i] = {id, queue, f[2], f[3], f[4], f[5], f[6], tonumber(f[7]) or 1, attempt, tonumber(f[9]) or 0,
    tonumber(f[10]) or 0, f[12], started}
end
local registered = 'rq:worker:' .. worker
if #taken > 0 and redis.call('EXISTS', registered) == 1 then redis.call('HSET', registered, 'state', 'busy') end
return reply
