-- Which gateways there are, and whether Redis still has what it had.
--
-- KEYS: here (hash of nodes and when they last said so), epoch (string); one hash tag.
-- ARGV: node, 1 where it has told everything it settled, an epoch for a Redis that has none, in ms
--       how long ago the others counted are.
-- Answers the epoch, whether it has just begun, the time and when each gateway last said so.
local here, epoch = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function text(number) return string.format('%.0f', number) end

local began = redis.call('SET', epoch, ARGV[3], 'NX')
if ARGV[2] == '1' then
  redis.call('HSET', here, ARGV[1], text(now))
else
  redis.call('HDEL', here, ARGV[1])
end
local answer = { redis.call('GET', epoch), began and '1' or '0', text(now) }
local all = redis.call('HGETALL', here)
for at = 1, #all, 2 do
  if now - tonumber(all[at + 1]) > tonumber(ARGV[4]) then
    redis.call('HDEL', here, all[at])
  else
    answer[#answer + 1] = all[at + 1]
  end
end
return answer
