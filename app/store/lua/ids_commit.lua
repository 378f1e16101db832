-- Makes stored samples visible under their new entry, or forgets deleted ones (empty entry); members of kept set
-- versions whose content is gone are counted as void, so that sizes stay right.
-- KEYS: meta, versions.
-- ARGV: index prefix, entries prefix, versions prefix, the versions with spaces between, CRC-32 of every id (4 bytes
-- each), then for each of them, 1,000 at most: the id, its ordinal if known, its new entry without the id.
--#include layout
local index, entries, versions_prefix, crcs = ARGV[1], ARGV[2], ARGV[3], ARGV[5]
local meta = call('HMGET', KEYS[1], 'name', 'next_ordinal')
if not meta[1] then return redis.error_reply('GONE dataset') end
local segments = segments_of(tonumber(meta[2] or '0'))

local readers = {}
for version in string.gmatch(ARGV[4], '%d+') do
  readers[version] = item_reader(versions_prefix .. version .. ':c:', CELLS_A_CHUNK, 0, CELL_BYTES)
end

local function void_in_versions(ordinal, generation)
  for version, read_cell in pairs(readers) do
    local cell = read_cell(ordinal)
    if #cell == CELL_BYTES and string.byte(cell, 3) ~= 0 and sub(cell, 1, 2) == generation then
      call('HINCRBY', KEYS[2], version .. ':void:' .. string.byte(cell, 3), 1)
    end
  end
end

local function forget(ordinal, crc)
  call('HDEL', entry_place(entries, ordinal))
  local bucket, mark = index_key(index, segment_of(ordinal), crc), mark_of(crc)
  local left = {}
  for digits in string.gmatch(call('HGET', bucket, mark), '%d+') do
    if tonumber(digits) ~= ordinal then left[#left + 1] = digits end
  end
  if #left == 0 then
    call('HDEL', bucket, mark)
  else
    call('HSET', bucket, mark, table.concat(left, ','))
  end
end

-- The ordinal and the entry that the caller knows of, or else those that the index leads to.
local function held_entry(id, crc, known)
  if known ~= '' then
    local entry = call('HGET', entry_place(entries, tonumber(known)))
    if entry and sub(entry, ENTRY_BYTES + 1) == id then return tonumber(known), entry end
  end
  return find_id(index, entries, segments, id, crc)
end

local add_entry, set_entries = grouped_fields()
for i = 6, #ARGV, 3 do
  local id, known, new, crc = ARGV[i], ARGV[i + 1], ARGV[i + 2], read_crc(crcs, (i - 3) / 3)
  local ordinal, old = held_entry(id, crc, known)
  if ordinal then
    local generation = sub(old, 1, 2)
    if sub(new, 1, 2) ~= generation then void_in_versions(ordinal, generation) end
    if new == '' then
      forget(ordinal, crc)
    else
      local key, field = entry_place(entries, ordinal)
      add_entry(key, field, new .. id)
    end
  end
end
set_entries()
return 'ok'
