-- Adopt: lease one job that a stock `rq worker` has taken off its queue. ARGV: 1 token, 2 lease in ms, 3 job id.
-- Returns the same as reserve.lua with one job, or with none when it is gone, leased or final.
-- include clock
local token, lease_ms, id = ARGV[1] .. ':1', tonumber(ARGV[2]), ARGV[3]
local key = 'rq:job:' .. id
local fields = redis.call('HMGET', key, 'state', 'data', 'owner', 'created_at', 'fingerprint', 'attempts', 'due', 'run',
  'description', 'origin', 'moment', 'waits', 'crashes', 'suspect')
local queue = fields[10]
if fields[1] ~= 'queued' or not queue or redis.call('ZSCORE', 'millrace:leases:' .. queue, id) then return {token, ''} end
local now = now_us()
local started = iso(now)
redis.call('HSET', key, 'state', 'running', 'status', 'started', 'started_at', started, 'token', token,
  'attempts', (tonumber(fields[6]) or 0) + 1)
redis.call('ZADD', 'millrace:leases:' .. queue, digits(now / 1000 + lease_ms), id)
redis.call('ZADD', 'rq:wip:' .. queue, '+inf', id .. ':' .. token)
fields[9] = id
return {token, started, fields}
