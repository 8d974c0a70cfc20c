-- Run failed jobs again. KEYS: none.
-- ARGV: 1 max depth, 2 max memory percent, then per job: id, lane, kind, data, owner or '', fingerprint or '', timeout,
--       target or '', submitted at in us, due in us or '', moment in us or '', the run that is to begin.
-- Returns a word for each: new | under_way (this run, or a later one, has begun, or is over) | full (no room for it).
-- include clock
-- include memory
-- include push
local FIRST, FIELDS = 3, 12
local full = memory_percent() > tonumber(ARGV[2])
local reply = {}
for at = FIRST, #ARGV, FIELDS do
  local id, lane, kind, owner, run = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 4], tonumber(ARGV[at + 11])
  local key, queue = 'rq:job:' .. id, queue_of(lane)
  local known = redis.call('HMGET', key, 'state', 'run')
  local word = 'new'
  if known[1] and (known[1] ~= 'failed' or (tonumber(known[2]) or 1) >= run) then
    word = 'under_way'
  elseif full or depth(queue) >= tonumber(ARGV[1]) then
    word = 'full'
  else
    redis.call('UNLINK', key)
    redis.call('ZREM', 'rq:failed:' .. queue, id)
    local fields = {'created_at', iso(tonumber(ARGV[at + 8])), 'origin', lane, 'description', kind, 'data', ARGV[at + 3],
      'timeout', ARGV[at + 6], 'status', 'queued', 'state', 'queued', 'run', run}
    for name, value in pairs({owner = owner, fingerprint = ARGV[at + 5], target = ARGV[at + 7], due = ARGV[at + 9],
      moment = ARGV[at + 10]}) do
      if value ~= '' then
        fields[#fields + 1] = name
        fields[#fields + 1] = value
      end
    end
    redis.call('HSET', key, unpack(fields))
    if owner ~= '' then
      redis.call('ZADD', 'millrace:jobs:' .. owner, ARGV[at + 8], id)
      redis.call('SADD', 'millrace:owners', owner)
    end
    push(lane, id, false)
    redis.call('HINCRBY', 'millrace:meters', 'reruns|' .. kind, 1)
  end
  reply[#reply + 1] = word
end
return reply
