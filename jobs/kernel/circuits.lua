-- Read circuits. KEYS: none. ARGV: 1 how long a failure counts, in microseconds, then the keys of circuits.
-- Returns for each {state, failures, opened_at, next_probe_at}: of a circuit that is closed no times, and the last only of
-- one that is open.
-- include clock
-- include circuit
local now, window = now_us(), tonumber(ARGV[1])
local found = {}
for i = 2, #ARGV do
  local circuit = standing(ARGV[i], now, window)
  local failures = redis.call('ZCOUNT', ARGV[i] .. ':failures', '(' .. digits(now - window), '+inf')
  found[i - 1] = {circuit.state, failures, circuit.state ~= 'closed' and circuit.opened_at,
    circuit.state == 'open' and digits(circuit.next_probe_at)}
end
return found
