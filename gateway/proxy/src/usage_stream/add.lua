-- Adds a batch, in the place of the attempt before it, unless the stream is full.
-- KEYS: the stream; the answer to the attempt before.
-- ARGV: most entries; the attempt before and its entry, or '' and ''; this attempt; the batch.
-- Gives the entry's id, or the number of entries where there is no room.
local stream, answer = KEYS[1], KEYS[2]
local most, attempt_before, entry_before = tonumber(ARGV[1]), ARGV[2], ARGV[3]
if entry_before ~= '' then
  redis.call('DEL', answer)
  local found = redis.call('XRANGE', stream, entry_before, entry_before)[1]
  if found and found[2][2] == attempt_before then
    redis.call('XDEL', stream, entry_before)
  end
end
local entries = redis.call('XLEN', stream)
if entries >= most then
  return entries
end
return redis.call('XADD', stream, '*', 'attempt', ARGV[4], 'batch', ARGV[5])
