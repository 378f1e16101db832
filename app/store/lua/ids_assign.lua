-- Gives every id its ordinal, the old one or the next; answers (ordinal, entry without the id) in the order asked.
-- KEYS: meta.  ARGV: index prefix, entries prefix, CRC-32 of every id (4 bytes each), then the ids: 1,000 at most.
--#include layout
local index, entries, crcs = ARGV[1], ARGV[2], ARGV[3]
local meta = call('HMGET', KEYS[1], 'name', 'next_ordinal')
if not meta[1] then return redis.error_reply('GONE dataset') end
local known = tonumber(meta[2] or '0')
local next_ordinal, segments, given, marked = known, segments_of(known), {}, {}
local last_looked_into = segments[#segments]
local blank = string.rep('\0', ENTRY_BYTES)
local add_mark, set_marks = grouped_fields()
local add_entry, set_entries = grouped_fields()

local function give(id, crc, bucket, held)
  local ordinal = next_ordinal
  next_ordinal, given[id] = ordinal + 1, ordinal
  local segment, mark = segment_of(ordinal), mark_of(crc)
  if segment ~= last_looked_into then
    bucket = index_key(index, segment, crc)
    held = call('HGET', bucket, mark)
  end
  local marks = marked[bucket]
  if not marks then marks = {}; marked[bucket] = marks end
  local under_mark = marks[mark] or held
  marks[mark] = under_mark and format('%s,%d', under_mark, ordinal) or format('%d', ordinal)
  add_mark(bucket, mark, marks[mark])
  local key, field = entry_place(entries, ordinal)
  add_entry(key, field, blank .. id)
  return ordinal
end

local out = {}
for i = 4, #ARGV do
  local id, crc = ARGV[i], read_crc(crcs, i - 3)
  local ordinal, entry, bucket, held = given[id], nil, nil, nil
  if not ordinal then ordinal, entry, bucket, held = find_id(index, entries, segments, id, crc) end
  out[2 * i - 7] = ordinal or give(id, crc, bucket, held)
  out[2 * i - 6] = entry and sub(entry, 1, ENTRY_BYTES) or blank
end
if next_ordinal > known then
  -- In this order: of a torn write, an ordinal that is lost or that leads nowhere does no harm.
  call('HSET', KEYS[1], 'next_ordinal', next_ordinal)
  set_marks()
  set_entries()
end
return out
