-- Recover: hand back jobs that were leased to this worker in replies that never reached it; nothing counts against them.
-- ARGV: 1 how many tokens, then the tokens, then the queues. Returns how many jobs there were.
-- include push
-- include requeue
local unheard, recovered = {}, 0
for i = 2, 1 + tonumber(ARGV[1]) do unheard[ARGV[i]] = true end
for i = 2 + tonumber(ARGV[1]), #ARGV do
  for _, id in ipairs(redis.call('ZREVRANGE', 'millrace:leases:' .. ARGV[i], 0, -1)) do
    local token = redis.call('HGET', 'rq:job:' .. id, 'token')
    if token and unheard[token:match('^(.*):%d+$')] then
      if requeue(ARGV[i], id, token) then redis.call('HINCRBY', 'rq:job:' .. id, 'attempts', -1) end
      recovered = recovered + 1
    end
  end
end
return recovered
