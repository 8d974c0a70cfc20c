-- Adopt: lease one job that a stock `rq worker` has taken off its queue. ARGV: 1 token, 2 lease in ms, 3 job id.
-- Returns the same as reserve.lua with one job, or with none when it is gone, leased or final.
-- include clock
-- include lanes
local token, lease_ms, id = ARGV[1] .. ':1', tonumber(ARGV[2]), ARGV[3]
local key = 'rq:job:' .. id
local fields = redis.call('HMGET', key, 'state', 'data', 'owner', 'created_at', 'fingerprint', 'attempts', 'due', 'run',
  'description', 'origin', 'moment', 'waits', 'crashes', 'suspect', 'cancel')
local queue = fields[10] and queue_of(fields[10])
local canceled = fields[1] == 'canceled' and fields[15]
if not queue or not (fields[1] == 'queued' or canceled) or redis.call('ZSCORE', 'millrace:leases:' .. queue, id) then
  return {token, ''}
end
local now = now_us()
local started = iso(now)
redis.call('HSET', key, 'token', token)
if not canceled then
  redis.call('HSET', key, 'state', 'running', 'status', 'started', 'started_at', started,
    'attempts', (tonumber(fields[6]) or 0) + 1)
end
redis.call('ZADD', 'millrace:leases:' .. queue, digits(now / 1000 + lease_ms), id)
redis.call('ZADD', 'rq:wip:' .. queue, '+inf', id .. ':' .. token)
fields[9], fields[10] = id, queue
return {token, started, fields}
