-- Redis's clock is the one clock of all processes. Microseconds since 1970 stay exact in a double until 2255.
local function now_us()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000000 + tonumber(t[2])
end

local function digits(us)
  return string.format('%.0f', us)
end

-- RQ writes times as ISO 8601 in UTC; civil date from days: https://howardhinnant.github.io/date_algorithms.html
local function iso(us)
  local sec = math.floor(us / 1000000)
  local days, rest = math.floor(sec / 86400) + 719468, sec % 86400
  local era = math.floor(days / 146097)
  local doe = days - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  return string.format('%04d-%02d-%02dT%02d:%02d:%02d.%06dZ', yoe + era * 400 + (month <= 2 and 1 or 0), month,
    doy - math.floor((153 * mp + 2) / 5) + 1, math.floor(rest / 3600), math.floor(rest % 3600 / 60), rest % 60,
    us % 1000000)
end
