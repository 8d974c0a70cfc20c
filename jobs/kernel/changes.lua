-- Changes: of many jobs, those that are no longer as they were seen last. KEYS: none.
-- ARGV: 1 how many fields are wanted, then their names, then per job: id, the mark it had, or '' to see it in any case.
-- Returns for each that has changed {its place from 1, its mark now, its fields}. A mark is whatever can change of a job's
-- version, and whether it is in doubt; what cannot be read has the empty one, and no fields.
local last = 1 + tonumber(ARGV[1])
local names = {unpack(ARGV, 2, last)}
local found = {}
for at = last + 1, #ARGV, 2 do
  local key, mark = 'rq:job:' .. ARGV[at], ''
  local parts = redis.pcall('HMGET', key, 'state', 'moves', 'run', 'progress', 'in_doubt')
  if parts[1] then
    for n = 1, #parts do parts[n] = parts[n] or '' end
    mark = table.concat(parts, ' ')
  end
  if mark == '' or mark ~= ARGV[at + 1] then
    found[#found + 1] = {(at - last + 1) / 2, mark, mark ~= '' and redis.call('HMGET', key, unpack(names)) or {}}
  end
end
return found
