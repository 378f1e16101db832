-- Gives every id its ordinal, the old one or the next; answers (ordinal, entry without the id) in the order asked.
-- KEYS: meta.  ARGV: index prefix, entries prefix, CRC-32 of every id (4 bytes each), then the ids.
--#include layout
local index, entries, crcs = ARGV[1], ARGV[2], ARGV[3]
local meta = call('HMGET', KEYS[1], 'name', 'next_ordinal')
if not meta[1] then return redis.error_reply('GONE dataset') end
local ordinals = tonumber(meta[2] or '0')
local segments, newest = segments_of(ordinals), segment_of(ordinals - 1)
local out = {}
for i = 4, #ARGV do
  local id, crc = ARGV[i], read_crc(crcs, i - 3)
  local ordinal, entry = find_id(index, entries, segments, id, crc)
  if not ordinal then
    -- In this order: of a torn write, an ordinal that is lost or that leads nowhere does no harm.
    ordinals = call('HINCRBY', KEYS[1], 'next_ordinal', 1)
    ordinal, entry = ordinals - 1, string.rep('\0', ENTRY_BYTES)
    local segment = segment_of(ordinal)
    if segment ~= newest then segments[#segments + 1], newest = segment, segment end
    local bucket, mark = index_key(index, segment, crc), mark_of(crc)
    local held = call('HGET', bucket, mark)
    call('HSET', bucket, mark, held and held .. ',' .. ordinal or ordinal)
    local key, field = entry_place(entries, ordinal)
    call('HSET', key, field, entry .. id)
  end
  out[#out + 1] = ordinal
  out[#out + 1] = sub(entry, 1, ENTRY_BYTES)
end
return out
