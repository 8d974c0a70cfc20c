-- Keep an answer, if nothing that it may tell of was changed since it was looked for.
-- ARGV: 1 the hash of its scope, 2 the version that was there then, 3 its field, 4 the answer, or '' where there is none to
--   keep, 5 percent of its memory that Redis may use meanwhile.
-- Returns 1 where it is kept. Whoever waits for it need not any longer, in any case.
-- include memory
local MOST = 100 -- answers in a scope

if redis.call('HGET', ARGV[1], 'v') ~= ARGV[2] then return 0 end
redis.call('HDEL', ARGV[1], 'l' .. ARGV[3])
if ARGV[4] == '' or redis.call('HLEN', ARGV[1]) > MOST or memory_percent() > tonumber(ARGV[5]) then return 0 end
return redis.call('HSET', ARGV[1], ARGV[3], ARGV[4])
