-- Heartbeat: renew the leases a worker holds. ARGV: 1 lease in ms, then per lease: id, queue, token.
-- Returns the ids of leases that are its own no longer.
-- include clock
redis.call('UNLINK', 'millrace:none') -- a removing write first: what follows is then allowed in a full Redis too
local expiry = digits(now_us() / 1000 + tonumber(ARGV[1]))
local lost = {}
for at = 2, #ARGV, 3 do
  if redis.call('HGET', 'rq:job:' .. ARGV[at], 'token') == ARGV[at + 2] then
    redis.call('ZADD', 'millrace:leases:' .. ARGV[at + 1], 'XX', expiry, ARGV[at])
  else
    lost[#lost + 1] = ARGV[at]
  end
end
return lost
