-- Answers (ordinal, entry without the id) of an id, or nothing.
-- KEYS: meta.  ARGV: index prefix, entries prefix, CRC-32 of the id (4 bytes), the id.
--#include layout
local ordinals = tonumber(call('HGET', KEYS[1], 'next_ordinal') or '0')
local ordinal, entry = find_id(ARGV[1], ARGV[2], segments_of(ordinals), ARGV[4], read_crc(ARGV[3], 1))
if not ordinal then return false end
return {ordinal, sub(entry, 1, ENTRY_BYTES)}
