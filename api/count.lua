-- Count a request, unless the session it came in has ended; and see whether its answer is kept. KEYS: none.
-- ARGV: 1 counter, or '' to count nothing, 2 seconds of its window, 3 how much, 4 its sender's sessions or '', 5 the one that
--   has to be among them; and, where the answer may be kept, 6 the most that the counter may count, 7 the hash of its
--   scope, 8 its field there, 9 seconds that a hash lasts, 10 us for which one may ask while the others wait.
-- Returns {count in the window, seconds left of it}; {-1, 0}: the session has ended; {-2, 0}: there is no room to count.
--   And then, of an answer: it, or false; the version that another one may be kept under, '' where none may be; 1 where
--   this one is to ask, 0 where another does already.
-- include clock
if ARGV[4] ~= '' and redis.call('HEXISTS', ARGV[4], ARGV[5]) == 0 then return {-1, 0} end
local count, left = 0, 0
if ARGV[1] ~= '' then
  count = redis.pcall('INCRBY', ARGV[1], ARGV[3])
  if type(count) == 'table' then return {-2, 0} end
  if count == tonumber(ARGV[3]) then redis.call('EXPIRE', ARGV[1], ARGV[2]) end
  left = redis.call('TTL', ARGV[1])
end
local key, field = ARGV[7], ARGV[8]
if not key or count > tonumber(ARGV[6]) then return {count, left} end

local lease = 'l' .. field
local version, entry, asked = unpack(redis.call('HMGET', key, 'v', field, lease))
if entry or version == '' then return {count, left, entry, '', 0} end
local now = now_us()
if asked and tonumber(asked) > now then return {count, left, false, version, 0} end
local made = redis.pcall('HSET', key, 'v', version or digits(now), lease, digits(now + ARGV[10]))
if type(made) == 'table' then return {count, left, false, '', 0} end
if not version then redis.call('EXPIRE', key, ARGV[9]) end
return {count, left, false, version or digits(now), 1}
