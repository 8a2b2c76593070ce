-- Says what became of an attempt: the reply, or whether its entry is still in the stream.
-- KEYS: the stream; the answer to the attempt. ARGV: the attempt; its entry.
local answer = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
if answer then
  return { 'answered', answer[2][2] }
end
local found = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])[1]
if found and found[2][2] == ARGV[1] then
  return { 'waits', '' }
end
return { 'lost', '' }
