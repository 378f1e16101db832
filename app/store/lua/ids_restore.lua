-- Writes entries and their places in the index as ids_assign and ids_commit have left them; in the order of the
-- ordinals, each once.
-- KEYS: meta.  ARGV: index prefix, entries prefix, CRC-32 of every id (4 bytes each), then (ordinal, entry) pairs.
--#include layout
local index, entries, crcs = ARGV[1], ARGV[2], ARGV[3]
for i = 4, #ARGV, 2 do
  local ordinal, crc = tonumber(ARGV[i]), read_crc(crcs, (i - 2) / 2)
  local bucket, mark = index_key(index, segment_of(ordinal), crc), mark_of(crc)
  local held = call('HGET', bucket, mark)
  call('HSET', bucket, mark, held and held .. ',' .. ARGV[i] or ARGV[i])
  local key, field = entry_place(entries, ordinal)
  call('HSET', key, field, ARGV[i + 1])
end
return 'ok'
