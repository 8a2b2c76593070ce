-- One step on the books of one customer: the machine of books.rs, atomic inside Redis.
--
-- KEYS: counters (hash), reservations (hash), due (sorted set); one hash tag, so one slot.
-- ARGV: operation, now in ms ('' is the server's own time), request id, lease ms, idle ms,
--       settled ms, most to sweep; then what the operation takes.
-- Amounts go to HINCRBY as the text they came as, so that sums are exact; only comparisons use
-- Lua's numbers, which are exact up to 2^53 and off by at most one part in 10^15 above.
local counters, reservations, due = KEYS[1], KEYS[2], KEYS[3]
local op, id = ARGV[1], ARGV[3]
local lease, idle, settled = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local SCALE = 60000

local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function text(number) return string.format('%.0f', number) end
local function get(counter, field) return redis.call('HGET', counters, counter .. field) end
local function set(counter, field, value) redis.call('HSET', counters, counter .. field, value) end
local function add(counter, field, amount)
  redis.call('HINCRBY', counters, counter .. field, amount)
end
-- Every counter has the time of its last use.
local function exists(counter) return redis.call('HEXISTS', counters, counter .. '|a') == 1 end

local function create(counter)
  if exists(counter) then return end
  redis.call('HSET', counters, counter .. '|a', text(now), counter .. '|u', '0',
    counter .. '|h', '0')
  redis.call('ZADD', due, text(now + idle), '#' .. counter)
end

local function void(record)
  for counter, held in string.gmatch(record, '([^\31]+)\31([^\30]+)\30') do
    if held ~= '0' and exists(counter) then add(counter, '|h', '-' .. held) end
  end
end

local function forget(counter)
  local at = get(counter, '|a')
  if not at then return end
  local unused = now - tonumber(at) >= idle
  if unused and tonumber(get(counter, '|h')) == 0 then
    redis.call('HDEL', counters, counter .. '|a', counter .. '|u', counter .. '|h',
      counter .. '|q')
  else
    redis.call('ZADD', due, text((unused and now or tonumber(at)) + idle), '#' .. counter)
  end
end

for _, member in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', text(now), 'LIMIT', 0, ARGV[7])) do
  redis.call('ZREM', due, member)
  if string.sub(member, 1, 1) == '#' then
    forget(string.sub(member, 2))
  else
    local record = redis.call('HGET', reservations, member)
    if record and record ~= 'S' then void(record) end
    redis.call('HDEL', reservations, member)
  end
end

local function leaked(counter, limit)
  local used, at = get(counter, '|u'), get(counter, '|a')
  if not used then return 0 end
  return math.max(0, tonumber(used) - limit * math.max(0, now - tonumber(at)))
end

local function touch(counter)
  if now > tonumber(get(counter, '|a')) then set(counter, '|a', text(now)) end
end

local function leak(counter, limit)
  set(counter, '|u', text(leaked(counter, limit)))
  touch(counter)
end

local function lines(from)
  local read = {}
  for at = from, #ARGV, 5 do
    read[#read + 1] = {
      kind = ARGV[at], counter = ARGV[at + 1], limit = tonumber(ARGV[at + 2]),
      take = ARGV[at + 3], fresh = ARGV[at + 4] == '1',
    }
  end
  return read
end

local function held_of(line)
  if line.kind == 'o' then return '1' end
  if line.kind == 't' then return text(math.min(tonumber(line.take), line.limit)) end
  return line.take
end

-- What is used in the unit of the limit, as text.
local function used_of(line)
  local used = get(line.counter, '|u') or '0'
  if line.kind == 'r' or line.kind == 't' then
    return text(math.ceil(tonumber(used) / SCALE))
  end
  return used
end

local function blocked(line)
  local held = get(line.counter, '|h') or '0'
  local used, wanted, room, wait
  if line.kind == 'r' or line.kind == 't' then
    local scaled = leaked(line.counter, line.limit)
    local more = line.kind == 'r' and 1 or tonumber(held_of(line))
    used = text(math.ceil(scaled / SCALE))
    wanted = scaled + (tonumber(held) + more) * SCALE
    room = line.limit * SCALE
    if line.limit > 0 then wait = text(math.ceil((wanted - room) / line.limit)) end
  elseif line.kind == 'o' then
    used, wanted, room = '0', tonumber(held) + 1, line.limit
  else
    used = get(line.counter, '|u') or '0'
    wanted, room = tonumber(used) + tonumber(held) + tonumber(line.take), line.limit
  end
  if wanted > room then return { used, held, wait or '' } end
end

local function first_blocked(all)
  for place, line in ipairs(all) do
    local found = blocked(line)
    if found then return { 'b', text(place - 1), found[1], found[2], found[3] } end
  end
end

-- Takes a line; what is to be remembered of it.
local function take(line)
  create(line.counter)
  if line.kind == 'r' then
    leak(line.counter, line.limit)
    add(line.counter, '|u', text(SCALE))
    return ''
  end
  if line.kind == 't' then
    leak(line.counter, line.limit)
  else
    set(line.counter, '|a', text(now))
  end
  local held = held_of(line)
  add(line.counter, '|h', held)
  return line.counter .. '\31' .. held .. '\30'
end

local function uses(all)
  local answer = { 'g' }
  for _, line in ipairs(all) do
    answer[#answer + 1] = used_of(line)
    answer[#answer + 1] = get(line.counter, '|h') or '0'
  end
  return answer
end

local function reserve()
  local all = lines(8)
  if redis.call('HEXISTS', reservations, id) == 1 then return uses(all) end
  local unknown = { 'u' }
  for place, line in ipairs(all) do
    if line.kind == 'm' and not line.fresh and not exists(line.counter) then
      unknown[#unknown + 1] = text(place - 1)
    end
  end
  if #unknown > 1 then return unknown end
  local refused = first_blocked(all)
  if refused then return refused end
  local record = ''
  for _, line in ipairs(all) do record = record .. take(line) end
  redis.call('HSET', reservations, id, record)
  redis.call('ZADD', due, text(now + lease), id)
  return uses(all)
end

local function extend()
  local all = lines(8)
  local record = redis.call('HGET', reservations, id)
  if not record or record == 'S' then return { 'x' } end
  for _, line in ipairs(all) do
    if not exists(line.counter) then return { 'x' } end
  end
  local refused = first_blocked(all)
  if refused then return refused end
  for _, line in ipairs(all) do record = record .. take(line) end
  redis.call('HSET', reservations, id, record)
  redis.call('ZADD', due, 'GT', text(now + lease), id)
  return { 'g' }
end

-- ARGV from 8: the ids.
local function renew()
  for at = 8, #ARGV do
    local record = redis.call('HGET', reservations, ARGV[at])
    if record and record ~= 'S' then
      redis.call('ZADD', due, 'GT', text(now + lease), ARGV[at])
    end
  end
  return { 'g' }
end

-- Whether the counter was loaded with event `sequence` of `node`.
local function has(counter, node, sequence)
  for known, seen in string.gmatch(get(counter, '|q') or '', '([^\31]+)\31([^\30]+)\30') do
    if known == node then return tonumber(sequence) <= tonumber(seen) end
  end
  return false
end

-- ARGV from 8: node, sequence; then kind, counter, limit, amount of each post.
local function settle()
  local node, sequence = ARGV[8], ARGV[9]
  local record = redis.call('HGET', reservations, id)
  if record == 'S' then return { 'a' } end
  if record then void(record) end
  for at = 10, #ARGV, 4 do
    local kind, counter, limit = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
    local amount = ARGV[at + 3]
    if kind == 't' then
      create(counter)
      leak(counter, limit)
      add(counter, '|u', text(tonumber(amount) * SCALE))
    elseif exists(counter) and not has(counter, node, sequence) then
      add(counter, '|u', amount)
      touch(counter)
    end
  end
  redis.call('HSET', reservations, id, 'S')
  redis.call('ZADD', due, text(now + settled), id)
  return { 'g' }
end

local function release()
  local record = redis.call('HGET', reservations, id)
  if record and record ~= 'S' then
    void(record)
    redis.call('HDEL', reservations, id)
    redis.call('ZREM', due, id)
  end
  return { 'g' }
end

-- ARGV from 8: counter, spent and what is in it, of each.
local function load()
  for at = 8, #ARGV, 3 do
    local counter = ARGV[at]
    if not exists(counter) then
      create(counter)
      redis.call('HSET', counters, counter .. '|u', ARGV[at + 1], counter .. '|q', ARGV[at + 2])
    end
  end
  return { 'g' }
end

-- ARGV from 8: counter and kind of each.
local function read()
  local answer = { 'g' }
  for at = 8, #ARGV, 2 do
    local line = { counter = ARGV[at], kind = ARGV[at + 1] }
    if exists(line.counter) then
      answer[#answer + 1] = used_of(line)
      answer[#answer + 1] = get(line.counter, '|h')
    else
      answer[#answer + 1] = ''
      answer[#answer + 1] = ''
    end
  end
  return answer
end

local operations = {
  reserve = reserve, extend = extend, renew = renew, settle = settle, release = release,
  load = load, read = read,
}
local answer = operations[op]()
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, text(2 * idle)) end
return answer
