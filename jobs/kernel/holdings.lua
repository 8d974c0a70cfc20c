-- Holdings: how many leases each worker has. KEYS: none. ARGV: 1 how many leases are looked at in each queue at most, then the
-- keys of leases. Returns {name of a worker, how many, ...}; the name is what its tokens begin with.
local counts, reply = {}, {}
for at = 2, #ARGV do
  for _, id in ipairs(redis.call('ZREVRANGEBYSCORE', ARGV[at], '+inf', '-inf', 'LIMIT', 0, ARGV[1])) do
    local token = redis.pcall('HGET', 'rq:job:' .. id, 'token')
    local name = type(token) == 'string' and token:match('^(.*):%d+:%d+$')
    if name then counts[name] = (counts[name] or 0) + 1 end
  end
end
for name, count in pairs(counts) do
  reply[#reply + 1] = name
  reply[#reply + 1] = count
end
return reply
