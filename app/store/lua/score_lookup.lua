-- Everything about the scores of some ids in one round trip.
-- KEYS: meta, versions.
-- ARGV: index prefix, entries prefix, shards prefix without the lineage, versions prefix, CRC-32 of every id (4 bytes
-- each), then the ids.
-- Answers: lineage, description of the current version, then (record, cell) for each id: '' where there is none for
-- the sample's present content, a record of nil for an id that is unknown.
--#include layout
local index, entries, crcs = ARGV[1], ARGV[2], ARGV[5]
local meta = call('HMGET', KEYS[1], 'name', 'format', 'next_ordinal', 'lineage', 'set_version')
if not meta[1] then return redis.error_reply('GONE dataset') end
if tonumber(meta[2] or '1') ~= STATE_FORMAT then return redis.error_reply('FORMAT ' .. (meta[2] or '1')) end
local segments, version = segments_of(tonumber(meta[3] or '0')), meta[5]
local read_record = meta[4] and item_reader(ARGV[3] .. meta[4] .. ':', SHARD_RECORDS, HEADER_BYTES, RECORD_BYTES)
local read_cell = version and item_reader(ARGV[4] .. version .. ':c:', CELLS_A_CHUNK, 0, CELL_BYTES)
local NOT_STORED, NO_VISITS = string.rep('\0', 8), '\0\0'
local out = {meta[4] or '', version and call('HGET', KEYS[2], version) or ''}
for i = 6, #ARGV do
  local ordinal, entry = find_id(index, entries, segments, ARGV[i], read_crc(crcs, i - 5))
  local record, cell = false, ''
  -- A content digest of 0: the ordinal is given, but no sample has been stored yet.
  if ordinal and sub(entry, 3, 10) ~= NOT_STORED then
    local generation = sub(entry, 1, 2)
    record = ''
    if read_record then
      local held = read_record(ordinal)
      if sub(held, 1, 2) == generation and sub(held, 3, 4) ~= NO_VISITS then record = held end
    end
    if read_cell then
      local held = read_cell(ordinal)
      if sub(held, 1, 2) == generation and string.byte(held, 3) ~= 0 then cell = held end
    end
  end
  out[2 * i - 9], out[2 * i - 8] = record, cell
end
return out
