-- Add what a process has counted to what is counted of all, once.
-- ARGV: 1 the process, 2 the number of what it sends, then per counter: field, amount. Returns 1; or 0 where it had been
-- added, and only the answer was lost.
local METERS, REMEMBERED = 'millrace:meters', 3600 -- seconds, far beyond which nobody sends the same again
local last = METERS .. ':' .. ARGV[1]
redis.call('HDEL', METERS, '') -- a removing write first: what follows is then allowed in a full Redis too
if redis.call('GET', last) == ARGV[2] then return 0 end
for at = 3, #ARGV, 2 do redis.call('HINCRBY', METERS, ARGV[at], ARGV[at + 1]) end
redis.call('SET', last, ARGV[2], 'EX', REMEMBERED)
return 1
