-- Conversations that several gateways share: the machine of sessions.rs, atomic inside Redis.
--
-- KEYS: index (sorted set: what is remembered, by the time of its last use), epoch (string: a name
--       of the data that Redis has), turn (hash: the last turn of a conversation that its client
--       names), where there is one.
-- ARGV: operation, request id, idle ms, most that is remembered; then what the operation takes.
--
-- A node is a hash: s session, n turn, k kind, a time, d what it is found by, c whether another
-- request went on from it, r how its reply opened, t tokens, f whether it had no reply, rb and rt
-- what of it was sent before; of a named conversation g the number that it was given, o whether
-- another request, which repeats it, has that too. A head is a string: the ids of the nodes under
-- one digest, the latest last. They are found through each other and so no declared keys; all lie in
-- one slot. Their own time to live is the end of a silent conversation.
local PREFIX = 'permille:{sessions}:'
local NODE, HEAD = PREFIX .. 'node:', PREFIX .. 'head:'
local SIZE, NONE = 16, string.rep('\0', 16)
local OTHER, OPEN, SAME_CONTINUED, SAME = 1, 3, 4, 5
local UNSURE_MS, EXPIRED_MAX = 10000, 16
-- Bytes of a beginning and of an exchange, as they are packed.
local BEGINNING, EXCHANGE = 2 * SIZE + 5, 4 * SIZE + 2

local index, epoch, turn = KEYS[1], KEYS[2], KEYS[3]
local op, id, idle, most = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
-- The server's time, on which all gateways agree.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function text(number) return string.format('%.0f', number) end

-- The digests or ids of a packed list.
local function each(packed)
  local at = 1 - SIZE
  return function()
    at = at + SIZE
    if at < #packed then return string.sub(packed, at, at + SIZE - 1) end
  end
end

local function node(member)
  local f = redis.call('HMGET', NODE .. member, 's', 'n', 'k', 'a', 'c', 'r', 't', 'f', 'rb', 'rt',
    'g')
  if not f[1] then return nil end
  return { id = member, session = f[1], number = tonumber(f[2]), kind = f[3],
    at = tonumber(f[4]), continued = f[5], reply = f[6], tokens = f[7] or '', failed = f[8],
    resent_bytes = f[9] or '', resent_tokens = f[10] or '', given = f[11] or '' }
end

