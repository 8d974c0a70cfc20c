-- Exchange a session's refresh token: KEYS: none. ARGV: 1 user, 2 session, 3 the token's jti, 4 the next one's,
--   5 now, 6 when the session now ends (both in seconds since 1970).
-- Returns rotated | ended | reused: a token that was exchanged before has been stolen, or its successor has, and with
-- that the session ends.
local key, now = 'millrace:sessions:' .. ARGV[1], tonumber(ARGV[5])
local found = redis.call('HGET', key, ARGV[2])
if not found then return 'ended' end
local record = cjson.decode(found)
if record['until'] <= now then
  redis.call('HDEL', key, ARGV[2])
  return 'ended'
end
if record.jti ~= ARGV[3] then
  redis.call('HDEL', key, ARGV[2])
  return 'reused'
end
record.jti, record.used, record['until'] = ARGV[4], now, tonumber(ARGV[6])
redis.call('HSET', key, ARGV[2], cjson.encode(record))
redis.call('EXPIREAT', key, ARGV[6])
return 'rotated'
