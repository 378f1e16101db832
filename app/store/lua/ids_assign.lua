-- Gives every id its ordinal, the old one or the next; answers the 20-byte entries in the order asked.
-- KEYS: meta, then one bucket an id.  ARGV: the ids.
if redis.call('EXISTS', KEYS[1]) == 0 then return redis.error_reply('GONE dataset') end
local entries = {}
for i, id in ipairs(ARGV) do
  local entry = redis.call('HGET', KEYS[i + 1], id)
  if not entry then
    local ordinal = redis.call('HINCRBY', KEYS[1], 'next_ordinal', 1) - 1
    entry = struct.pack('<I4I4I4I4I4', ordinal, 0, 0, 0, 0)
    redis.call('HSET', KEYS[i + 1], id, entry)
  end
  entries[i] = entry
end
return entries
