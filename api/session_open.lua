-- Open a session: KEYS: none. ARGV: 1 user, 2 session_version it is opened under, 3 session, 4 its record in JSON,
--   5 now, 6 when it ends (both in seconds since 1970), 7 the most that a user may have.
-- Returns 1; 0 when the user's sessions have ended since that version was looked at.
-- What has ended goes, and where there is no room the one that was used least lately.
if tonumber(redis.call('GET', 'millrace:sessions:floor:' .. ARGV[1]) or 0) > tonumber(ARGV[2]) then return 0 end
local key, now = 'millrace:sessions:' .. ARGV[1], tonumber(ARGV[5])
local all, live = redis.call('HGETALL', key), {}
for field = 1, #all, 2 do
  local record = cjson.decode(all[field + 1])
  if record['until'] <= now then
    redis.call('HDEL', key, all[field])
  else
    live[#live + 1] = {all[field], record.used}
  end
end
table.sort(live, function(one, other) return one[2] < other[2] end)
for place = 1, #live - tonumber(ARGV[7]) + 1 do redis.call('HDEL', key, live[place][1]) end
redis.call('HSET', key, ARGV[3], ARGV[4])
redis.call('EXPIREAT', key, ARGV[6])
return 1
