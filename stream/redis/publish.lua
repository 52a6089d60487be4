-- Saves how far a policy has learned, if nobody else has saved since; with a new version, its bytes and its record.
-- Keys: the position, the model. Arguments: the token that is expected, the new token, the channel, the policy's name,
-- the record and the bytes of a new version (both empty: none), then the position's fields and values.
-- Answers 1, or 0 where another token was found; then nothing was written.
local position, model = KEYS[1], KEYS[2]
local expected, token, channel, name, record, bytes = unpack(ARGV, 1, 6)

-- Before anything is written: a key of another type would stop the script half-way.
for _, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'hash' and kind ~= 'none' then return redis.error_reply('WRONGTYPE ' .. key) end
end
if (redis.call('HGET', position, 'token') or '') ~= expected then
  return 0
end
redis.call('HSET', position, 'token', token, unpack(ARGV, 7))
if record ~= '' then
  redis.call('HSET', model, 'record', record, 'bytes', bytes)
  redis.call('PUBLISH', channel, name)
end
return 1
