-- Effects of outcomes, applied before they are told. ARGV: count, then per user: id, session_version.
-- include sessions_end
end_sessions(ARGV, 1)