-- The nodes under a digest, the latest last.
local function alike(digest)
  local nodes = {}
  for member in each(redis.call('GET', HEAD .. digest) or '') do
    nodes[#nodes + 1] = node(member)
  end
  return nodes
end

local function fit(known, reply)
  local rank = OPEN
  if known.reply then rank = known.reply == reply and SAME or OTHER end
  return known.continued and rank - 1 or rank
end

-- The node that fits best; of equals, the latest.
local function best(digest, reply)
  local found, top = nil, -1
  for _, known in ipairs(alike(digest)) do
    local rank = fit(known, reply)
    if rank >= top then found, top = known, rank end
  end
  return found, top
end

local function is_late(known, soon) return now - known.at > soon end

local function alone_at_work(digest, soon)
  local alone = nil
  for _, known in ipairs(alike(digest)) do
    if not known.continued and not is_late(known, soon) then
      if alone then return nil end
      alone = known
    end
  end
  return alone
end

local function number(packed, at)
  local high, low = string.byte(packed, at, at + 1)
  return high * 256 + low
end

local function by_beginning(beginnings, is_tool, soon)
  for at = 1, #beginnings, BEGINNING do
    local prefix = string.sub(beginnings, at, at + 15)
    local reply = string.sub(beginnings, at + 16, at + 31)
    local found, rank = best(prefix, reply)
    if found and string.sub(beginnings, at + 32, at + 32) ~= '1' and rank < SAME_CONTINUED then
      found = nil
    end
    if not found and is_tool then found, rank = alone_at_work(prefix, soon), OPEN end
    if found then
      return { node = found, rank = rank, known = number(beginnings, at + 33),
        behind = number(beginnings, at + 35), whole = true }
    end
  end
end

local function repeated(whole, count, known, flags, soon)
  local nodes = alike(whole)
  local latest = nodes[#nodes]
  if not latest then return nil end
  local may_repeat = string.find(flags, 'r', 1, true)
    or (latest.failed and string.find(flags, 'm', 1, true))
  local again = may_repeat and not is_late(latest, soon) and not latest.continued
  if known or again then return { node = latest, known = count, repeats = true } end
end

-- The digests of the exchange at a place of a packed list: what was asked, that and the reply, the
-- same with the reply before it, how the reply opened.
local function parts(exchanges, at)
  local function part(place)
    return string.sub(exchanges, at + place * SIZE, at + (place + 1) * SIZE - 1)
  end
  return part(0), part(1), part(2), part(3)
end

local function by_exchange(exchanges)
  local behind, untold = 0, 0
  for at = 1, #exchanges, EXCHANGE do
    local asked, both, after, reply = parts(exchanges, at)
    local found, rank, later = nil, nil, 0
    if asked ~= NONE then found, rank = best(asked, reply) end
    if found and rank <= OTHER then found = nil end
    if not found then
      if both ~= NONE then found, rank = best(both, reply) end
      if not found and after ~= NONE then found, rank = best(after, reply) end
      if found and rank < SAME_CONTINUED then later = 1 end
    end
    if found then
      return { node = found, known = number(exchanges, at + 4 * SIZE), behind = behind,
        untold = math.max(untold - later, 0) }
    end
    if asked == NONE and both == NONE and after == NONE then untold = untold + 1 end
    behind = behind + 1
  end
end

local function forget(member)
  for digest in each(redis.call('HGET', NODE .. member, 'd') or '') do
    local kept = {}
    for other in each(redis.call('GET', HEAD .. digest) or '') do
      if other ~= member then kept[#kept + 1] = other end
    end
    if #kept == 0 then
      redis.call('DEL', HEAD .. digest)
    else
      redis.call('SET', HEAD .. digest, table.concat(kept), 'KEEPTTL')
    end
  end
  redis.call('DEL', NODE .. member)
end

-- What is remembered has a bound: what was used longest ago makes room.
local function index_as(member)
  redis.call('ZADD', index, text(now), member)
  redis.call('PEXPIRE', index, idle)
  local old = redis.call('ZRANGEBYSCORE', index, '-inf', text(now - tonumber(idle)), 'LIMIT', 0,
    EXPIRED_MAX)
  local over = redis.call('ZCARD', index) - #old - most
  if #old > 0 then redis.call('ZREM', index, unpack(old)) end
  for _ = 1, math.min(over, EXPIRED_MAX) do
    local popped = redis.call('ZPOPMIN', index)[1]
    if #popped == SIZE then forget(popped) else redis.call('DEL', popped) end
  end
end

local function remember(packed, alike_max)
  for digest in each(packed) do
    local kept = {}
    for other in each(redis.call('GET', HEAD .. digest) or '') do
      if other ~= id and redis.call('EXISTS', NODE .. other) == 1 then kept[#kept + 1] = other end
    end
    while #kept >= alike_max do table.remove(kept, 1) end
    kept[#kept + 1] = id
    redis.call('SET', HEAD .. digest, table.concat(kept), 'PX', idle)
  end
end

local function create(session, turn_number, kind, found_by, alike_max, given)
  redis.call('HSET', NODE .. id, 's', session, 'n', turn_number, 'k', kind, 'a', text(now), 'd',
    found_by)
  if given ~= '' then redis.call('HSET', NODE .. id, 'g', given) end
  redis.call('PEXPIRE', NODE .. id, idle)
  remember(found_by, alike_max)
  index_as(id)
end

-- The turn of a named conversation that is so many after the last one; '' where nobody knows that.
local function go_on(by)
  if not turn or redis.call('EXISTS', turn) == 0 then return '' end
  local counted = redis.call('HINCRBY', turn, 'n', by)
  if redis.call('HEXISTS', turn, 'u') == 0 then redis.call('PEXPIRE', turn, idle) end
  index_as(turn)
  return text(counted)
end

local operations = {}

-- What Redis calls the data that it has; another name tells that it has lost some.
function operations.hello()
  local name = string.gsub(id, '.', function(byte)
    return string.format('%02x', string.byte(byte))
  end)
  redis.call('SET', epoch, name, 'NX')
  return { redis.call('GET', epoch) }
end

-- Finds a request's place and remembers it. A named conversation goes on by a turn, unless the
-- request repeats one whose number is known, which it has then. Takes: soon ms, alike max, fresh
-- session, flags, beginnings, exchanges, response, whole, asked, count of messages.
function operations.place()
  local soon, alike_max, fresh = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
  local flags, beginnings, exchanges = ARGV[8], ARGV[9], ARGV[10]
  local response, whole, asked, count = ARGV[11], ARGV[12], ARGV[13], tonumber(ARGV[14])
  local since = operations.hello()[1]
  if whole == '' then return { '', go_on(1) } end

  local found = nil
  local stored = response ~= '' and best(response, NONE)
  if stored then found = { node = stored, known = 0, whole = true } end
  if not found then
    local is_tool = string.find(flags, 't', 1, true)
    local before = by_beginning(beginnings, is_tool, soon)
    local is_whole = before and before.behind == 0
    if is_whole and (before.rank == SAME or before.rank == OPEN) then
      found = before
    else
      found = repeated(whole, count, before, flags, soon)
      if not found and not is_whole then
        found = by_exchange(exchanges)
        if found and before and found.behind >= before.behind then found = nil end
      end
      found = found or before
    end
  end

  local session, turn_number, kind, known = fresh, 1, 'n', 0
  local tokens, kept, resent_bytes, resent_tokens = '', '0', '', ''
  if found then
    local from = found.node
    session, turn_number, known = from.session, from.number, found.known
    if found.whole then tokens = from.tokens end
    if found.repeats and from.failed then
      kind, kept, resent_bytes, resent_tokens = from.kind, '1', from.resent_bytes, from.resent_tokens
    elseif found.repeats then
      kind = 'r'
    else
      local untold = found.untold or 0
      turn_number = turn_number + 1 + untold
      local goes_on = untold > 0 or redis.call('HSETNX', NODE .. from.id, 'c', '1') == 1
      kind = goes_on and (string.find(flags, 't', 1, true) and 't' or 'c') or 'b'
    end
  end

  local named, again = '', turn and found and found.repeats and found.node.given or ''
  if again ~= '' then
    redis.call('HSET', NODE .. found.node.id, 'o', '1')
    go_on(0)
  else
    named = go_on(1)
  end

  local found_by = whole
  for at = 1, #exchanges, EXCHANGE do
    local _, both = parts(exchanges, at)
    local said_here = known > 0 and number(exchanges, at + 4 * SIZE) >= known
    if said_here and both ~= NONE then found_by = found_by .. both end
  end
  create(session, text(turn_number), kind, found_by .. asked, alike_max,
    again ~= '' and again or named)
  return { since, named, found and '1' or '0', session, text(turn_number), kind, text(known),
    tokens, kept, resent_bytes, resent_tokens, again }
end

-- What a gateway tells of a request off its path; one that Redis was not asked of is created.
-- Takes: alike max, session, turn, kind, found by, opening, more to be found by, tokens, failed,
-- resent bytes, resent tokens, given.
function operations.note()
  local alike_max, session, turn_number, kind = tonumber(ARGV[5]), ARGV[6], ARGV[7], ARGV[8]
  local found_by, opening, more, tokens = ARGV[9], ARGV[10], ARGV[11], ARGV[12]
  local key = NODE .. id
  if redis.call('EXISTS', key) == 0 then
    create(session, turn_number, kind, found_by, alike_max, ARGV[16])
  else
    -- What the client was told counts, also where the answer of Redis came too late for it.
    redis.call('HSET', key, 's', session, 'n', turn_number, 'k', kind)
    if ARGV[16] ~= '' then redis.call('HSET', key, 'g', ARGV[16]) end
  end
  if opening ~= '' then redis.call('HSETNX', key, 'r', opening) end
  if tokens ~= '' then redis.call('HSETNX', key, 't', tokens) end
  if ARGV[13] == '1' then
    redis.call('HSET', key, 'f', '1', 'rb', ARGV[14], 'rt', ARGV[15])
  end
  if more ~= '' then
    redis.call('HSET', key, 'd', redis.call('HGET', key, 'd') .. more)
    remember(more, alike_max)
  end
  return {}
end

-- Counts the turn of a request from what billing says; `sure` is '0' where it did not say it. Takes: base, sure.
function operations.count()
  local known = tonumber(redis.call('HGET', turn, 'n') or '0')
  local counted = math.max(known, tonumber(ARGV[5])) + 1
  redis.call('HSET', turn, 'n', text(counted))
  if redis.call('EXISTS', NODE .. id) == 1 then
    redis.call('HSET', NODE .. id, 'g', text(counted))
  end
  if ARGV[6] == '1' then
    redis.call('HDEL', turn, 'u')
    redis.call('PEXPIRE', turn, idle)
  elseif known == 0 then
    -- Asked of billing again soon.
    redis.call('HSET', turn, 'u', '1')
    redis.call('PEXPIRE', turn, UNSURE_MS)
  end
  index_as(turn)
  return { text(counted) }
end

-- A turn that was given while Redis was away. Takes: turn.
function operations.raise()
  local known = redis.call('HGET', turn, 'n')
  if known and tonumber(known) < tonumber(ARGV[5]) then redis.call('HSET', turn, 'n', ARGV[5]) end
  return {}
end

-- The turn of a request that was not made: the next one has it, unless another came meanwhile.
function operations.back()
  redis.call('HDEL', NODE .. id, 'g')
  if redis.call('HEXISTS', NODE .. id, 'o') == 1 then return {} end
  if redis.call('HGET', turn, 'n') == ARGV[5] then redis.call('HINCRBY', turn, 'n', -1) end
  return {}
end

return operations[op]()
