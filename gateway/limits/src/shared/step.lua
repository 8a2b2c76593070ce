-- One step on the books of one customer: the machine of books.rs, atomic inside Redis.
--
-- KEYS: counters (hash), reservations (hash), due (sorted set), log (hash of nodes), and of each node
--       whose settlements it looks at the sorted set of these, `log:NODE`; one hash tag, so one slot.
-- ARGV: operation, now in ms ('' is the server's own time), request id, lease ms; then what the
--       operation takes. Constants (script.rs) stand before this text.
-- Amounts go to HINCRBY as the text they came as, so that sums are exact; only comparisons use
-- Lua's numbers, which are exact up to 2^53 and off by at most one part in 10^15 above.
local counters, reservations, due, logs = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local op, id, lease = ARGV[1], ARGV[3], tonumber(ARGV[4])

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
local function has(counter, field)
  return redis.call('HEXISTS', counters, counter .. field) == 1
end
-- Every counter has the time of its last use; one of money is used (|u) once it is loaded.
local function exists(counter) return has(counter, '|a') end
local function idle_of(kind) return kind == 'm' and IDLE_MONEY or IDLE end

local function create(kind, counter)
  if exists(counter) then return end
  redis.call('HSET', counters, counter .. '|a', text(now), counter .. '|h', '0')
  if kind ~= 'm' then set(counter, '|u', '0') end
  redis.call('ZADD', due, text(now + idle_of(kind)), '#' .. kind .. counter)
end

local function void(record)
  for counter, held in string.gmatch(record, '([^\31]+)\31([^\30]+)\30') do
    if held ~= '0' and exists(counter) then add(counter, '|h', '-' .. held) end
  end
end

local function forget(kind, counter)
  local at = get(counter, '|a')
  if not at then return end
  local idle = idle_of(kind)
  local unused = now - tonumber(at) >= idle
  if unused and tonumber(get(counter, '|h')) == 0 then
    redis.call('HDEL', counters, counter .. '|a', counter .. '|u', counter .. '|h',
      counter .. '|q', counter .. '|f')
  else
    redis.call('ZADD', due, text((unused and now or tonumber(at)) + idle), '#' .. kind .. counter)
  end
end

local overdue = redis.call('ZRANGEBYSCORE', due, '-inf', text(now), 'LIMIT', 0, SWEEP)
for _, member in ipairs(overdue) do
  redis.call('ZREM', due, member)
  if string.sub(member, 1, 1) == '#' then
    forget(string.sub(member, 2, 2), string.sub(member, 3))
  else
    local record = redis.call('HGET', reservations, member)
    if record and record ~= 'S' then void(record) end
    redis.call('HDEL', reservations, member)
  end
end

local function leaked(used, at, limit)
  if not used then return 0 end
  return math.max(0, tonumber(used) - limit * math.max(0, now - tonumber(at)))
end

local function touch(counter)
  if now > tonumber(get(counter, '|a')) then set(counter, '|a', text(now)) end
end

local function leak(counter, limit)
  set(counter, '|u', text(leaked(get(counter, '|u'), get(counter, '|a'), limit)))
  touch(counter)
end

-- The lines of a step, no counter twice, each with what its counter is: as many fields as six
-- limits have are read at once, because each call costs a microsecond.
local function lines(from)
  local read, fields = {}, {}
  for at = from, #ARGV, 5 do
    local counter = ARGV[at + 1]
    read[#read + 1] = {
      kind = ARGV[at], counter = counter, limit = tonumber(ARGV[at + 2]),
      take = ARGV[at + 3], fresh = ARGV[at + 4] == '1',
    }
    for _, field in ipairs({ '|a', '|u', '|h', '|f' }) do
      fields[#fields + 1] = counter .. field
    end
  end
  if #read == 0 then return read end
  local values = redis.call('HMGET', counters, unpack(fields))
  for place, line in ipairs(read) do
    local at = place * 4 - 3
    line.at, line.used, line.held, line.refresh =
      values[at], values[at + 1], values[at + 2] or '0', values[at + 3]
  end
  return read
end

local function held_of(line)
  if line.kind == 'o' then return '1' end
  if line.kind == 't' then return text(math.min(tonumber(line.take), line.limit)) end
  return line.take
end

-- What is used in the unit of the limit, as text.
local function used_of(kind, used)
  if kind == 'r' or kind == 't' then return text(math.ceil(tonumber(used or '0') / SCALE)) end
  return used or '0'
end

local function blocked(line)
  local used, wanted, room, wait
  if line.kind == 'r' or line.kind == 't' then
    local scaled = leaked(line.used, line.at, line.limit)
    local more = line.kind == 'r' and 1 or tonumber(held_of(line))
    used = text(math.ceil(scaled / SCALE))
    wanted = scaled + (tonumber(line.held) + more) * SCALE
    room = line.limit * SCALE
    if line.limit > 0 then wait = text(math.ceil((wanted - room) / line.limit)) end
  elseif line.kind == 'o' then
    used, wanted, room = '0', tonumber(line.held) + 1, line.limit
  else
    used = line.used or '0'
    wanted, room = tonumber(used) + tonumber(line.held) + tonumber(line.take), line.limit
  end
  if wanted > room then return { used, line.held, wait or '' } end
end

local function first_blocked(all)
  for place, line in ipairs(all) do
    local found = blocked(line)
    if found then return { 'b', text(place - 1), found[1], found[2], found[3] } end
  end
end

-- Takes every line; what is to be remembered of them.
local function take(all)
  local record, sets = '', {}
  local function put(line, field, value)
    sets[#sets + 1] = line.counter .. field
    sets[#sets + 1] = value
  end
  for _, line in ipairs(all) do
    local is_rate = line.kind == 'r' or line.kind == 't'
    if is_rate then
      local used = leaked(line.used, line.at, line.limit)
      if line.kind == 'r' then used = used + SCALE end
      line.used = text(used)
      put(line, '|u', line.used)
    elseif not line.used then
      line.used = '0'
      put(line, '|u', '0')
      if line.kind == 'm' then
        line.refresh = text(now + REFRESH)
        put(line, '|f', line.refresh)
      end
    end
    if not line.at then
      redis.call('ZADD', due, text(now + idle_of(line.kind)), '#' .. line.kind .. line.counter)
    end
    if not line.at or not is_rate or now > tonumber(line.at) then put(line, '|a', text(now)) end
    if line.kind == 'r' then
      if not line.at then put(line, '|h', '0') end
    else
      local held = held_of(line)
      local sum = redis.call('HINCRBY', counters, line.counter .. '|h', held)
      -- Beyond 2^53 a number of Lua is not exact; what the field says is.
      line.held = sum < 2^53 and text(sum) or get(line.counter, '|h')
      record = record .. line.counter .. '\31' .. held .. '\30'
    end
  end
  redis.call('HSET', counters, unpack(sets))
  return record
end

local function uses(all, stale)
  local answer = { 'g', text(#stale) }
  for _, place in ipairs(stale) do answer[#answer + 1] = text(place - 1) end
  for _, line in ipairs(all) do
    answer[#answer + 1] = used_of(line.kind, line.used)
    answer[#answer + 1] = line.held
  end
  return answer
end

local function open(record)
  redis.call('HSET', reservations, id, record)
  redis.call('ZADD', due, text(now + lease), id)
end

local function reserve()
  local all = lines(5)
  if redis.call('HEXISTS', reservations, id) == 1 then return uses(all, {}) end
  local unknown = { 'u' }
  for place, line in ipairs(all) do
    if line.kind == 'm' and not line.fresh and not line.used then
      unknown[#unknown + 1] = text(place - 1)
    end
  end
  if #unknown > 1 then return unknown end
  local refused = first_blocked(all)
  if refused then return refused end
  if #all == 0 then
    open('')
    return uses(all, {})
  end
  local stale = {}
  open(take(all))
  for place, line in ipairs(all) do
    if line.kind == 'm' and tonumber(line.refresh) <= now then stale[#stale + 1] = place end
  end
  for _, place in ipairs(stale) do set(all[place].counter, '|f', text(now + REFRESH_AGAIN)) end
  return uses(all, stale)
end

local function hold()
  local record = redis.call('HGET', reservations, id)
  if record == 'S' then return { 'g' } end
  if record then
    redis.call('ZADD', due, 'GT', text(now + lease), id)
    return { 'g' }
  end
  record = ''
  for _, line in ipairs(lines(5)) do
    if line.kind ~= 'r' then
      create(line.kind, line.counter)
      local held = held_of(line)
      add(line.counter, '|h', held)
      record = record .. line.counter .. '\31' .. held .. '\30'
    end
  end
  open(record)
  return { 'g' }
end

local function extend()
  local all = lines(5)
  local record = redis.call('HGET', reservations, id)
  if not record or record == 'S' then return { 'x' } end
  for _, line in ipairs(all) do
    if not line.used then return { 'x' } end
  end
  local refused = first_blocked(all)
  if refused then return refused end
  if #all > 0 then record = record .. take(all) end
  redis.call('HSET', reservations, id, record)
  redis.call('ZADD', due, 'GT', text(now + lease), id)
  return { 'g' }
end

-- ARGV from 5: the ids. Answers where those are that are not there.
local function renew()
  local answer = { 'g' }
  for at = 5, #ARGV do
    local record = redis.call('HGET', reservations, ARGV[at])
    if not record then
      answer[#answer + 1] = text(at - 5)
    elseif record ~= 'S' then
      redis.call('ZADD', due, 'GT', text(now + lease), ARGV[at])
    end
  end
  return answer
end

local function pairs_of(record)
  return string.gmatch(record, '([^\31]+)\31([^\30]+)\30')
end

local function log_of(node) return logs .. ':' .. node end

-- How far the log of a node is trimmed; how far the ledger was seen to be, and since when.
local function mark_of(node)
  local mark = redis.call('HGET', logs, node)
  if not mark then return 0 end
  local trimmed, booked, since = string.match(mark, '^(%d+) (%d*) (%d*)$')
  return tonumber(trimmed), tonumber(booked), tonumber(since)
end

-- Lists what an event adds to counters of money; false where it was listed before.
local function list(node, sequence, posted)
  local log = log_of(node)
  if tonumber(sequence) <= mark_of(node) then return false end
  if redis.call('ZCOUNT', log, sequence, sequence) > 0 then return false end
  redis.call('HSETNX', logs, node, '0  ')
  redis.call('ZADD', log, sequence, sequence .. '\29' .. posted)
  redis.call('PEXPIRE', log, text(2 * IDLE))
  return true
end

-- Whether the counter was loaded with event `sequence` of `node`.
local function is_seen(counter, node, sequence)
  for known, seen in pairs_of(get(counter, '|q') or '') do
    if known == node then return tonumber(sequence) <= tonumber(seen) end
  end
  return false
end

-- ARGV from 5: node, sequence; then kind, counter, limit, amount of each post.
local function settle()
  local node, sequence = ARGV[5], ARGV[6]
  local record = redis.call('HGET', reservations, id)
  if record == 'S' then return { 'a' } end
  if record then void(record) end
  redis.call('HSET', reservations, id, 'S')
  redis.call('ZADD', due, text(now + SETTLED), id)
  local posted = ''
  for at = 7, #ARGV, 4 do
    if ARGV[at] == 'm' and ARGV[at + 3] ~= '0' then
      posted = posted .. ARGV[at + 1] .. '\31' .. ARGV[at + 3] .. '\30'
    end
  end
  local is_long = false
  if posted ~= '' then
    if not list(node, sequence, posted) then return { 'a' } end
    is_long = redis.call('HINCRBY', logs, '\29', 1) % LOG == 0
  end
  for at = 7, #ARGV, 4 do
    local kind, counter, limit = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
    local amount = ARGV[at + 3]
    if kind == 't' then
      create(kind, counter)
      leak(counter, limit)
      add(counter, '|u', text(tonumber(amount) * SCALE))
    elseif has(counter, '|u') and not is_seen(counter, node, sequence) then
      add(counter, '|u', amount)
      touch(counter)
      if is_long and tonumber(get(counter, '|f')) > now then set(counter, '|f', text(now)) end
    end
  end
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

-- Whether a counter is loaded with an answer of the ledger that is newer than `seen`.
local function is_newer(counter, seen)
  if not has(counter, '|u') then return false end
  for node, known in pairs_of(get(counter, '|q') or '') do
    if (seen[node] or 0) < tonumber(known) then return true end
  end
  return false
end

-- Strikes out of a node's log what the ledger has had for so long that it is surely told.
local function trim(node, up_to)
  local trimmed, booked, since = mark_of(node)
  if booked and now - since < LATE then return end
  if booked then
    redis.call('ZREMRANGEBYSCORE', log_of(node), '-inf', text(booked))
    trimmed = math.max(trimmed, booked)
  end
  redis.call('HSET', logs, node, text(trimmed) .. ' ' .. text(up_to) .. ' ' .. text(now))
end

-- Those of some nodes whose settlements KEYS do not name.
local function unnamed(nodes)
  local named, others = {}, { 'n' }
  for at = 5, #KEYS do named[KEYS[at]] = true end
  for _, node in ipairs(nodes) do
    if node ~= '\29' and not named[log_of(node)] then others[#others + 1] = node end
  end
  return others
end

-- ARGV from 5: up to where each node is in the ledger; counter and what was spent, of each. Answers
-- which nodes are to be named, too, where the log has others.
local function load()
  local seen, nodes, later, loading = {}, {}, 0, {}
  for node, sequence in pairs_of(ARGV[5]) do seen[node] = tonumber(sequence) end
  local listed = redis.call('HKEYS', logs)
  local others = unnamed(listed)
  if #others > 1 then return others end
  for _, node in ipairs(listed) do
    if node ~= '\29' then
      if mark_of(node) > (seen[node] or 0) then return { 'o' } end
      later = later + redis.call('ZCOUNT', log_of(node), '(' .. text(seen[node] or 0), '+inf')
      nodes[#nodes + 1] = node
    end
  end
  if later > BEHIND then return { 'b' } end
  for at = 6, #ARGV, 2 do
    local counter = ARGV[at]
    create('m', counter)
    if not is_newer(counter, seen) then
      loading[counter] = true
      redis.call('HSET', counters, counter .. '|u', ARGV[at + 1], counter .. '|q', ARGV[5],
        counter .. '|f', text(now + REFRESH))
    end
  end
  for _, node in ipairs(nodes) do
    local from = '(' .. text(seen[node] or 0)
    for _, event in ipairs(redis.call('ZRANGEBYSCORE', log_of(node), from, '+inf')) do
      for counter, amount in pairs_of(string.match(event, '\29(.*)$')) do
        if loading[counter] then add(counter, '|u', amount) end
      end
    end
    trim(node, seen[node] or 0)
  end
  return { 'g' }
end

-- ARGV from 5: counter and kind of each.
local function read()
  local answer = { 'g' }
  for at = 5, #ARGV, 2 do
    local counter, used = ARGV[at], get(ARGV[at], '|u')
    if used then
      answer[#answer + 1] = used_of(ARGV[at + 1], used)
      answer[#answer + 1] = get(counter, '|h')
    else
      answer[#answer + 1] = ''
      answer[#answer + 1] = ''
    end
  end
  return answer
end

local operations = {
  reserve = reserve, hold = hold, extend = extend, renew = renew, settle = settle,
  release = release, load = load, read = read,
}
local answer = operations[op]()
-- The customer's own; the logs of nodes end by themselves when nothing is added to them.
for at = 1, 4 do redis.call('PEXPIRE', KEYS[at], text(2 * IDLE)) end
return answer
