-- What reads have kept is dropped, whole scopes at once: each is a hash, its version goes with it, and so nothing that was
-- read before is kept under it any more. Where reads come from a replica, a scope stays closed until that has caught up.
local MOST = 1000 -- unpacked at once; Lua's stack holds some thousands

-- args[at]: seconds that a replica may lag, then how many scopes, then each one's hash. Returns the place after them.
local function drop(args, at)
  local lag, first, last = tonumber(args[at]), at + 2, at + 1 + tonumber(args[at + 1])
  for from = first, last, MOST do
    redis.call('UNLINK', unpack(args, from, math.min(from + MOST - 1, last)))
  end
  if lag > 0 then
    for place = first, last do
      redis.call('HSET', args[place], 'v', '')
      redis.call('EXPIRE', args[place], lag)
    end
  end
  return last + 1
end
