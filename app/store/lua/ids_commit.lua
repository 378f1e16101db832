-- Makes stored samples visible under their new entry, or forgets deleted ones (empty entry); members of kept set
-- versions whose content is gone are counted as void, so that sizes stay right.
-- KEYS: meta, versions, then one bucket an id.
-- ARGV: names prefix, names a bucket, versions prefix, count of versions, the versions, then (id, new entry) pairs.
local names_prefix, per_bucket, versions_prefix = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local version_count = tonumber(ARGV[4])
local first = 5 + version_count
if redis.call('EXISTS', KEYS[1]) == 0 then return redis.error_reply('GONE dataset') end

local function void_in_versions(ordinal, generation)
  for v = 5, 4 + version_count do
    local cell = redis.call('GETRANGE', versions_prefix .. ARGV[v] .. ':column', ordinal * 12, ordinal * 12 + 11)
    if #cell == 12 then
      local set, cell_generation = string.byte(cell, 1), struct.unpack('<I4', cell, 9)
      if set ~= 0 and cell_generation == generation then
        redis.call('HINCRBY', KEYS[2], ARGV[v] .. ':void:' .. set, 1)
      end
    end
  end
end

for i = 3, #KEYS do
  local id, new = ARGV[first + (i - 3) * 2], ARGV[first + (i - 3) * 2 + 1]
  local old = redis.call('HGET', KEYS[i], id)
  if old then
    local ordinal, generation = struct.unpack('<I4I4', old)
    local names, field = names_prefix .. math.floor(ordinal / per_bucket), ordinal % per_bucket
    if #new == 0 then
      void_in_versions(ordinal, generation)
      redis.call('HDEL', KEYS[i], id)
      redis.call('HDEL', names, field)
    else
      local _, new_generation = struct.unpack('<I4I4', new)
      if new_generation ~= generation then void_in_versions(ordinal, generation) end
      redis.call('HSET', KEYS[i], id, new)
      redis.call('HSET', names, field, struct.pack('<I4', new_generation) .. id)
    end
  end
end
return 'ok'
