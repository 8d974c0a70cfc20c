-- Count a request, unless the session it came in has ended. KEYS: none. ARGV: 1 counter, or '' to count nothing,
--   2 seconds of its window, 3 how much, 4 its sender's sessions or '', 5 the one that has to be among them.
-- Returns {count in the window, seconds left of it}; {-1, 0}: the session has ended; {-2, 0}: there is no room to count.
if ARGV[4] ~= '' and redis.call('HEXISTS', ARGV[4], ARGV[5]) == 0 then return {-1, 0} end
if ARGV[1] == '' then return {0, 0} end
local count = redis.pcall('INCRBY', ARGV[1], ARGV[3])
if type(count) == 'table' then return {-2, 0} end
if count == tonumber(ARGV[3]) then redis.call('EXPIRE', ARGV[1], ARGV[2]) end
return {count, redis.call('TTL', ARGV[1])}
