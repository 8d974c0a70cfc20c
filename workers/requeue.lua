-- End a lease and put its job back at the front of its lane. Returns whether it can still be carried out: one that was
-- canceled before any worker had it stays canceled, and comes back only to be written down.
local function requeue(queue, id, token)
  local key = 'rq:job:' .. id
  redis.call('ZREM', 'rq:wip:' .. queue, id .. ':' .. token)
  redis.call('ZREM', 'millrace:leases:' .. queue, id)
  redis.call('HDEL', key, 'token')
  local known = redis.call('HMGET', key, 'state', 'origin')
  local open = known[1] ~= 'canceled'
  if open then
    redis.call('HSET', key, 'state', 'queued', 'status', 'queued')
    redis.call('HINCRBY', key, 'moves', 1)
  end
  push(known[2] and queue_of(known[2]) == queue and known[2] or queue, id, true)
  return open
end
