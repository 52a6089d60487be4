-- One transaction of the join on one shard: apply what was read, then close what is due. All of it or nothing.
-- It knows no rule of rewards: it keeps records by their position, lowers a deadline, and pops what is due.
-- rewards/memory_store.py is the same transaction in Python, in memory; one suite of laws runs over both.
--
-- KEYS   log offsets watermarks entries bodies due feedback waiting closed seq pending hold counted outbox (a prefix)
-- ARGV   run id of the server that was checked, name of the hold that the caller has or "", name of the log,
--        close limit, feedback limit, close bytes,
--        watermark of the list of inputs or "", number of inputs, their names,
--        number of claims, per claim: name, start, end, watermark or "", fresh ("1" or "0"),
--        then items: "d" claim offset event_id position placement fingerprint opens deadline dedup_until close_on body
--                 or "f" claim offset event_id position waits_until body
-- A position sorts as text (records.position.LogPosition.key). A member of `feedback` is event_id, position, waits_until and
-- body, NUL between them: its order is that of (event id, position), and the same position is the same member.

local LOG, OFFSETS, WATERMARKS, ENTRIES, BODIES, DUE, FEEDBACK, WAITING, CLOSED, SEQ, PENDING = unpack(KEYS)
local HOLD, COUNTED, OUTBOX = unpack(KEYS, 12)
local call = redis.call
local DEAD_LETTERS = '.dead-letters'

local at = 0
local function arg()
  at = at + 1
  return ARGV[at]
end
local function whole(number) return string.format('%.0f', number) end

-- The server that answers must be the one whose state was compared with the log (a restart may have forgotten).
local checked = arg()
if string.match(call('INFO', 'server'), 'run_id:(%w+)') ~= checked then return {'unchecked'} end
-- A shard that has forgotten, or that is being rebuilt, is held: nobody else writes it.
local held = call('GET', HOLD) or ''
if held ~= arg() then return {'held', held} end
local log = arg()
local known_log = call('GET', LOG)
if known_log and known_log ~= log then return {'other_log', known_log} end

local close_limit, feedback_limit, close_bytes = tonumber(arg()), tonumber(arg()), tonumber(arg())
local inputs_watermark, inputs = arg(), {}
for i = 1, tonumber(arg()) do inputs[i] = arg() end

local claims = {}
for i = 1, tonumber(arg()) do
  local claim = {name = arg(), start = arg(), stop = arg(), watermark = arg(), fresh = arg() == '1'}
  local stored = call('HGET', OFFSETS, claim.name)
  if (not stored and not claim.fresh) or (stored and tonumber(stored) < tonumber(claim.start)) then
    -- The other workers must not go on either.
    if held == '' then call('SET', HOLD, 'needed') end
    return {'behind', i - 1, stored or ''}
  end
  claim.stored = tonumber(stored or claim.start)
  claim.stored_watermark = tonumber(call('HGET', WATERMARKS, claim.name) or '0')
  claims[i] = claim
end
if not known_log then call('SET', LOG, log) end

local closed, repeats, late, behind_watermark = {}, 0, 0, 0
-- The bytes of bodies that this call has put into outboxes; a small letter costs as much as one of so many bytes.
local written, LETTER_BYTES = 0, 1000

local function netstrings(parts)
  for i, part in ipairs(parts) do parts[i] = #part .. ':' .. part end
  return table.concat(parts)
end

local function put(outbox, parts)
  local seq = call('HINCRBY', SEQ, outbox, 1)
  parts[1] = whole(seq)
  call('ZADD', OUTBOX .. outbox, seq, netstrings(parts))
  closed[outbox] = (closed[outbox] or 0) + 1
end

