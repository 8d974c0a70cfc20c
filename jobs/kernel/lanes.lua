-- A queue is three lanes, taken from in this order: `orders.high`, `orders`, `orders.low`. To RQ each is a queue of its own.
local LANES = {'.high', '', '.low'}

local function queue_of(lane)
  return lane:match('^[^.]+')
end

local function depth(queue)
  local jobs = 0
  for _, lane in ipairs(LANES) do jobs = jobs + redis.call('LLEN', 'rq:queue:' .. queue .. lane) end
  return jobs
end
