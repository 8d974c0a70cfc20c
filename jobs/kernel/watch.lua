-- Ask to be told on a channel when a job is final. KEYS: none. ARGV: 1 job id, 2 channel.
-- Returns 1 when the channel will be told, 0 when the job is final already or not here.
local key = 'rq:job:' .. ARGV[1]
local state = redis.call('HGET', key, 'state')
if state ~= 'scheduled' and state ~= 'queued' and state ~= 'running' then return 0 end
local told = redis.call('HGET', key, 'notify')
redis.call('SADD', 'millrace:watched', ARGV[1])
if not told then
  redis.call('HSET', key, 'notify', ARGV[2])
elseif not string.find(' ' .. told .. ' ', ' ' .. ARGV[2] .. ' ', 1, true) then
  redis.call('HSET', key, 'notify', told .. ' ' .. ARGV[2])
end
return 1
