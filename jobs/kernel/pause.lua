-- Pause: have workers take nothing more from a queue. KEYS: none. ARGV: 1 the queue. Returns 1 where it was not paused, or 0.
redis.call('SREM', 'millrace:paused', '') -- a removing write first: what follows is then allowed in a full Redis too
return redis.call('SADD', 'millrace:paused', ARGV[1])
