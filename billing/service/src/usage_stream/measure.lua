-- Gives how many entries the stream holds and how old the oldest of them is, in milliseconds.
-- KEYS: the stream.
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if not first then
  return { 0, 0 }
end
local now = redis.call('TIME')
local added = tonumber(string.match(first[1], '^%d+'))
return { redis.call('XLEN', KEYS[1]), now[1] * 1000 + math.floor(now[2] / 1000) - added }
