-- End a lease and put its job back at the front of its queue.
local function requeue(queue, id, token)
  local key = 'rq:job:' .. id
  redis.call('ZREM', 'rq:wip:' .. queue, id .. ':' .. token)
  redis.call('ZREM', 'millrace:leases:' .. queue, id)
  redis.call('HDEL', key, 'token')
  redis.call('HSET', key, 'state', 'queued', 'status', 'queued')
  push(queue, id, true)
end
