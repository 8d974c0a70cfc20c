-- Progress: note how far a job has come, if its lease is still that of whoever tells. ARGV: 1 id, 2 token, 3 done/total.
-- Returns 1 if it is, else 0.
local key = 'rq:job:' .. ARGV[1]
if redis.call('HGET', key, 'token') ~= ARGV[2] then return 0 end
redis.call('HSET', key, 'progress', ARGV[3])
return 1
