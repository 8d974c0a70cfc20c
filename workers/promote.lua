-- Promote: move what is due from rq-scheduler's set to its queue. ARGV: 1 most jobs.
-- Only if it is still due and still `scheduled`: a canceled job stays canceled. Returns {promoted, set aside}.
-- include clock
-- include push
local due = redis.call('ZRANGEBYSCORE', 'rq:scheduler:scheduled_jobs', '-inf', string.format('%.3f', math.floor(now_us() / 1000) / 1000), 'LIMIT', 0, ARGV[1])
local promoted, aside = 0, 0
for _, id in ipairs(due) do
  redis.call('ZREM', 'rq:scheduler:scheduled_jobs', id)
  local key = 'rq:job:' .. id
  local found = redis.pcall('HMGET', key, 'status', 'origin', 'state')
  if found.err then
    redis.call('ZADD', 'millrace:scheduler:aside', digits(now_us() / 1000000), id)
    aside = aside + 1
  elseif (found[3] or found[1]) == 'scheduled' and found[2] then
    redis.call('HSET', key, 'status', 'queued', 'state', 'queued')
    redis.call('HINCRBY', key, 'moves', 1)
    redis.call('PERSIST', key)
    push(found[2], id, false)
    promoted = promoted + 1
  end
end
return {promoted, aside}
