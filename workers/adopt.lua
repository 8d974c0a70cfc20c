-- Adopt: lease one job that a stock `rq worker` has taken off its queue. ARGV: 1 token, 2 lease in ms, 3 worker name, 4 job id.
-- Returns the same row as reserve.lua, or nothing when the job is gone, leased or final.
-- include clock
local token, lease_ms, worker, id = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local key = 'rq:job:' .. id
local f = redis.call('HMGET', key, 'state', 'data', 'owner', 'created_at', 'moment', 'due', 'run', 'attempts', 'waits',
  'crashes', 'fingerprint', 'origin')
local queue = f[12]
if f[1] ~= 'queued' or not queue or redis.call('ZSCORE', 'millrace:leases:' .. queue, id) then return false end
local now = now_us()
local started, attempt = iso(now), (tonumber(f[8]) or 0) + 1
redis.call('HSET', key, 'state', 'running', 'status', 'started', 'started_at', started, 'worker_name', worker,
  'token', token, 'attempts', attempt, 'group', 1)
redis.call('ZADD', 'millrace:leases:' .. queue, digits(now / 1000 + lease_ms), id)
redis.call('ZADD', 'rq:wip:' .. queue, '+inf', id .. ':' .. token)
return {id, queue, f[2], f[3], f[4], f[5], f[6], tonumber(f[7]) or 1, attempt, tonumber(f[9]) or 0, tonumber(f[10]) or 0,
  f[11], started}