local function unusable(event_id, position, reason, body)
  put(DEAD_LETTERS, {'', event_id, position, reason, body})
  written = written + math.max(#body, LETTER_BYTES)
  if reason == 'late' then late = late + 1 end
end

local function time_of(position) return tonumber(string.sub(position, 1, 14)) end
local function topic_of(position) return string.match(position, '^%d+ (%S+)') end
local function parse(member)
  local _, position, waits, from = string.match(member, '^([^%z]*)%z([^%z]*)%z([^%z]*)%z()')
  return position, tonumber(waits), string.sub(member, from)
end
local function position_of(member) return string.match(member, '^[^%z]*%z([^%z]*)') end
-- All feedback of an event id, in the order of positions; a few at a time, since all of it may be large.
local FEW = 64
local function feedback_of(event_id)
  local from, members, i = '[' .. event_id .. '\0', nil, FEW
  return function()
    i = i + 1
    if i > FEW then
      members, i = call('ZRANGEBYLEX', FEEDBACK, from, '(' .. event_id .. '\1', 'LIMIT', 0, FEW), 1
      if #members > 0 then from = '(' .. members[#members] end
    end
    return members[i]
  end
end

-- A header: 1 position, 2 placement, 3 fingerprint, 4 opens, 5 deadline, 6 dedup_until, 7 close_on (" a b "),
--           8 log time of the first rival or -1, 9 per topic the log time of the first feedback that was dropped.
local function header_of(event_id)
  local packed = call('HGET', ENTRIES, event_id)
  return packed and cmsgpack.unpack(packed)
end
local function keep(event_id, header) call('HSET', ENTRIES, event_id, cmsgpack.pack(header)) end

local function closes(header, topic, time)
  return header[4] <= time and time <= header[5] and string.find(header[7], ' ' .. topic .. ' ', 1, true)
end

local function lower(event_id, header, time)
  local floor = time_of(header[1])
  call('ZADD', DUE, 'LT', math.max(time, floor), event_id)
end

-- The last first, until so many bytes are written; the return value says whether all of it is dropped.
local function drop_beyond_limit(event_id, header, most)
  local from = '[' .. event_id .. '\0' .. string.format('%014d', header[4])
  local to = '(' .. event_id .. '\1'
  local beyond = call('ZLEXCOUNT', FEEDBACK, from, to) - feedback_limit
  if beyond <= 0 then return true end
  while beyond > 0 do
    local last = call('ZREVRANGEBYLEX', FEEDBACK, to, from, 'LIMIT', 0, math.min(beyond, FEW))
    for _, member in ipairs(last) do
      if written >= most then
        keep(event_id, header)
        return false
      end
      local position, _, body = parse(member)
      call('ZREM', FEEDBACK, member)
      local topic, time = topic_of(position), time_of(position)
      header[9][topic] = math.min(header[9][topic] or time, time)
      unusable(event_id, position, 'too_many', body)
    end
    beyond = beyond - #last
  end
  keep(event_id, header)
  return true
end

-- Gives up what came before the window opened, as far as drop_beyond_limit does.
local function give_up_early(event_id, header, most)
  local from, to = '[' .. event_id .. '\0', '(' .. event_id .. '\0' .. string.format('%014d', header[4])
  while true do
    local members = call('ZRANGEBYLEX', FEEDBACK, from, to, 'LIMIT', 0, FEW)
    if #members == 0 then return true end
    for _, member in ipairs(members) do
      if written >= most then return false end
      local position, _, body = parse(member)
      call('ZREM', FEEDBACK, member)
      unusable(event_id, position, 'early', body)
    end
  end
end

-- The deadline anew, from all feedback that is there: a first copy came, or an earlier one.
local function settle(event_id, header)
  call('ZREM', DUE, event_id)
  call('ZADD', DUE, header[5], event_id)
  if string.find(header[7], '%S') then
    for member in feedback_of(event_id) do
      local position = position_of(member)
      if closes(header, topic_of(position), time_of(position)) then
        lower(event_id, header, time_of(position))
        break
      end
    end
  end
  for topic, time in pairs(header[9]) do
    if closes(header, topic, time) then lower(event_id, header, time) end
  end
  call('ZREM', WAITING, event_id)
  drop_beyond_limit(event_id, header, close_bytes)
end

local function remembered(event_id, position)
  local until_ms = call('ZSCORE', CLOSED, event_id)
  return until_ms and time_of(position) <= tonumber(until_ms)
end

local function decision(event_id, position, placement, fingerprint, opens, deadline, dedup_until, close_on, body)
  if remembered(event_id, position) then
    repeats = repeats + 1
    return
  end
  local new = {position, placement, fingerprint, tonumber(opens), tonumber(deadline), tonumber(dedup_until), close_on, -1, {}}
  local old = header_of(event_id)
  if old and old[1] == position then return end
  if old and old[1] < position then
    repeats = repeats + 1
    if old[3] ~= fingerprint and (old[8] < 0 or time_of(position) < old[8]) then
      old[8] = time_of(position)
      keep(event_id, old)
    end
    return
  end
  if old then
    new[8] = old[3] ~= fingerprint and time_of(old[1]) or old[8]
    new[9] = old[9]
    call('HINCRBY', PENDING, old[2], -1)
  end
  call('HINCRBY', PENDING, placement, 1)
  call('HSET', BODIES, event_id, body)
  keep(event_id, new)
  settle(event_id, new)
end

local function feedback(event_id, position, waits, body)
  if remembered(event_id, position) then
    -- While a shard is rebuilt, what the outcome has counted already comes by again.
    local deadline = held ~= '' and call('HGET', COUNTED, event_id)
    if deadline and time_of(position) <= tonumber(deadline) then
      repeats = repeats + 1
    else
      unusable(event_id, position, 'late', body)
    end
    return
  end
  local member = table.concat({event_id, position, waits, body}, '\0')
  if call('ZADD', FEEDBACK, 0, member) == 0 then return end
  local header = header_of(event_id)
  if not header then
    call('ZADD', WAITING, 'LT', waits, event_id)
    return
  end
  local time = time_of(position)
  if closes(header, topic_of(position), time) then lower(event_id, header, time) end
  drop_beyond_limit(event_id, header, close_bytes)
end

while at < #ARGV do
  local kind, claim, offset, event_id, position = arg(), claims[tonumber(arg())], tonumber(arg()), arg(), arg()
  local fresh = offset >= claim.stored
  if not fresh then repeats = repeats + 1 end
  if fresh and time_of(position) < claim.stored_watermark then behind_watermark = behind_watermark + 1 end
  if kind == 'd' then
    local placement, fingerprint, opens, deadline, dedup_until = arg(), arg(), arg(), arg(), arg()
    local close_on, body = arg(), arg()
    if fresh then decision(event_id, position, placement, fingerprint, opens, deadline, dedup_until, close_on, body) end
  else
    local waits, body = arg(), arg()
    if fresh then feedback(event_id, position, waits, body) end
  end
end

for _, claim in ipairs(claims) do
  if tonumber(claim.stop) > claim.stored or call('HEXISTS', OFFSETS, claim.name) == 0 then
    call('HSET', OFFSETS, claim.name, claim.stop)
  end
  if claim.watermark ~= '' and tonumber(claim.watermark) > claim.stored_watermark then
    call('HSET', WATERMARKS, claim.name, claim.watermark)
  end
end
if inputs_watermark ~= '' then
  for _, name in ipairs(inputs) do call('HSETNX', WATERMARKS, name, '0') end
  if tonumber(inputs_watermark) > tonumber(call('HGET', WATERMARKS, '*') or '0') then
    call('HSET', WATERMARKS, '*', inputs_watermark)
  end
end

local stored = call('HGETALL', WATERMARKS)
local watermark, held_by = nil, '*'
local listed = call('HEXISTS', WATERMARKS, '*') == 1
for i = 1, #stored, 2 do
  local time = tonumber(stored[i + 1])
  if not watermark or time < watermark or (time == watermark and stored[i] < held_by) then
    watermark, held_by = time, stored[i]
  end
end
if not listed then watermark, held_by = 0, '*' end
local before = '(' .. whole(watermark)

-- Feedback whose decision never came.
local waiting = call('ZRANGEBYSCORE', WAITING, '-inf', before, 'LIMIT', 0, close_limit)
local more = #waiting == close_limit
local most = written + close_bytes
for _, event_id in ipairs(waiting) do
  if written >= most then
    more = true
    break
  end
  call('ZREM', WAITING, event_id)
  for member in feedback_of(event_id) do
    local position, waits, body = parse(member)
    if written >= most then
      more = true
      call('ZADD', WAITING, 'LT', waits, event_id)
      break
    end
    if waits < watermark then
      call('ZREM', FEEDBACK, member)
      unusable(event_id, position, 'unknown_decision', body)
    else
      call('ZADD', WAITING, 'LT', waits, event_id)
    end
  end
end
call('ZREMRANGEBYSCORE', CLOSED, '-inf', before)

-- Windows that are due, in the order of (deadline, event id).
local due = call('ZRANGEBYSCORE', DUE, '-inf', before, 'WITHSCORES', 'LIMIT', 0, close_limit)
most = written + close_bytes
for i = 1, #due, 2 do
  if written >= most then break end
  local event_id, deadline = due[i], tonumber(due[i + 1])
  local header = header_of(event_id)
  -- A flood of feedback for one event id takes several calls.
  if not drop_beyond_limit(event_id, header, most) or not give_up_early(event_id, header, most) then break end
  local rival = header[8] >= 0 and whole(header[8]) or ''
  local frozen = {'', event_id, whole(deadline), header[1], rival, call('HGET', BODIES, event_id)}
  written = written + #frozen[6]
  for member in feedback_of(event_id) do
    local position, _, body = parse(member)
    local time = time_of(position)
    if time > deadline then
      unusable(event_id, position, 'late', body)
    else
      frozen[#frozen + 1] = position
      frozen[#frozen + 1] = body
      written = written + #body
    end
  end
  put(header[2], frozen)
  call('ZADD', CLOSED, whole(header[6]), event_id)
  call('HDEL', ENTRIES, event_id)
  call('HDEL', BODIES, event_id)
  call('ZREM', DUE, event_id)
  call('ZREMRANGEBYLEX', FEEDBACK, '[' .. event_id .. '\0', '(' .. event_id .. '\1')
  call('HINCRBY', PENDING, header[2], -1)
end

local counts = {}
for outbox, count in pairs(closed) do
  counts[#counts + 1] = outbox
  counts[#counts + 1] = count
end
local next_due = call('ZRANGEBYSCORE', DUE, '-inf', before, 'WITHSCORES', 'LIMIT', 0, 1)
if next_due[1] then
  more, watermark = true, math.min(watermark, tonumber(next_due[2]))
end
return {'done', whole(watermark), held_by, repeats, late, behind_watermark, more and 1 or 0, counts}
