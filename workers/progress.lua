-- Progress: note how far a job has come, if its lease is still that of whoever tells. ARGV: 1 id, 2 token, 3 done/total.
-- Returns 1 if it is, 2 if somebody has asked to cancel the job as well, else 0.
local key = 'rq:job:' .. ARGV[1]
if redis.call('HGET', key, 'token') ~= ARGV[2] then return 0 end
redis.call('HSET', key, 'progress', ARGV[3])
return redis.call('HEXISTS', key, 'cancel') == 1 and 2 or 1
