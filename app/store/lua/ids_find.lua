-- Answers (ordinal, entry without the id) of every id in the order asked, (nil, nil) for one that is unknown.
-- KEYS: meta.  ARGV: index prefix, entries prefix, CRC-32 of every id (4 bytes each), then the ids.
--#include layout
local segments = segments_of(tonumber(call('HGET', KEYS[1], 'next_ordinal') or '0'))
local out = {}
for i = 4, #ARGV do
  local ordinal, entry = find_id(ARGV[1], ARGV[2], segments, ARGV[i], read_crc(ARGV[3], i - 3))
  out[#out + 1] = ordinal or false
  out[#out + 1] = entry and sub(entry, 1, ENTRY_BYTES) or false
end
return out
