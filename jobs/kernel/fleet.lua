-- Fleet: who is registered for some queues, in RQ's own form. KEYS: none. ARGV: the queues.
-- Returns {for each queue the keys of its workers, then for each key {key, what it says in the order of FIELDS}}; who has
-- expired, or is no hash, is left out of the latter.
local FIELDS = {'last_heartbeat', 'death', 'birth', 'state', 'hostname', 'pid', 'successful_job_count', 'failed_job_count'}
local members, workers, seen = {}, {}, {}
for at, queue in ipairs(ARGV) do
  members[at] = redis.call('SMEMBERS', 'rq:workers:' .. queue)
  for _, key in ipairs(members[at]) do
    if not seen[key] then
      seen[key] = true
      local said = redis.pcall('HMGET', key, unpack(FIELDS))
      if said[1] then workers[#workers + 1] = {key, said} end
    end
  end
end
return {members, workers}
