-- How a circuit moves; see circuit.lua for what it is.
local MOST_AT_A_TIME = 8 -- permits out, before it closes

local function close(key)
  redis.call('HDEL', key, 'state', 'openings', 'opened_at', 'next_probe_at', 'returning_since', 'limit', 'successes')
  redis.call('DEL', key .. ':failures', key .. ':permits')
end

-- Nobody passes for as long as `first`, and twice as long each time that follows before it has closed, up to `longest` times.
local function open(key, circuit, now, first, longest)
  local pause = first * math.min(2 ^ circuit.openings, longest)
  redis.call('HDEL', key, 'returning_since', 'limit', 'successes')
  redis.call('DEL', key .. ':permits')
  redis.call('HSET', key, 'state', 'open', 'openings', circuit.openings + 1, 'opened_at', circuit.opened_at or digits(now),
    'next_probe_at', digits(now + pause))
  redis.call('HINCRBY', key, 'epoch', 1)
end

-- Let twice as many pass at a time once as many as may pass now have succeeded. Returns whether it has closed.
local function come_back(key, circuit, now)
  if circuit.successes + 1 < circuit.limit then
    redis.call('HINCRBY', key, 'successes', 1)
    return false
  end
  if circuit.limit >= MOST_AT_A_TIME then
    close(key)
    return true
  end
  if circuit.limit == 1 then redis.call('HSET', key, 'returning_since', digits(now)) end
  redis.call('HSET', key, 'limit', circuit.limit * 2, 'successes', 0)
  return false
end

-- Write down what time alone has changed.
local function catch_up(key, circuit)
  if circuit.state == circuit.stored then return end
  if circuit.state == 'closed' then
    close(key)
    circuit.openings, circuit.opened_at = 0, false
  else
    redis.call('HSET', key, 'state', 'half_open', 'limit', 1, 'successes', 0)
  end
end
