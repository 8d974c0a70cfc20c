-- Enter: leave to ask a service once, or the time to come back at. KEYS: none.
-- ARGV: 1 key of the circuit, 2 token of the permit, 3 turn or '', 4 microseconds between two turns, 5 '1' where that is a
-- rate, which holds also while the circuit is closed, or '', 6 how long a failure counts, 7 how long a permit, in microseconds.
-- Returns {'pass', epoch, state, permits that may be out at a time, microseconds to wait first}, or {'wait', until}.
-- A turn is kept as a time on a clock that stands still while the circuit lets nobody pass: it is `delay` behind Redis's.
-- So all that are kept move back together, in their order, one at a time, when the first of them does; who comes behind
-- others that are late is told when these will have passed.
-- include clock
-- include circuit
-- include gate_moves
local STALE = 60000000 -- so late, a turn is nobody's any more
local PATIENCE = 1000000 -- schedulers and queues bring whoever has a turn late by so much: it waits here, not there once more
local PAUSE = 500000 -- for a permit to come back; the scheduler looks no sooner
local key, token, turn = ARGV[1], ARGV[2], ARGV[3]
local interval, paced, window, life = tonumber(ARGV[4]), ARGV[5] == '1', tonumber(ARGV[6]), tonumber(ARGV[7])
local now = now_us()
redis.call('ZREMRANGEBYSCORE', key .. ':permits', '-inf', digits(now)) -- first, so that a full Redis allows the rest
local circuit = standing(key, now, window)
catch_up(key, circuit)

-- The first moment at which the circuit may let another one pass.
local function earliest()
  if circuit.state == 'open' then return circuit.next_probe_at end
  if circuit.state == 'half_open' and redis.call('ZCARD', key .. ':permits') >= circuit.limit then
    return now + math.max(interval, PAUSE)
  end
  return now
end

-- The moment of whoever has this turn, and whether it has come. `from`: what the circuit says.
local function taken(from)
  local turns = key .. ':turns'
  local clock = redis.call('HMGET', key, 'free', 'delay')
  local free = math.min(tonumber(clock[1]) or 0, now + PATIENCE + interval) -- no later, if Redis's clock was set back
  local delay = tonumber(clock[2]) or 0
  redis.call('ZREMRANGEBYSCORE', turns, '-inf', digits(now - delay - STALE))
  local kept = tonumber(redis.call('ZSCORE', turns, turn))
  local last = not kept and redis.call('ZREVRANGE', turns, 0, 0, 'WITHSCORES')[2]
  local due = kept and kept + delay or last and last + delay + interval or now
  local before = kept and redis.call('ZRANK', turns, turn) or 0
  local at = math.max(from, due, free)
  if from <= now and (not paced or at <= now + (kept and PATIENCE or 0)) then
    redis.call('ZREM', turns, turn)
    if not paced then return now, true end
    redis.call('HSET', key, 'free', digits(at + interval))
    return at, true
  end
  if kept then
    if before == 0 then redis.call('HSET', key, 'delay', digits(delay + at - due)) end
    return math.max(at, math.max(from, free) + before * interval), false
  end
  redis.call('ZADD', turns, digits(at - delay), turn)
  return at, false
end

local at = earliest()
local passes = at <= now
if turn ~= '' and (paced or not passes) then
  at, passes = taken(at)
elseif turn ~= '' then
  redis.call('ZREM', key .. ':turns', turn) -- or it would be late by all that time when its holder comes back, and move the others
end
if not passes then return {'wait', digits(at)} end
if circuit.state == 'half_open' then redis.call('ZADD', key .. ':permits', digits(at + life), token) end
return {'pass', circuit.epoch, circuit.state, circuit.limit, at - now}
