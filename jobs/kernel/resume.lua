-- Resume: have workers take from a queue again, and wake as many as there are jobs for. KEYS: none.
-- ARGV: 1 the queue, then the key of each of its lanes. Returns 1 where it was paused, or 0.
-- include push
local was_paused = redis.call('SREM', 'millrace:paused', ARGV[1])
local jobs = 0
for at = 2, #ARGV do jobs = jobs + redis.call('LLEN', ARGV[at]) end
wake(ARGV[1], jobs)
return was_paused
