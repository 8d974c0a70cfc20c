-- Report: what came of a permit. KEYS: none.
-- ARGV: 1 key of the circuit, 2 token of the permit, 3 its epoch, 4 'failure', 'success' or 'neither', 5 failures that open
-- the circuit, 6 how long a failure counts, 7 how long the first opening takes, in microseconds, 8 how many times as long
-- another one at most.
-- Returns what has become of the circuit by it: 'opened', 'closed' or ''.
-- A permit that was given before the circuit opened last says nothing of how the service is now; nor does one that ran out
-- while the circuit was half open, and was replaced.
-- include clock
-- include circuit
-- include gate_moves
local key, token, verdict = ARGV[1], ARGV[2], ARGV[4]
local threshold, window, first, longest = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local failures = key .. ':failures'
local held = redis.call('ZREM', key .. ':permits', token) == 1 -- first, so that a full Redis allows the rest
local now = now_us()
local circuit = standing(key, now, window)
if circuit.epoch ~= ARGV[3] or verdict == 'neither' then return '' end
catch_up(key, circuit)
if circuit.state ~= 'closed' and not held then return '' end

if verdict == 'success' then
  return circuit.state == 'half_open' and come_back(key, circuit, now) and 'closed' or ''
end
redis.call('ZREMRANGEBYSCORE', failures, '-inf', digits(now - window))
redis.call('ZADD', failures, digits(now), token)
redis.call('PEXPIRE', failures, math.ceil(window / 1000))
if circuit.state == 'closed' and redis.call('ZCARD', failures) < threshold then return '' end
open(key, circuit, now, first, longest)
return 'opened'
