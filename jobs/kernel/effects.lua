-- Effects of outcomes, applied before they are told. ARGV: count, then per user: id, session_version.
-- include sessions_end
redis.call('UNLINK', 'millrace:none') -- a removing write first: what follows is then allowed in a full Redis too
end_sessions(ARGV, 1)
