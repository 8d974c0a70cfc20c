-- Cancel a job. KEYS: none. ARGV: 1 job id.
-- Returns canceled: no worker ever had it, and none will carry it out | asked: one has, or had it, and decides as it still
-- can | final: it was over | gone: Redis does not have it.
-- What is canceled here stays in its lane, or goes there, so that a worker writes its receipt.
-- include clock
-- include push
-- include tell
local id = ARGV[1]
local key = 'rq:job:' .. id
local known = redis.call('HMGET', key, 'state', 'attempts', 'origin')
local state, lane = known[1], known[3]
if not state or not lane then return 'gone' end
if state ~= 'scheduled' and state ~= 'queued' and state ~= 'running' then return 'final' end

local at, had = iso(now_us()), known[2]
redis.call('HSET', key, 'cancel', at)
if not had then redis.call('HSET', key, 'state', 'canceled', 'status', 'canceled', 'ended_at', at) end
if state == 'scheduled' then
  redis.call('ZREM', 'rq:scheduler:scheduled_jobs', id)
  if had then
    redis.call('HSET', key, 'state', 'queued', 'status', 'queued')
    redis.call('HINCRBY', key, 'moves', 1)
  end
  push(lane, id, true)
end
if had then return 'asked' end
tell(id, key, 'canceled')
return 'canceled'
