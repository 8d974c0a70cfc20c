-- End one of a user's sessions, for whoever asks in another of them, or in it. KEYS: none. ARGV: 1 the user's sessions,
--   2 the one that asks, 3 the one to end.
-- Returns 1; 0 when there is no such session; -1 when the one that asks has ended.
if redis.call('HEXISTS', ARGV[1], ARGV[2]) == 0 then return -1 end
return redis.call('HDEL', ARGV[1], ARGV[3])
