-- Makes stored samples visible under their new entry, or forgets deleted ones (empty entry); members of kept set
-- versions whose content is gone are counted as void, so that sizes stay right.
-- KEYS: meta, versions.
-- ARGV: index prefix, entries prefix, versions prefix, the versions with spaces between, CRC-32 of every id (4 bytes
-- each), then (id, new entry without the id) pairs.
--#include id_index
local index, entries, versions_prefix, crcs = ARGV[1], ARGV[2], ARGV[3], ARGV[5]
local meta = redis.call('HMGET', KEYS[1], 'name', 'next_ordinal')
if not meta[1] then return redis.error_reply('GONE dataset') end
local ordinals = tonumber(meta[2] or '0')

local function void_in_versions(ordinal, generation)
  local chunk, at = ':c:' .. math.floor(ordinal / CELLS_A_CHUNK), ordinal % CELLS_A_CHUNK * CELL_BYTES
  for version in string.gmatch(ARGV[4], '%d+') do
    local cell = redis.call('GETRANGE', versions_prefix .. version .. chunk, at, at + 2)
    if #cell == 3 and string.byte(cell, 3) ~= 0 and string.sub(cell, 1, 2) == generation then
      redis.call('HINCRBY', KEYS[2], version .. ':void:' .. string.byte(cell, 3), 1)
    end
  end
end

local function forget(ordinal, crc)
  redis.call('HDEL', entries .. math.floor(ordinal / ENTRIES_A_BUCKET), ordinal % ENTRIES_A_BUCKET)
  local bucket, mark = index_key(index, segment_of(ordinal), crc), fingerprint(crc)
  local left = {}
  for digits in string.gmatch(redis.call('HGET', bucket, mark), '%d+') do
    if tonumber(digits) ~= ordinal then left[#left + 1] = digits end
  end
  if #left == 0 then
    redis.call('HDEL', bucket, mark)
  else
    redis.call('HSET', bucket, mark, table.concat(left, ','))
  end
end

for i = 6, #ARGV, 2 do
  local id, new, crc = ARGV[i], ARGV[i + 1], read_crc(crcs, (i - 4) / 2)
  local ordinal, old = find_id(index, entries, ordinals, id, crc)
  if ordinal then
    local generation = string.sub(old, 1, 2)
    if string.sub(new, 1, 2) ~= generation then void_in_versions(ordinal, generation) end
    if new == '' then
      forget(ordinal, crc)
    else
      local bucket = entries .. math.floor(ordinal / ENTRIES_A_BUCKET)
      redis.call('HSET', bucket, ordinal % ENTRIES_A_BUCKET, new .. id)
    end
  end
end
return 'ok'
