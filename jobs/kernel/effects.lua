-- Effects of outcomes, applied before they are told. ARGV: count, then per user: id, session_version; then seconds that a
-- replica may lag, count, then the hash of each scope that reads have to drop.
-- include sessions_end
-- include drop
drop(ARGV, end_sessions(ARGV, 1))
