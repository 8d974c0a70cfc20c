-- Reserve: take up to N jobs over the queues in order, and lease each to this worker.
-- ARGV: 1 token, 2 lease in ms, 3 most jobs, 4 most bytes of payload, 5 worker name, 6 'ahead', 'shared' or '', then the
-- queues.
-- Returns {token, started_at, job, job, ...}; a job is {state, data, owner, created_at, fingerprint, attempts, due, run,
-- id, queue}, as its hash had it before, and of one that is not new also moment, waits, crashes, suspect, cancel. The token
-- returned ends in the size of the group leased together; one batch, one token.
-- Passed over: paused queues; ids that are none (RQ's letters), gone, leased or final already; but what was canceled before
-- any worker had it (state canceled, and field `cancel`) is leased as it is, to be written down.
-- Suspects of a crash (field `suspect`: how many may run together) are never mixed with others, nor taken ahead: a
-- worker that dies with another batch in hand must not count against a job that it only had in store. So a group taken
-- ahead counts as two at least; and so does one that is to be shared: taken by a worker with nothing in hand, that will
-- take more while it has these, but for suspects.
-- include clock
-- include push
local lease_ms, most, most_bytes, worker = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local ahead, shared = ARGV[6] == 'ahead', ARGV[6] == 'shared'
local now = now_us()
local taken, seen, bytes, limit, group = {}, {}, 0, most, false

local function give_back(lane, ids, from)
  for i = #ids, from, -1 do redis.call('LPUSH', 'rq:queue:' .. lane, ids[i]) end
end

-- What is under the key of a job is not always ours: a key of another type is moved aside, so that the job can fail.
local function read(id)
  local key = 'rq:job:' .. id
  local fields = redis.pcall('HMGET', key, 'state', 'data', 'owner', 'created_at', 'fingerprint', 'attempts', 'due', 'run')
  if fields.err then
    redis.call('RENAME', key, 'millrace:corrupt:' .. id)
    redis.call('EXPIRE', 'millrace:corrupt:' .. id, 604800)
    fields = {'queued', false, false, false, false, false, false, false}
  end
  return fields
end

-- What only a job has that was leased, put off, canceled or sent again before.
local function read_more(id, fields)
  if not (fields[6] or fields[7] or fields[8]) and fields[1] ~= 'canceled' then return end
  local more = redis.call('HMGET', 'rq:job:' .. id, 'moment', 'waits', 'crashes', 'suspect', 'cancel')
  for i = 1, 5 do fields[10 + i] = more[i] end
end

local function runnable(id, fields, leased)
  local state = fields[1]
  if leased or seen[id] or not id:match('^[%w_-]+$') then return false end
  if not state and not fields[2] and redis.call('HEXISTS', 'rq:job:' .. id, 'status') == 0 then return false end
  if state == 'canceled' then return redis.call('HEXISTS', 'rq:job:' .. id, 'cancel') == 1 end
  return state ~= 'succeeded' and state ~= 'rejected' and state ~= 'failed'
end

local function take(queue, lane)
  while #taken < limit and bytes < most_bytes do
    local ids = redis.call('LPOP', 'rq:queue:' .. lane, math.min(limit - #taken, 100))
    if not ids or #ids == 0 then return true end
    local leased = redis.call('ZMSCORE', 'millrace:leases:' .. queue, unpack(ids))
    for i, id in ipairs(ids) do
      local fields = read(id)
      if runnable(id, fields, leased[i]) then
        fields[9], fields[10] = id, queue
        read_more(id, fields)
        local suspect = tonumber(fields[14]) or false
        if #taken == 0 then
          group = suspect
          limit = math.min(most, suspect or most)
        end
        local size = #(fields[2] or '')
        if suspect ~= group or (suspect and ahead) or #taken >= limit or (bytes > 0 and bytes + size > most_bytes) then
          give_back(lane, ids, i)
          return false
        end
        bytes = bytes + size
        taken[#taken + 1], seen[id] = fields, true
      end
    end
  end
  return #taken < limit
end

-- Whether there is room for what other queues have.
local function take_all(queue)
  if redis.call('SISMEMBER', 'millrace:paused', queue) == 1 then return true end
  for _, lane in ipairs(LANES) do
    if not take(queue, queue .. lane) then return false end
  end
  return true
end

for i = 7, #ARGV do
  if not take_all(ARGV[i]) then break end
end
if #taken == 0 then return {ARGV[1], ''} end

local least = (ahead or (shared and not group)) and 2 or 1
local token = ARGV[1] .. ':' .. math.max(#taken, least)
local started, expiry = iso(now), digits(now / 1000 + lease_ms)
local reply, leases, wip = {token, started}, {}, {}
for i, fields in ipairs(taken) do
  local id, queue = fields[9], fields[10]
  if fields[1] == 'canceled' then
    redis.call('HSET', 'rq:job:' .. id, 'token', token)
  else
    redis.call('HSET', 'rq:job:' .. id, 'state', 'running', 'status', 'started', 'started_at', started, 'token', token,
      'attempts', (tonumber(fields[6]) or 0) + 1)
  end
  leases[queue], wip[queue] = leases[queue] or {}, wip[queue] or {}
  local at = #leases[queue]
  leases[queue][at + 1], leases[queue][at + 2] = expiry, id
  wip[queue][at + 1], wip[queue][at + 2] = '+inf', id .. ':' .. token
  reply[i + 2] = fields
end
for queue, members in pairs(leases) do
  redis.call('ZADD', 'millrace:leases:' .. queue, unpack(members))
  redis.call('ZADD', 'rq:wip:' .. queue, unpack(wip[queue]))
end
local registered = 'rq:worker:' .. worker
if redis.call('EXISTS', registered) == 1 then redis.call('HSET', registered, 'state', 'busy') end
return reply
