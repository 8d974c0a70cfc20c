-- A circuit is the hash `millrace:circuit:<name>`: state (none: closed), epoch (how often it has opened), openings (in a row,
-- since it was closed), opened_at, next_probe_at, returning_since (when the first probe succeeded), limit (permits out at a
-- time), successes (at that limit); free and delay belong to its turns. Times are in microseconds. Beside it stand sets by
-- time: `:failures`, `:permits` (by when they run out), `:turns`.

-- How it stands now. What time alone changes is not written down yet: then `stored` differs from `state`.
local function standing(key, now, window)
  local f = redis.call('HMGET', key, 'state', 'epoch', 'openings', 'opened_at', 'next_probe_at', 'returning_since',
    'limit', 'successes')
  local circuit = {stored = f[1] or 'closed', epoch = f[2] or '0', openings = tonumber(f[3]) or 0, opened_at = f[4],
    next_probe_at = tonumber(f[5]), limit = tonumber(f[7]) or 1, successes = tonumber(f[8]) or 0}
  circuit.state = circuit.stored
  if circuit.stored == 'open' and now >= circuit.next_probe_at then
    circuit.state, circuit.limit, circuit.successes = 'half_open', 1, 0
  elseif circuit.stored == 'half_open' and f[6] and now - tonumber(f[6]) >= window then
    circuit.state = 'closed' -- it has returned for as long as a failure counts
  end
  return circuit
end
