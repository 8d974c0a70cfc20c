-- Resume: have workers take from a queue again, and wake as many as there are jobs for. KEYS: none. ARGV: 1 the queue.
-- Returns 1 where it was paused, or 0.
-- include push
local was_paused = redis.call('SREM', 'millrace:paused', ARGV[1])
wake(ARGV[1], depth(ARGV[1]))
return was_paused
