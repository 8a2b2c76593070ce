-- Answers an attempt and takes its entry out of the stream, in one step.
-- KEYS: the stream; the answer. ARGV: the group; the entry; the attempt; the reply; seconds that
-- it is kept.
local stream, answer = KEYS[1], KEYS[2]
local group, entry, attempt = ARGV[1], ARGV[2], ARGV[3]
redis.call('XADD', answer, '*', 'reply', ARGV[4])
redis.call('EXPIRE', answer, ARGV[5])
-- After a loss of data another entry may have its id.
local found = redis.call('XRANGE', stream, entry, entry)[1]
if found and found[2][2] == attempt then
  redis.call('XACK', stream, group, entry)
  redis.call('XDEL', stream, entry)
end
return redis.status_reply('OK')
